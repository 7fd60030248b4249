from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from livepush import tenants
from livepush.bridges.publishing import keys
from livepush.bridges.publishing.models import ApiKey
from livepush.conf import get_settings
from livepush.exceptions import InvalidApiKey, InvalidGroup
from livepush.management.committing import CommittingCommand

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Command(CommittingCommand):
    help = "Make, list, rotate and revoke the API keys with which programs publish over HTTP."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["create", "list", "rotate", "revoke"], help="what to do")
        parser.add_argument("name", nargs="?", help="who uses the new key; to rotate or revoke a key, its prefix")
        for option, what in (
            ("group", "groups"),
            ("type", "types of events"),
            ("recipient", "whom it may notify"),
        ):
            parser.add_argument(f"--{option}", action="append", help=f"create: a pattern of {what}; may be repeated")
        parser.add_argument("--expires", help="create: how long the key works, such as 90d or 12h; without, for ever")
        parser.add_argument("--grace", default="1h", help="rotate: how long the old key works, 1h by default")
        parser.add_argument("--tenant", help="the tenant whose key it is, where there are tenants")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] != "list" and not options["name"]:
            raise CommandError("Say which key: expected a name for a new one, or the prefix that list shows.")
        try:
            with tenants.active(options["tenant"]):
                getattr(self, f"_{options['action']}")(options)
        except (InvalidApiKey, InvalidGroup) as error:
            raise CommandError(str(error)) from error

    def _create(self, options: dict[str, Any]) -> None:
        key = keys.create_key(
            options["name"],
            groups=options["group"] or (),
            types=options["type"] or ("*",),
            recipients=options["recipient"] or (),
            expires=_time(options["expires"]) if options["expires"] else None,
        )
        self.stdout.write(key)
        self.stderr.write("Keep the key: it is not shown again.")

    def _list(self, options: dict[str, Any]) -> None:
        for row in ApiKey.objects.using(get_settings().DATABASE).filter(keys.own_keys()).order_by("name"):
            allowed = [f"groups {row.groups}; types {row.types}"] if row.groups else []
            allowed += [f"recipients {row.recipients}"] if row.recipients else []
            times = {name: getattr(row, name) for name in ("expires", "revoked", "last_used")}
            shown = [f"{name} {when:%Y-%m-%d %H:%M}" for name, when in times.items() if when is not None]
            self.stdout.write("; ".join([f"{row.prefix} {row.name}", *allowed, *shown]).replace("\n", ","))

    def _rotate(self, options: dict[str, Any]) -> None:
        self.stdout.write(keys.rotate_key(options["name"], _time(options["grace"])))
        time = f"for {options['grace']} longer, or until the key's own end if that is earlier"
        self.stderr.write(f"Keep the key: it is not shown again. The old one works {time}.")

    def _revoke(self, options: dict[str, Any]) -> None:
        keys.revoke_key(options["name"])
        self.stdout.write(self.style.SUCCESS(f"The key {options['name']} works no more."))


def _time(text: str) -> timedelta:
    form = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if form is None:
        raise CommandError(f"{text!r} is not a time: expected a number with s, m, h or d, such as 90d.")
    return timedelta(seconds=int(form[1]) * UNITS[form[2]])
