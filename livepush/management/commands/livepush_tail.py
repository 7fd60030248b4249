from __future__ import annotations

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser

from livepush import log, publish, tenants
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.management.committing import CommittingCommand
from livepush.wire import MARK, Event, Position, WireError, check_group, envelope, parse_position, public_name


class Command(CommittingCommand):
    help = "Print events as they come: those of some groups, or all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("groups", nargs="*", metavar="GROUP", help="such as order:7; without any, all events")
        parser.add_argument("--since", metavar="POSITION", help="begin after this position instead of now")
        parser.add_argument("--json", action="store_true", help="print each event's envelope, one a line")
        parser.add_argument("--count", type=int, help="stop after this many events")
        parser.add_argument("--database", help="the database alias, LIVEPUSH['DATABASE'] by default")

    def handle(self, *args: Any, **options: Any) -> None:
        using = options["database"] or get_settings().DATABASE
        if options["count"] is not None and options["count"] < 1:
            raise CommandError("--count must be 1 or more.")
        try:
            groups = tuple(dict.fromkeys(_stored(group) for group in options["groups"])) or None
            cursor = self._begin(using, options["since"])
            self._follow(using, groups, cursor, options)
        except (WireError, InvalidGroup) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            pass

    def _begin(self, using: str, since: str | None) -> Position:
        state = log.state(using)
        if since is None:
            return state.position
        position = parse_position(since)
        if position.epoch != state.position.epoch or not state.floor <= position.number <= state.position.number:
            raise CommandError(
                f"The log does not hold that position: it goes from {state.position.epoch}-{state.floor} "
                f"to {state.position}. Leave out --since to begin now."
            )
        return position

    def _follow(self, using: str, groups: tuple[str, ...] | None, cursor: Position, options: dict[str, Any]) -> None:
        left = options["count"] or -1
        while True:
            state = log.state(using)
            if state.waiting:
                publish.deliver(using)
                state = log.state(using)
            if state.position.epoch != cursor.epoch or state.floor > cursor.number:
                self.stderr.write(f"The log begins anew at {state.position}.")
                cursor = state.position
            page = log.read(using, groups, cursor.number, state.position.number)
            if page.state.floor > cursor.number or page.state.position.epoch != cursor.epoch:
                continue  # some of it was pruned meanwhile, or the log was replaced
            for event in page.events:
                self.stdout.write(self._line(event, cursor.epoch, options["json"]))
                left -= 1
                if left == 0:
                    return
            self.stdout.flush()
            cursor = Position(cursor.epoch, page.upto)
            if page.upto >= state.position.number:
                time.sleep(get_settings().TAIL_INTERVAL)

    def _line(self, event: Event, epoch: str, as_json: bool) -> str:
        if as_json:
            return envelope(event, epoch)
        return f"{event.time}  {epoch}-{event.number}  {','.join(event.groups)}  {event.type}  {event.data}"


def _stored(name: str) -> str:
    """Return a group as the log has it: of the tenant that is named before the mark, else of the active one."""
    check_group(public_name(name))
    return name if MARK in name else tenants.stored(name, tenants.current())
