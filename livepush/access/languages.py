"""The language of a client's request: a WebSocket has no middleware that chooses one."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils import translation

MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"


def language_of(request: HttpRequest) -> str:
    """Return the language in which a view would answer: the one that LocaleMiddleware chooses, if it is used."""
    if settings.USE_I18N and MIDDLEWARE in settings.MIDDLEWARE:
        return translation.get_language_from_request(request)
    return settings.LANGUAGE_CODE
