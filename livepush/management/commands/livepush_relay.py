from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from livepush import hints
from livepush.bridges.relays.config import relay
from livepush.bridges.relays.models import RelayOffset
from livepush.conf import get_settings


class Command(BaseCommand):
    help = "Make events of a message broker's messages, exactly once, until it is interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the relay's name in LIVEPUSH['RELAYS']")
        parser.add_argument(
            "--reset", action="store_true", help="forget the offset first, and begin where START says; repeats events"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found = relay(options["name"])
            from livepush.bridges.relays.running import Runner
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except ModuleNotFoundError as error:
            raise CommandError('Relays need FastStream: pip install "django-livepush[relays]".') from error
        if options["reset"]:
            RelayOffset.objects.using(get_settings().DATABASE).filter(pk=found.name).delete()
        try:
            asyncio.run(self._run(Runner, found, options["verbosity"]))
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        hints.flush()

    async def _run(self, runner: Any, found: Any, verbosity: int) -> None:
        running = runner(found, self._tell if verbosity > 1 else lambda count: None)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.stop)
        if verbosity > 0:
            self.stdout.write(f"Relaying {found.stream} as {found.name}.")
        await running.run()

    def _tell(self, count: int) -> None:
        self.stdout.write(f"Took {count} messages.")
