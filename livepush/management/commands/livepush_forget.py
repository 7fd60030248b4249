from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import transaction

from livepush import hints
from livepush.conf import get_settings
from livepush.inbox.forgetting import forget
from livepush.management.users import UserCommand


class Command(UserCommand):
    help = "Delete what is kept about a user: events, notifications, memberships, the inbox, streams."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def do(self, user: Any, name: str, options: dict[str, Any]) -> None:
        using = get_settings().DATABASE
        with transaction.atomic(using=using):
            counts = forget(user)
            transaction.set_rollback(options["dry_run"], using=using)
        hints.flush()
        if options["verbosity"] > 0:
            rows = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing"
            verb = "Would delete" if options["dry_run"] else "Deleted"
            self.stdout.write(self.style.SUCCESS(f"{verb} of {name}: {rows}."))
