from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from livepush import log
from livepush.conf import get_settings
from livepush.management.committing import CommittingCommand


class Command(CommittingCommand):
    help = "Print where the log stands; with --new begin a new epoch, as after a database was restored by hand."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--new", action="store_true", help="begin a new epoch: every client is told 'reset'")
        parser.add_argument("--database", help="the database alias, LIVEPUSH['DATABASE'] by default")

    def handle(self, *args: Any, **options: Any) -> None:
        using = options["database"] or get_settings().DATABASE
        before = log.state(using)
        if options["new"]:
            log.begin_epoch(using)
        state = log.state(using)
        changed = f", after {before.position}" if options["new"] else ""
        self.stdout.write(f"The log goes from {state.position.epoch}-{state.floor} to {state.position}{changed}.")
