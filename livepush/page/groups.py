"""The groups that the tags of a page name, and those that the tags leave out."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.conf import settings

from livepush.notes import OnceEach
from livepush.publish import Group, group_name

logger = logging.getLogger("livepush")

_told = OnceEach(100)


def named(context: Any, tag: str, groups: Iterable[Group | None]) -> list[str]:
    """Return the names of groups without those that a tag leaves out: ``None``, ``""`` and an anonymous user.

    Raises InvalidGroup: a malformed name, or an instance without a primary key.
    """
    found = list(groups)
    if "" in (group for group in found if isinstance(group, str)):
        note_empty(context, tag)
    return [group_name(group) for group in found if group and getattr(group, "is_authenticated", True)]


def note_empty(context: Any, tag: str) -> None:
    """Log under ``DEBUG`` that a tag was given ``""``, as Django gives for a name that the context does not have."""
    if not settings.DEBUG:
        return
    template = getattr(getattr(context.render_context, "template", None), "name", None) or "a template"
    message = f"{{% {tag} %}} in {template} is given '', and leaves it out: its variable may be missing in the context."
    if _told.is_new(message):
        logger.warning("%s", message)
