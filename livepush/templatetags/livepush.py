from __future__ import annotations

import json
from typing import Any

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.html import format_html
from django.utils.safestring import SafeString

from livepush import positions
from livepush.conf import get_settings
from livepush.publishing import Group, group_name

register = template.Library()


@register.simple_tag(takes_context=True)
def livepush(context: template.Context, *groups: Group | None) -> SafeString:
    """Put the client into a page, subscribed to some groups: ``{% livepush "board" order %}``.

    A group is a name or a saved instance; ``None``, ``""`` and an anonymous user are left out. The page carries the
    position of its request's start, so whatever happens between render and connect arrives. A nonce in the context
    (``csp_nonce``, as Django's and django-csp's middleware put it, or ``request.csp_nonce``) is used.

    Raises InvalidGroup: a malformed name, or an instance without a primary key.
    """
    request = context.get("request")
    position = positions.of(request) if request is not None else None
    names = [group_name(group) for group in groups if group and getattr(group, "is_authenticated", True)]
    nonce = _nonce(context, request)
    return format_html(
        '<script defer src="{}" data-livepush data-url="{}" data-groups="{}" data-position="{}" data-tabs="{}" '
        'data-most="{}"{}></script>',
        static("livepush/livepush.js"),
        reverse("livepush:poll").removesuffix("poll/"),
        json.dumps(names),
        str(position or positions.current()),
        _tabs(request),
        get_settings().MAX_GROUPS,
        format_html(' nonce="{}"', nonce) if nonce else "",
    )


def _tabs(request: Any) -> str:
    """Return what the tabs of one session have in common, and no other's: they share a connection.

    It is the session's cookie, hashed, so that no database is asked. A page that it is in varies by cookie.
    """
    cookie = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME, "")
    if not cookie:
        return ""
    session = getattr(request, "session", None)
    if session is not None:
        session.accessed = True
    return salted_hmac("livepush.tabs", cookie, algorithm="sha256").hexdigest()[:16]


def _nonce(context: template.Context, request: Any) -> str:
    return str(context.get("csp_nonce") or getattr(request, "csp_nonce", "") or "")
