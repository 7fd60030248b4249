"""The one app, as ``LIVEPUSH["PUSHER"]`` describes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from livepush.conf import get_settings

NAMES = ("APP_ID", "KEY", "SECRET")
MIN_SECRET = 16
_WORD = re.compile(r"[A-Za-z0-9_-]{1,100}")
EXAMPLE = '{"APP_ID": "1", "KEY": "mysite", "SECRET": os.environ["PUSHER_SECRET"]}'


class App(NamedTuple):
    """What clients and servers must know of the app."""

    id: str
    key: str
    """Public: it is part of the address to which clients connect."""
    secret: str

    def __repr__(self) -> str:
        """Return it without the secret: traces of errors show what functions were given."""
        return f"App(id={self.id!r}, key={self.key!r})"


def app() -> App:
    """Return the app.

    Raises ImproperlyConfigured: a value is missing, is none, or there is one that nothing reads.
    """
    given = get_settings().PUSHER
    unknown = sorted(set(given) - set(NAMES))
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
    return App(given["APP_ID"], given["KEY"], given["SECRET"])
