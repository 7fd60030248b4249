"""Checks a site's streams and WebSockets through whatever is in front of the site."""

from __future__ import annotations

import secrets
import time

from livepush.doctor import web
from livepush.doctor.check import Check, describe_error
from livepush.doctor.problems import Problem
from livepush.doctor.protocol import FRAMES, IDLE_HEARTBEATS, PAUSE
from livepush.doctor.site import Site, json_of
from livepush.doctor.units import duration, milliseconds

INCOMPLETE = (400, 426)
"""The answers of servers to a handshake whose upgrade was taken out: of livepush's endpoint, and of libraries."""


def check_stream(check: Check, site: Site) -> None:
    """Check that a stream's frames and headers arrive unchanged, and that each frame arrives in time."""
    seen = _watch(site)
    if seen.status != 200:
        check.find(Problem.STREAM_BROKEN, f"status {seen.status}")
        return
    _check_headers(check, seen)
    if not seen.readable:
        check.skip("Whether frames are held back was not checked: their compression can't be undone here.")
        return
    times = _arrivals(seen)
    if len(times) < FRAMES:
        why = seen.broken or "the connection ended"
        check.find(Problem.STREAM_BROKEN, f"{len(times)} of {FRAMES} frames, then: {why}")
        return
    spread = times[-1] - times[0]
    if _held_back(times) and _held_back(_arrivals(_watch(site))):  # a single delay may come from this host
        sent = (FRAMES - 1) * PAUSE
        check.find(Problem.BUFFERED, f"{FRAMES} frames sent within {sent:g} s came within {milliseconds(spread)}")
    else:
        check.say(f"{FRAMES} frames, each as it was sent", frames=FRAMES)
    check.figures["spread_ms"] = round(spread * 1000)


def _watch(site: Site) -> web.Stream:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}
    return web.stream(site.root, site.probe("sse/", ask="stream"), site.timeout, **headers)


def _arrivals(seen: web.Stream) -> list[float]:
    """Return the time at which each frame was complete."""
    times: list[float] = []
    buffer = b""
    for at, piece in seen.pieces:
        buffer += piece
        times += [at] * (buffer.count(b"\n\n") - len(times))
    return times


def _held_back(times: list[float]) -> bool:
    return not times or times[-1] - times[0] < (FRAMES - 1) * PAUSE / 2


def _check_headers(check: Check, seen: web.Stream) -> None:
    encoding = seen.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        check.find(Problem.COMPRESSED, f"Content-Encoding: {encoding}")
    kind, caching = seen.headers.get_content_type(), seen.headers.get("Cache-Control", "")
    wanted = {"no-store", "no-transform"}
    if kind != "text/event-stream" or not wanted <= {word.strip() for word in caching.split(",")}:
        check.find(Problem.HEADERS_LOST, f"Cache-Control: {caching or 'none'}, Content-Type: {kind}")


def check_idle(check: Check, site: Site) -> None:
    """Check that a stream survives the longest silence that it can have."""
    quiet = quiet_span(site)
    start = time.monotonic()
    seen = web.stream(site.root, site.probe("sse/", ask="idle"), site.timeout + quiet, Accept="text/event-stream")
    lived = time.monotonic() - start
    if len(_arrivals(seen)) == 2:
        check.say(f"a stream lives on through {duration(quiet)} of silence", quiet_s=quiet)
    else:
        check.find(Problem.IDLE_CUT, f"a stream that was quiet ended after {duration(lived)}")


def quiet_span(site: Site) -> float:
    """Return how long (seconds) a stream of this site can be quiet."""
    return IDLE_HEARTBEATS * float(site.facts["heartbeat"] if site.facts else 0)


def check_websocket(check: Check, site: Site) -> None:
    """Open a WebSocket and send a message each way."""
    check.late = Problem.WEBSOCKET_MUTE
    start = time.perf_counter()
    with web.websocket(site.root, site.probe("ws/"), site.timeout) as socket:
        if socket.status != 101:
            _say_why_not(check, socket)
            return
        text = secrets.token_hex(8)
        try:
            socket.receive()
            socket.send(text)
            back = socket.receive()
            took = time.perf_counter() - start
            check.late = Problem.MESSAGE_REFUSED
            _check_large(check, socket, site)
        except (OSError, EOFError) as error:
            check.find(Problem.WEBSOCKET_MUTE, describe_error(error))
            return
    if back == text:
        check.say(f"opens, and echoes within {milliseconds(took)}", websocket_ms=round(took * 1000, 3))
    else:
        check.find(Problem.WEBSOCKET_MUTE, "an echo that differs")
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    with web.websocket(site.root, site.probe("ws/"), site.timeout, **offer) as socket:
        if socket.packs:
            check.find(Problem.SOCKET_COMPRESSED, "permessage-deflate")


def _check_large(check: Check, socket: web.WebSocket, site: Site) -> None:
    """Send a message each way that is as large as livepush lets one be."""
    size = int((site.facts or {}).get("message_bytes", 0))
    text = "x" * size
    try:
        socket.send(text)
        if socket.receive() == text:
            return
        seen = "an echo that differs"
    except (OSError, EOFError) as error:
        seen = describe_error(error)
    check.find(Problem.MESSAGE_REFUSED, f"a message of {size} bytes: {seen}")


def _say_why_not(check: Check, socket: web.WebSocket) -> None:
    said = json_of(socket.body)
    if said.get("upgrade_arrived"):
        check.find(Problem.NO_WEBSOCKETS, f"status {socket.status}, though the upgrade reached the server")
    elif socket.status in INCOMPLETE:
        check.find(Problem.NO_UPGRADE, f"status {socket.status}")
    else:
        check.find(Problem.HANDSHAKE_REFUSED, f"status {socket.status}")
