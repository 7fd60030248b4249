from __future__ import annotations

import random
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import OperationalError

from demo_project.parcels import errands, simulation
from demo_project.processes import follow
from demo_project.showcase import partner
from demo_project.showcase.worker import work


class Command(BaseCommand):
    """Move the shop's parcels from a process of its own, as a real shop's workers would."""

    help = "Keeps the demo alive: takes orders and moves parcels until it is stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=settings.SECONDS_BETWEEN_MOVES,
                            help="seconds between two moves, on average")  # fmt: skip
        parser.add_argument("--follow-parent", type=int, default=0, metavar="PID",
                            help="stop when the parent process, whose number this is, is gone")  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        if options["follow_parent"]:
            follow(options["follow_parent"])
        ended = threading.Event()
        works = (errands.work, work, partner.work)
        workers = [threading.Thread(target=each, args=(ended,), daemon=True) for each in works]
        for worker in workers:
            worker.start()
        try:
            while True:
                self.tick()
                time.sleep(options["interval"] * random.uniform(0.3, 1.7))
        except KeyboardInterrupt:
            pass
        finally:
            ended.set()
            for worker in workers:
                worker.join()

    def tick(self) -> None:
        """Let one thing happen; a database that is busy is no reason to stop."""
        try:
            simulation.tick()
        except OperationalError as error:
            self.stderr.write(f"Skipped a move: {error}")
