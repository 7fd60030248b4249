"""WebSockets that the proxy holds: it asks by a request whatever a client says, and whether there are events.

An item that tells of events makes the proxy send a ping to each client on its channel. The client's pong reaches the
site, which answers what the client has not got yet. A lost item or a slow client delays events, and nothing more.
"""

from __future__ import annotations

import random

from django.http import HttpRequest, HttpResponse

from livepush.access import origins
from livepush.access.authenticating import SUBPROTOCOL_OF_TOKENS
from livepush.bridges.grip import frames, holds
from livepush.bridges.grip.commands import Spoken, carry_out
from livepush.bridges.grip.config import edge
from livepush.bridges.grip.frames import Frame
from livepush.bridges.grip.signature import check_signature
from livepush.bridges.grip.telling import Told
from livepush.bridges.grip.views import BACK_WITHIN, hold_for
from livepush.conf import get_settings
from livepush.consumers.answering import answers
from livepush.consumers.auditing import Client
from livepush.consumers.views import FoundEvents, admitted, look, query_alone
from livepush.wire import (
    SUBPROTOCOL,
    Close,
    Format,
    Position,
    WireError,
    hello,
    parse_position,
    system_frames,
)

ISSUER = "livepush-websocket"
"""The proxy signs its own requests for WebSockets in this name, and no request that a client sends it."""
HOLD, AT = "Livepush-Hold", "Livepush-At"
"""The proxy keeps these for each WebSocket, and sends them with each request: the client's hold and place."""


@answers("ws", "GET", "POST")
def websocket(request: HttpRequest, client: Client) -> HttpResponse:
    """Open a WebSocket that the proxy holds, or go on with one."""
    if request.content_type != frames.CONTENT_TYPE:
        raise WireError(
            "needs_over_http",
            "This site takes WebSockets over HTTP: add over_http to the proxy's route for them, see docs/grip.md.",
            501,
        )
    check_signature(request, edge().key, ISSUER)
    happened = frames.parse(request.body)
    if happened and happened[0].kind == frames.OPEN:
        return _open(request, client)
    if f"Meta-{HOLD}" not in request.headers and happened and happened[0].kind in (frames.CLOSE, frames.DISCONNECT):
        refused = b"".join(each.encoded() for each in happened)
        return HttpResponse(refused, content_type=frames.CONTENT_TYPE)
    told = Told(holds.hold_of(request.headers.get(f"Meta-{HOLD}", "")), edge())
    at = parse_position(request.headers.get(f"Meta-{AT}", ""))
    return _answer(told, _go_on(request, client, told, at, happened))


def _open(request: HttpRequest, client: Client) -> HttpResponse:
    """Accept a new WebSocket, then serve or refuse it: browsers would hide a refusal of the handshake itself."""
    offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    format = Format.ARRAY if SUBPROTOCOL in offered else Format.TEXT
    told = Told(None, edge())
    told.add(Frame(frames.OPEN))
    try:
        at = _begin(request, client, told, format)
    except WireError as error:
        client.refuse(error)
        told = Told(None, edge())
        told.add(Frame(frames.OPEN))
        told.refuse(error)
        at = None
    response = _answer(told, at)
    with_token = (each for each in offered if each.startswith(SUBPROTOCOL_OF_TOKENS))
    chosen = SUBPROTOCOL if format is Format.ARRAY else next(with_token, "")
    if chosen:
        response["Sec-WebSocket-Protocol"] = chosen
    response["Sec-WebSocket-Extensions"] = 'grip; message-prefix=""'
    return response


def _begin(request: HttpRequest, client: Client, told: Told, format: Format) -> Position:
    origins.check_origin(request)
    query = query_alone(request)
    admission = admitted(request, query, client)
    told.follow(hold_for(request, format, admission))
    found = look(query.since, admission.stored, admission.floors)
    settings = get_settings()
    begins_at = found.position if query.since is None or found.lost else query.since
    told.keep_alive(settings.HEARTBEAT)
    told.say(
        hello(
            begins_at,
            format,
            heartbeat=settings.HEARTBEAT,
            retry=round(settings.RETRY * 1000),
            groups=admission.granted,
            refused=admission.refused,
            failed=admission.told_failed,
        )
    )
    at = _tell(told, found, begins_at)
    told.ask_again()  # for what comes before the proxy listens
    return at


def _go_on(request: HttpRequest, client: Client, told: Told, at: Position, happened: list[Frame]) -> Position:
    """Answer what has happened, and what the client has not got yet; return its new place."""
    origins.check_origin(request)  # a foreign page's cookies are ignored each time
    spoken = Spoken(request, client, told, at)
    for frame in happened:
        if frame.kind == frames.DISCONNECT:
            return at
        if frame.kind == frames.CLOSE:
            told.add(frame)
            return at
        if frame.kind == frames.PING:
            told.add(Frame(frames.PONG, frame.content))
        elif frame.kind in (frames.TEXT, frames.BINARY) and (code := carry_out(spoken, frame)):
            told.close(code)
            return at
    if told.hold.is_over:
        return _send_back(told, spoken.at)
    if not told.hold.groups:
        return spoken.at
    return _tell(told, look(spoken.at, told.hold.groups, told.hold.floors), spoken.at)


def _tell(told: Told, found: FoundEvents, since: Position) -> Position:
    """Say what was found after a client's place; return the place up to where it has everything then."""
    if found.lost is not None:
        told.follow(told.hold.reset(found.position))
        told.say(system_frames("reset", told.hold.format, position=found.position, reason=found.lost))
        return found.position
    if found.events:
        return told.events(found, since)
    if found.position != since:
        told.say(system_frames("position", told.hold.format, position=found.position))
    if found.has_more:
        told.ask_again()
    return found.position


def _send_back(told: Told, at: Position) -> Position:
    """Have a client come back, so that the rules are asked again."""
    retry = round(1000 * random.uniform(0, BACK_WITHIN))
    told.say(system_frames("bye", told.hold.format, retry=retry, reason="recheck"))
    told.close(Close.GOING_AWAY)
    return at


def _answer(told: Told, at: Position | None) -> HttpResponse:
    response = HttpResponse(told.body(), content_type=frames.CONTENT_TYPE)
    if at is not None:
        response[f"Set-Meta-{HOLD}"] = told.hold.token()
        response[f"Set-Meta-{AT}"] = str(at)
        response["Keep-Alive-Interval"] = str(told.hold.asks_after(edge().check))
    return response
