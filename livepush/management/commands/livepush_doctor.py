from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from livepush.doctor.check import Check
from livepush.doctor.examination import examine
from livepush.doctor.web import Root, parse_root

STYLES = {"ok": "SUCCESS", "unknown": "WARNING", "warning": "WARNING", "error": "ERROR"}


class Command(BaseCommand):
    help = "Examine a deployment: database, layer, retention and clock; with --url the site as browsers see it."
    requires_system_checks = []  # the doctor reports them among its findings

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            help="the site's root as browsers open it, such as https://example.com/: look at proxy and server too",
        )
        parser.add_argument("--idle", action="store_true", help="with --url: see a stream through a long silence")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds a check may take, 10 by default")
        parser.add_argument("--json", action="store_true", help="print one JSON object for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["timeout"] <= 0:
            raise CommandError("--timeout must be above 0.")
        if options["idle"] and not options["url"]:
            raise CommandError("--idle looks at a site: give its --url.")
        root = self._root(options["url"])
        outcomes = []
        for check in examine(root, options["timeout"], options["idle"]):
            outcomes.append(check)
            if not options["json"]:
                self._print(check)
        if options["json"]:
            self.stdout.write(json.dumps(as_json(outcomes), indent=2))
        if any(check.has_errors for check in outcomes):
            sys.exit(1)

    def _root(self, url: str | None) -> Root | None:
        try:
            return None if url is None else parse_root(url)
        except ValueError as error:
            raise CommandError(str(error)) from error

    def _print(self, check: Check) -> None:
        style = getattr(self.style, STYLES[check.status])
        said = "; ".join(check.says)
        self.stdout.write(f"{style(f'{check.status:8}')} {check.name:10} {said}".rstrip())
        for finding in check.findings:
            self.stdout.write(f"         {finding.id} {finding.level.value}: {finding.title}")
            for name, text in (("seen", finding.seen), ("expected", finding.expected), ("remedy", finding.remedy)):
                if text:
                    lines = text.replace("\n", "\n" + " " * 21)  # below the first one's text
                    self.stdout.write(f"           {name + ':':9} {lines}")
        for sentence in check.unchecked:
            self.stdout.write(f"         {sentence}")
        self.stdout.flush()


def as_json(checks: list[Check]) -> dict[str, Any]:
    """Return the outcomes of all checks as one object, for JSON."""
    return {
        "ok": not any(check.has_errors for check in checks),
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "figures": check.figures,
                "findings": [{**finding._asdict(), "level": finding.level.value} for finding in check.findings],
                "unchecked": check.unchecked,
            }
            for check in checks
        ],
    }
