"""The headers and the cookie of a view's response, by which its page finds the hub, misses nothing, and may read."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from livepush import log, publish
from livepush.bridges.mercure.config import hub
from livepush.bridges.mercure.resuming import MARK
from livepush.bridges.mercure.tokens import make_token
from livepush.conf import get_settings

HUB = "livepush_mercure:hub"
_IN_ADDRESS = "/:?#[]@!$&'()*+,;=%~{}"


def add_link(
    request: HttpRequest,
    response: HttpResponseBase,
    *,
    topic: str = "",
    last_event_id: str = "",
    content_type: str = "",
) -> None:
    """Add the ``Link`` headers by which a client finds the hub (RFC 8288).

    ``topic`` is what to subscribe to, if it is not the page's own address. ``last_event_id`` is the place from which to
    read; take it before the view reads its data. ``content_type`` is that of the updates.
    """
    given = (("last-event-id", last_event_id), ("content-type", content_type))
    more = "".join(f'; {name}="{quote(value, safe=_IN_ADDRESS)}"' for name, value in given if value)
    links = [f'<{request.build_absolute_uri(reverse(HUB))}>; rel="mercure"{more}']
    if topic:
        links.append(f'<{quote(topic, safe=_IN_ADDRESS)}>; rel="self"')
    before = [response.headers["Link"]] if "Link" in response.headers else []
    response.headers["Link"] = ", ".join([*before, *links])


def last_event_id() -> str:
    """Return an id for ``lastEventID``: a subscriber who names it gets everything that is sent from now on."""
    using = get_settings().DATABASE
    publish.settle(using)
    return f"{MARK}{log.state(using).position}"


def set_cookie(
    request: HttpRequest,
    response: HttpResponseBase,
    *,
    subscribe: str | Iterable[str] = (),
    publish: str | Iterable[str] = (),
    seconds: int = 3600,
    subject: str = "",
    domain: str | None = None,
) -> None:
    """Set the cookie with which a page's EventSource shows its token; see ``make_token``."""
    token = make_token(subscribe=subscribe, publish=publish, seconds=seconds, subject=subject)
    response.set_cookie(
        hub().cookie, token, max_age=seconds, path=reverse(HUB), domain=domain, secure=request.is_secure(),
        httponly=True, samesite="Strict",
    )  # fmt: skip
