"""The one app, as ``LIVEPUSH["PUSHER"]`` describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from livepush.bridges.addresses import is_good_address
from livepush.conf import get_settings

NAMES = ("APP_ID", "KEY", "SECRET")
HOOKS = ("WEBHOOK", "WEBHOOK_EVENTS")
COUNTS = "SUBSCRIPTION_COUNT"
EVENTS = ("channel_occupied", "channel_vacated", "member_added", "member_removed")
"""What webhooks tell by default."""
MORE_EVENTS = ("client_event", "cache_miss", "subscription_count")
"""The events that webhooks tell in addition, if ``WEBHOOK_EVENTS`` names it."""
LOCAL = ("127.0.0.1", "localhost", "::1")
MIN_SECRET = 16
_WORD = re.compile(r"[A-Za-z0-9_-]{1,100}")
EXPECTED = "expected https://host/path without a password, or http:// on this machine"
EXAMPLE = '{"APP_ID": "1", "KEY": "mysite", "SECRET": os.environ["PUSHER_SECRET"]}'


class App(NamedTuple):
    """What clients and servers must know of the app."""

    id: str
    key: str
    """Public: it is part of the address to which clients connect."""
    secret: str
    webhook: str = ""
    """Where webhooks are sent; empty for nowhere."""
    events: tuple[str, ...] = EVENTS
    """The events that webhooks tell."""
    tells_counts: bool = False
    """Whether subscribers are told how many they are."""

    @property
    def writes_channels(self) -> bool:
        """Whether each process writes down which channels have subscribers."""
        return bool(self.webhook) or self.tells_counts

    @property
    def writes_counts(self) -> bool:
        """Whether it writes down how many, too."""
        return self.tells_counts or bool(self.webhook and "subscription_count" in self.events)

    def __repr__(self) -> str:
        """Return it without the secret: traces of errors show what functions were given."""
        return f"App(id={self.id!r}, key={self.key!r})"


def app() -> App:
    """Return the app.

    Raises ImproperlyConfigured: a value is missing, is none, or there is one that nothing reads.
    """
    given = get_settings().PUSHER
    unknown = sorted(set(given) - {*NAMES, *HOOKS, COUNTS})
    if unknown:
        raise ImproperlyConfigured(f"LIVEPUSH['PUSHER'] has {unknown[0]!r}, which nothing reads: expected {EXAMPLE}.")
    for name in NAMES:
        value = given.get(name)
        fits = isinstance(value, str) and (name == "SECRET" or bool(_WORD.fullmatch(value)))
        if not fits:
            shown = "no text" if name == "SECRET" else repr(value)
            raise ImproperlyConfigured(f"LIVEPUSH['PUSHER'][{name!r}] is {shown}: expected something like {EXAMPLE}.")
    if len(given["SECRET"]) < MIN_SECRET:
        raise ImproperlyConfigured(
            f"LIVEPUSH['PUSHER']['SECRET'] has fewer than {MIN_SECRET} characters, so it can be guessed: "
            'take python -c "import secrets; print(secrets.token_hex(20))".'
        )
    return App(given["APP_ID"], given["KEY"], given["SECRET"], *_hook(given), _tells_counts(given))


def check_app() -> None:
    """Raise ImproperlyConfigured if the app can't be used."""
    app()
    if find_spec("cryptography") is None:
        raise ImproperlyConfigured('Pusher\'s protocol needs cryptography: pip install "django-livepush[pusher]".')


def _hook(given: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return where webhooks are sent, and what they tell."""
    url, events = given.get("WEBHOOK", ""), given.get("WEBHOOK_EVENTS", EVENTS)
    where = "LIVEPUSH['PUSHER']['WEBHOOK']"
    if not isinstance(url, str) or (url and not _is_address(url)):
        raise ImproperlyConfigured(f"{where} is malformed: {EXPECTED}.")
    if url and get_settings().TENANT:
        raise ImproperlyConfigured(f"{where} can't be used with tenants: its channels would not say whose they are.")
    known = (*EVENTS, *MORE_EVENTS)
    if not isinstance(events, list | tuple) or not set(events) <= set(known):
        raise ImproperlyConfigured(f"LIVEPUSH['PUSHER']['WEBHOOK_EVENTS'] is {events!r}: expected some of {known}.")
    return url, tuple(events)


def _tells_counts(given: Mapping[str, Any]) -> bool:
    found, where = given.get(COUNTS, False), f"LIVEPUSH['PUSHER'][{COUNTS!r}]"
    if not isinstance(found, bool):
        raise ImproperlyConfigured(f"{where} is {found!r}: expected True or False.")
    if found and get_settings().TENANT:
        raise ImproperlyConfigured(f"{where} can't be used with tenants: its channels would not say whose they are.")
    return found


def _is_address(url: str) -> bool:
    if not is_good_address(url):
        return False
    found = urlsplit(url)
    return found.scheme == "https" or (found.scheme == "http" and found.hostname in LOCAL)
