"""The one line to change in a project's ``asgi.py``: ``from livepush.asgi import get_asgi_application``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import asgi as django_asgi

if TYPE_CHECKING:
    from livepush.routing import Application


def get_asgi_application() -> Application:
    """Return Django's ASGI application with livepush's endpoints in front."""
    django = django_asgi.get_asgi_application()
    from livepush.routing import (
        Application,
    )  # asgi.py is imported before Django's apps are ready, so not above

    return Application(django)  # type: ignore[arg-type]
