from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from livepush import tenants
from livepush.exceptions import InvalidGroup
from livepush.roster.page import name_of
from livepush.roster.reading import members
from livepush.roster.rules import has_members, no_rule_for


class Command(BaseCommand):
    help = "List who is there in a group, one member a line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("group", help="the group's name, such as room:lobby")
        parser.add_argument("--json", action="store_true", help="print each member as a line of JSON")
        parser.add_argument("--tenant", help="the tenant whose group it is, where there are tenants")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with tenants.active(options["tenant"]):
                found = members(options["group"])
        except InvalidGroup as error:
            raise CommandError(str(error)) from error
        for member in found:
            if options["json"]:
                self.stdout.write(json.dumps(member._asdict(), ensure_ascii=False))
            else:
                self.stdout.write(f"{member.id}\t{name_of(member)}\t{member.connections}\t{member.since}")
        if not options["json"] and options["verbosity"] > 0:
            self.stderr.write(f"{len(found)} in {options['group']}")
        if not has_members(options["group"]):
            self.stderr.write(no_rule_for(options["group"]))
