"""The system check of settings whose names look like livepush's, and which nothing reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from livepush.conf import NAMES

DICT = "LIVEPUSH"
ALIKE = 0.85
"""How alike two names are of which one is probably the other, misspelt."""
WHOLE = ("CONF", "CONFIG", "SETTINGS", "OPTIONS")
"""The words that people put after ``LIVEPUSH_`` to name a dict of all settings."""


@register("livepush")
def check_names(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check for settings beside ``LIVEPUSH`` that were meant to be it, or to be in it."""
    given = getattr(settings, DICT, None)
    keys = given if isinstance(given, Mapping) else {}
    found: list[CheckMessage] = []
    for name in dir(settings):
        meant = meant_by(name)
        if meant is None or (given is not None if meant == DICT else meant in keys):
            continue  # the project may call its own so, from which it makes the dict
        hint = f"Write {DICT} = {{…}}." if meant == DICT else f"Write {DICT} = {{{meant!r}: …}}."
        what = f"{name} is no setting, so nothing reads it."
        found.append(Warning(what, hint=f"{hint} Livepush has this one setting, a dict.", id="livepush.W027"))
    return found


def meant_by(name: str) -> str | None:
    """Return what a setting was meant to be: ``LIVEPUSH``, or one of its keys; ``None`` if it is something else."""
    if name == DICT or not name.isupper():
        return None
    plain = name.removeprefix("DJANGO_").replace("LIVE_PUSH", DICT)
    first, _, rest = plain.partition("_")
    if first == DICT and rest and rest not in WHOLE:
        return next(iter(difflib.get_close_matches(rest, NAMES, n=1, cutoff=ALIKE)), None)
    return DICT if first == DICT or difflib.get_close_matches(plain, [DICT], cutoff=ALIKE) else None
