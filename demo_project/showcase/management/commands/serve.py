from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from demo_project.processes import follow


class Command(BaseCommand):
    """Serve with Django's own development server, which daphne makes speak ASGI, for as long as the parent lives."""

    help = "Serves the demo; python -m demo_project starts it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="host and port, e.g. 127.0.0.1:8000")
        parser.add_argument("--follow-parent", type=int, required=True, metavar="PID", help="the parent's number")

    def handle(self, *args: Any, **options: Any) -> None:
        follow(options["follow_parent"])
        with open(os.devnull, "w") as nowhere:
            call_command(
                "runserver", options["address"], use_reloader=False, insecure_serving=not settings.DEBUG, stdout=nowhere
            )
