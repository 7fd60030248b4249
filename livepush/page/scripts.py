"""The scripts that the client imports when a page needs them.

A browser imports a script of another host only if that host sends ``Access-Control-Allow-Origin``, and many that serve
static files send none. Where ``STATIC_URL`` names another host, the page's own host serves these scripts too.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.http import require_safe

FOLDER = Path(__file__).resolve().parent.parent / "static" / "livepush"
LATER = ("attributes", "fallback", "list", "send")
"""The scripts that the client imports, without ``livepush-`` and ``.js``."""


def address(name: str) -> str:
    """Return where a page finds a script of ``LATER``; a path is one on the page's own host."""
    given = static(f"livepush/livepush-{name}.js")
    if not urlsplit(given).netloc:
        return given
    return f"{reverse('livepush:script', args=[name])}?v={_read(name)[1]}"


@login_not_required
@require_safe
def script(request: HttpRequest, name: str) -> HttpResponse:
    """Serve a script of ``LATER``. Browsers may keep it for ever, as its address changes with it."""
    if name not in LATER:
        return HttpResponse("There is no such script.\n", content_type="text/plain", status=404)
    content, version = _read(name)
    # During a rolling release, a page of the new release may ask a server of the old one.
    lifetime = "public, max-age=31536000, immutable" if request.GET.get("v") == version else "no-cache"
    return HttpResponse(content, content_type="text/javascript; charset=utf-8", headers={"Cache-Control": lifetime})


@cache
def _read(name: str) -> tuple[bytes, str]:
    """Return a script, and a text that another one would not have."""
    content = (FOLDER / f"livepush-{name}.js").read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]
