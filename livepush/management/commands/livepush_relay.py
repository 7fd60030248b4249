from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from livepush import hints
from livepush.bridges.relays.config import OutwardRelay, Relay, relay
from livepush.bridges.relays.models import RelayCursor, RelayOffset, RelayPartition
from livepush.bridges.relays.running import Runner
from livepush.conf import get_settings
from livepush.management.committing import CommittingCommand

logger = logging.getLogger("livepush")


class Command(CommittingCommand):
    help = "Make events of a message broker's messages, or send the log's events outwards, until it is interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", metavar="name", nargs="+", help="names of relays in LIVEPUSH['RELAYS']")
        parser.add_argument(
            "--reset",
            action="store_true",
            help="forget first how far the relays have come, and begin where START says; repeats events",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = [relay(name) for name in dict.fromkeys(options["names"])]
            if options["reset"]:
                for each in found:
                    _forget(each)
            loops = [self._loop(each, options["verbosity"]) for each in found]
            asyncio.run(self._run(loops))
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        hints.flush()

    def _loop(self, found: Relay | OutwardRelay, verbosity: int) -> Any:
        told = partial(self._tell, found) if verbosity > 1 else lambda count: None
        if verbosity > 0:
            what = "events" if isinstance(found, OutwardRelay) else found.stream
            self.stdout.write(f"Relaying {what} as {found.name}.")
        if isinstance(found, OutwardRelay):
            from livepush.bridges.relays.outwards.running import Sender

            return Sender(found, told)
        return Runner(found, told)

    async def _run(self, loops: list[Any]) -> None:
        def stop() -> None:
            for each in loops:
                each.stop()

        at_the_end(stop)
        for ended in await asyncio.gather(*map(self._run_one, loops), return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended

    async def _run_one(self, loop: Any) -> None:
        try:
            await loop.run()
        except Exception as error:  # the other relays go on
            logger.error("The relay %r has ended: %s", loop.name, error)
            raise

    def _tell(self, found: Relay | OutwardRelay, count: int) -> None:
        verb = "Sent" if isinstance(found, OutwardRelay) else "Took"
        self.stdout.write(f"{verb} {count} messages.")


def at_the_end(stop: Callable[[], None]) -> None:
    """Have the running event loop call a function when the process is told to end."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # loops of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _forget(found: Relay | OutwardRelay) -> None:
    models: list[Any] = [RelayCursor] if isinstance(found, OutwardRelay) else [RelayOffset, RelayPartition]
    for model in models:
        model.objects.using(get_settings().DATABASE).filter(relay=found.name).delete()
