from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from livepush import hints, tenants
from livepush.exceptions import InvalidGroup
from livepush.inbox.recipients import everyone
from livepush.management.committing import CommittingCommand
from livepush.management.users import user_of
from livepush.rights.announcing import revoke


class Command(CommittingCommand):
    help = "Take groups, or all, away from a user's open streams, in every process."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", help="the user's name, as for a login")
        parser.add_argument("groups", nargs="*", help="the groups; all of the user's without any")
        parser.add_argument("--pk", help="the user's primary key, in place of the name")
        parser.add_argument("--everyone", action="store_true", help="take the groups away from all clients")
        parser.add_argument("--tenant", help="the tenant for whose site to do it, where there are tenants")

    def handle(self, *args: Any, **options: Any) -> None:
        name, pk, all_of_them, groups = options["user"], options["pk"], options["everyone"], list(options["groups"])
        if name and (pk or all_of_them):
            groups.insert(0, name)
            name = None
        if sum(map(bool, (name, pk, all_of_them))) != 1:
            raise CommandError("Say whose streams: expected a user's name, --pk PK, or --everyone with groups.")
        if all_of_them and not groups:
            raise CommandError("Say which groups everyone loses: expected at least one.")
        try:
            with tenants.active(options["tenant"]):
                revoke(everyone if all_of_them else user_of(name, pk), groups or None)
        except InvalidGroup as error:
            raise CommandError(str(error)) from error
        hints.flush()
        if options["verbosity"] > 0:
            whose = "Everyone" if all_of_them else f"The user {name or pk}"
            self.stdout.write(self.style.SUCCESS(f"{whose} has lost {', '.join(groups) or 'all groups'}."))
