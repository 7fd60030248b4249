"""The inbox's check for ``manage.py check``: whether every user can have an inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.db.models import CharField, SlugField, TextField

from livepush import publish
from livepush.inbox.models import MAX_PK_LENGTH


@register("livepush")
def check_user_key(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the primary keys of users can be in the names of groups."""
    try:
        users = publish.root_model(apps.get_model(settings.AUTH_USER_MODEL))
    except LookupError:
        return []  # a project without users
    key: Any = users._meta.pk
    key = getattr(key, "target_field", key)
    if not isinstance(key, CharField | TextField) or _is_short_slug(key):
        return []
    return [
        Warning(
            f"The primary key of {users._meta.label} is a text, {key.name!r}. A user whose key has other characters "
            f"than letters, digits and _-.:/@+~=, or more than {MAX_PK_LENGTH} of them, has no group and no inbox.",
            hint="Let the key be a number or a UUID. Or see that no key has anything else, and silence this check.",
            id="livepush.W025",
        )
    ]


def _is_short_slug(key: Any) -> bool:
    ascii_only = isinstance(key, SlugField) and not getattr(key, "allow_unicode", True)
    return ascii_only and (key.max_length or 0) <= MAX_PK_LENGTH
