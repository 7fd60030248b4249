"""The system checks of what serves the site: its ASGI application, and ``runserver``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.core.exceptions import ImproperlyConfigured

from livepush.conf import get_settings

Apps = Sequence[AppConfig] | None
IMPORT = "take get_asgi_application from livepush.asgi instead of django.core.asgi."


@register("livepush")
def check_asgi(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that there is an ASGI application, and that livepush is in it. Otherwise clients can only poll."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if _is_held_at_edge():
        return []
    if not path:
        return [
            Warning(
                "ASGI_APPLICATION is not set, so browsers can poll and nothing more.",
                hint=f"Set ASGI_APPLICATION = '<project>.asgi.application' and, in asgi.py, {IMPORT}",
                id="livepush.W002",
            )
        ]
    module = str(path).rpartition(".")[0]
    if _is_djangos_alone(module):
        return [
            Warning(
                f"{module} has nothing but Django's own application, so browsers can poll and nothing more.",
                hint=f"In that file, {IMPORT}",
                id="livepush.W022",
            )
        ]
    return []


def _is_held_at_edge() -> bool:
    """Return whether a proxy holds the clients of a WSGI site."""
    try:
        return bool(get_settings().GRIP)
    except ImproperlyConfigured:  # another check says so
        return False


def _is_djangos_alone(module: str) -> bool:
    """Return whether a module imports Django's application, and nothing that might bring livepush in."""
    try:
        spec = find_spec(module)
        tree = ast.parse(Path(spec.origin).read_bytes()) if spec and spec.origin else ast.Module([], [])
    except (ImportError, OSError, ValueError, SyntaxError):
        return False  # whoever serves the site hears of it
    found = {*_imported(tree)}
    known = {"django", *sys.stdlib_module_names}
    return "django.core.asgi" in found and all(name.partition(".")[0] in known for name in found)


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "" if not node.level else "."


@register("livepush")
def check_server(app_configs: Apps, **kwargs: Any) -> list[CheckMessage]:
    """Check that ``runserver`` speaks ASGI, which needs daphne. daphne itself checks that it is listed early enough."""
    if not settings.DEBUG or apps.is_installed("daphne") or _is_held_at_edge():
        return []
    hint = (
        "pip install daphne and put 'daphne' first in INSTALLED_APPS; or run another ASGI server, and have something "
        "serve the static files too, which runserver does by itself."
    )
    return [
        Warning("runserver speaks WSGI here, so browsers can poll and nothing more.", hint=hint, id="livepush.W003")
    ]
