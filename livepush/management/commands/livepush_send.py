from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from livepush import hints, publish, tenants
from livepush.access.rules import has_readers
from livepush.conf import get_settings
from livepush.exceptions import InvalidEvent
from livepush.management.committing import CommittingCommand


class Command(CommittingCommand):
    help = "Send an event to a group, from any process and with or without Redis."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("group", help="the group's name, e.g. order:7; several are joined by commas")
        parser.add_argument("type", help="the event's type, e.g. status")
        parser.add_argument("data", nargs="?", default="null", metavar="JSON", help="the event's data as JSON")
        parser.add_argument("--key", help="an idempotency key: of all sends with it in the group one is delivered")
        parser.add_argument(
            "--ephemeral",
            action="store_true",
            help="do not store the event; it reaches, at most once, clients that are connected now",
        )
        parser.add_argument("--tenant", help="the tenant whose groups they are, where there are tenants")
        parser.add_argument("--database", help="the database alias, LIVEPUSH['DATABASE'] by default")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["ephemeral"] and hints.chosen() is hints.Hint.NONE:
            raise CommandError(
                "No hint reaches other processes, so nobody would get an ephemeral event: "
                "configure a Redis layer, keep the log in PostgreSQL, or leave out --ephemeral."
            )
        try:
            data = json.loads(options["data"])
        except ValueError as error:
            raise CommandError(
                f'The data is not JSON ({error}). Quote it for the shell: \'{{"status": "shipped"}}\'.'
            ) from error
        groups = options["group"].split(",")
        try:
            with tenants.active(options["tenant"]):
                publish.send(
                    groups,
                    options["type"],
                    data,
                    key=options["key"],
                    ephemeral=options["ephemeral"],
                    using=options["database"],
                )
        except InvalidEvent as error:
            raise CommandError(str(error)) from error
        is_relayed = any(relay.get("DIRECTION") == "out" for relay in get_settings().RELAYS.values())
        if not is_relayed and (closed := [group for group in groups if not has_readers(group)]):
            self.stderr.write(
                f"Nobody may read {', '.join(closed)}: no rule of can_read has a pattern for it. See docs/rules.md."
            )
        if hints.left_out():
            raise CommandError("The data is too large for NOTIFY, which takes 8,000 bytes: nobody got the event.")
        if not hints.flush():
            durable = "the event arrives through the log"
            said = "other processes do not get the event" if options["ephemeral"] else durable
            self.stderr.write(f"The channel layer does not answer; {said}.")
        if options["verbosity"] > 0:
            self.stdout.write(self.style.SUCCESS(f"Sent {options['type']} to {options['group']}."))
