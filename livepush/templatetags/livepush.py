from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from livepush import tenants
from livepush.access import limits
from livepush.access.logins import login_name
from livepush.access.rules import has_senders
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.inbox import views
from livepush.inbox.reading import MAX_COUNTED, Counts, Inbox
from livepush.inbox.tenancy import has_inbox
from livepush.page import positions, scripts
from livepush.page.groups import named, note_empty
from livepush.page.nonce import nonce_of
from livepush.publish import Group
from livepush.publish.senders import public_user
from livepush.roster import page as roster
from livepush.streams import showing
from livepush.wire import Position, public_name

register = template.Library()

ROOM = 10
"""How many of ``MAX_GROUPS`` stay free for the page's own tags, even if a user is in very many audiences."""
_OPENED = "_livepush_inbox"
_STREAMS = "_livepush_streams"


@register.simple_tag(takes_context=True)
def livepush(context: template.Context, *groups: Group | None) -> SafeString:
    """Put the client into a page, subscribed to some groups: ``{% livepush "board" order %}``.

    A group is a name or a saved instance; ``None``, ``""`` and an anonymous user are left out. The page carries the
    log's position at the start of its request, so events between render and connect arrive. With Turbo, put it into the
    body. Under a content security policy it uses Django's nonce, django-csp's, or ``csp_nonce`` in the context.

    Raises InvalidGroup: a malformed name, or an instance without a primary key.
    """
    request = context.get("request")
    return _client(context, request, named(context, "livepush", groups), _position(request))


@register.simple_tag(takes_context=True)
def livepush_sse(context: template.Context, *groups: Group | None) -> str:
    """Put the address of a stream of texts into a page, for htmx's ``sse-connect`` or Turbo's stream source.

    The groups are those of ``livepush``; without any, the address is empty. The stream begins at the log's position at
    the start of the page's request, so events between render and connect arrive.

    Raises InvalidGroup: a malformed name, or an instance without a primary key.
    """
    names = named(context, "livepush_sse", groups)
    if not names:
        return ""
    query = [("format", "text"), *(("group", name) for name in names), ("since", _position(context.get("request")))]
    return f"{reverse('livepush:sse')}?{urlencode(query)}"


@register.simple_tag(takes_context=True)
def livepush_bell(context: template.Context, icon: str = "") -> SafeString:
    """Put a bell with a badge into a page. Its panel lists the user's notifications. Without a login, put nothing.

    ``icon`` is the address of the page's icon while there are unseen notifications; by default, a bell with a dot.
    """
    return _part(context, "livepush/bell.html", icon)


@register.simple_tag(takes_context=True)
def livepush_toasts(context: template.Context) -> SafeString:
    """Put toasts into a page: they show new notifications for a while."""
    return _part(context, "livepush/toasts.html")


@register.simple_tag(takes_context=True)
def livepush_badge(context: template.Context) -> SafeString:
    """Put the number of unseen notifications into a page."""
    return _part(context, "livepush/badge.html")


@register.simple_tag(takes_context=True)
def livepush_list(context: template.Context) -> SafeString:
    """Put the list of the user's notifications into a page.

    It begins with the first page of entries, and on the inbox's own page with what the address asks for.
    """
    return _part(context, "livepush/list.html")


@register.simple_tag(takes_context=True)
def livepush_inbox(context: template.Context, icon: str = "") -> SafeString:
    """Put the inbox's script into a page, as its other tags do. The page's first inbox tag sets the ``icon``."""
    return _part(context, None, icon)


@register.simple_tag(takes_context=True)
def livepush_stream(context: template.Context, id: str | None) -> SafeString:
    """Put a stream's text into a page, and show live what follows: ``{% livepush_stream answer.stream %}``.

    A user who may not read the stream's group sees nothing of it. The text is escaped. Without an id, put nothing.
    """
    if not id:
        if id == "":
            note_empty(context, "livepush_stream")
        return SafeString("")
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% livepush_stream %} needs the request: add django.template.context_processors.request to the context "
            "processors, and render the page with its request."
        )
    found = showing.shown(str(id), request)
    progress = "" if found.progress is None else format_html(' progress="{}"', found.progress)
    script = "" if hasattr(request, _STREAMS) else _deferred(context, "livepush/livepush-streams.js")
    setattr(request, _STREAMS, True)
    return format_html(
        '<livepush-stream src="{}" data-after="{}" state="{}"{} aria-live="polite">{}</livepush-stream>{}',
        reverse("livepush:stream", args=[id]), found.offset, found.state, progress, found.text, script,
    )  # fmt: skip


@register.simple_tag(takes_context=True)
def livepush_presence(context: template.Context, group: Group | None, max: int = 8, names: bool = False) -> SafeString:
    """Put who is there in a group into a page: ``max`` avatars at most, and how many there are.

    It puts nothing if the page's user may not read the group, if the request is no tenant's, and for ``None``, ``""``
    and an anonymous user. Without scripts it is a list as of now; with them it goes on live. The page subscribes to the
    group, so its user is there too if the rule lets others see that.

    Raises InvalidGroup: a malformed name, or an instance without a primary key.
    """
    request, name = _request(context), next(iter(named(context, "livepush_presence", [group])), None)
    found = None if name is None else roster.found(request, name)
    if name is None or found is None:
        return SafeString("")
    told = {
        "group": name,
        "max": max,
        "names": names,
        "faces": roster.faces(found.members[:max]),
        "count": len(found.members),
        "more": len(found.members) - max if len(found.members) > max else 0,
    }
    get_token(request)  # sets the cookie by which livepush tells visitors apart
    client = _client(context, request, [name], positions.before(request, found.position))
    own = _deferred(context, "livepush/livepush-presence.js")
    shown = render_to_string("livepush/presence.html", told | {"csp_nonce": nonce_of(request, context)}, request)
    return SafeString(shown) + client + own


@register.filter
def livepush_name(user: Any) -> str:
    """Return the name that others see of a user: ``{{ message.author|livepush_name }}``."""
    return str(public_user(user)["name"])


@register.simple_tag(takes_context=True)
def livepush_nonce(context: template.Context) -> SafeString:
    """Put the page's nonce into an element, as an attribute, if it has one: ``<link …{% livepush_nonce %}>``."""
    nonce = nonce_of(getattr(context, "request", None) or context.get("request"), context)
    return format_html(' nonce="{}"', nonce) if nonce else SafeString("")


def _position(request: Any) -> Position:
    """Return the position at the start of a request; without one, or if it is not known, that of now."""
    return (positions.of(request) if request is not None else None) or positions.current()


def _request(context: template.Context) -> Any:
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "livepush's tags need the request: add django.template.context_processors.request to the context "
            "processors, and render the page with its request."
        )
    return request


def _part(context: template.Context, name: str | None, icon: str = "") -> SafeString:
    """Return one of the inbox's elements. The first of a page brings the script that keeps all of them up to date."""
    request = _request(context)
    user = getattr(request, "user", None)
    if not getattr(user, "is_authenticated", False):
        return SafeString("")
    found: tuple[Inbox, Counts] | None = getattr(request, _OPENED, None)
    if found is None:
        inbox = _inbox_of(user)
        if inbox is None:
            return SafeString("")
        counts = inbox.counts()
        setattr(request, _OPENED, (inbox, counts))
        scripts = _scripts(context, request, inbox, counts, icon)
    else:
        inbox, counts = found
        scripts = SafeString("")
    if name is None:
        return scripts
    told = {"counts": counts, "badge": f"{MAX_COUNTED - 1}+" if counts.unseen >= MAX_COUNTED else counts.unseen}
    if name == "livepush/list.html":
        told |= views.shown(request, inbox, views.asked_of(request), counts)
    return SafeString(render_to_string(name, told | {"csp_nonce": nonce_of(request, context)}, request)) + scripts


def _inbox_of(user: Any) -> Inbox | None:
    """Return a user's inbox; ``None`` if the user has none, or no tenant is active: the endpoints refuse it then."""
    try:
        return Inbox(user) if has_inbox(user) else None
    except InvalidGroup:
        return None


def _scripts(context: template.Context, request: Any, inbox: Inbox, counts: Counts, icon: str) -> SafeString:
    """Return one script with the client and the inbox's elements. It also serves the page's other tags."""
    names = [public_name(audience.group) for audience in inbox.audiences][: max(2, get_settings().MAX_GROUPS - ROOM)]
    more = {
        "inbox": reverse("livepush:inbox"),
        "state": json.dumps(views.state(inbox, counts)),
        "csrf": get_token(request),
        "icon": icon or static("livepush/bell-new.svg"),
        "list": scripts.address("list"),
    }
    return _client(context, request, names, positions.before(request, inbox.position), "livepush/inbox.js", more)


def _deferred(context: template.Context, script: str) -> SafeString:
    return format_html('<script defer src="{}"{}></script>', static(script), livepush_nonce(context))


def _client(
    context: template.Context,
    request: Any,
    names: list[str],
    position: Position,
    script: str | None = None,
    more: Mapping[str, str] | None = None,
) -> SafeString:
    """Return a script element with the client's data. It loads ``script``, or else the client.

    If the page has the client already, it loads none, except in what may become a part of another page: nothing reads a
    block of data there.
    """
    is_part = any(name in getattr(request, "headers", ()) for name in ("Turbo-Frame", "HX-Request"))
    if is_part or not hasattr(request, _OPENED):
        script = script or "livepush/livepush.js"
    sends = any(map(has_senders, names))
    data = {
        "url": reverse("livepush:poll").removesuffix("poll/"),
        "groups": json.dumps(names),
        "position": str(position),
        "tabs": _tabs(request, sends),
        "most": str(_most(request)),
        **{name: scripts.address(name) for name in ("send", "fallback", "attributes")},
        **({"sends": ""} if sends else {}),
        **(more or {}),
    }
    nonce = nonce_of(request, context)
    return format_html(
        "<script {} data-livepush{}{}></script>",
        format_html('defer src="{}"', static(script)) if script else SafeString('type="application/json"'),
        format_html_join("", ' data-{}="{}"', data.items()),
        format_html(' nonce="{}"', nonce) if nonce and script else "",
    )


def _most(request: Any) -> int:
    """Return how many groups the page's user may ask for. It needs the user only if visitors may ask for fewer."""
    is_limited = limits.max_groups(False) < limits.max_groups(True)
    return limits.max_groups(not is_limited or getattr(getattr(request, "user", None), "is_authenticated", False))


def _tabs(request: Any, sends: bool) -> str:
    """Return a name that only one session's tabs of one tenant have. Tabs with the same name share a connection.

    It is a hash of the session's cookie, so it needs no query. A page with this name varies by cookie, and so does a
    page that sends: a page without a session sends nothing in the name of whoever is logged in. Where no tenant is
    active there is no such name, as without a session.
    """
    cookie = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME, "")
    session = getattr(request, "session", None)
    if session is not None and (cookie or sends):
        session.accessed = True
    with suppress(InvalidGroup):
        return login_name(cookie, tenants.current()) if cookie else ""
    return ""
