"""A site as browsers see it, through whatever is in front of it, and the server process behind."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import livepush
from livepush.doctor import host, web
from livepush.doctor.protocol import FRAMES, IDLE_HEARTBEATS, PAUSE, make_token
from livepush.doctor.report import Check, Problem, describe
from livepush.routing import prefix
from livepush.wire import Position, parse_position

FEW_FILES = 4096
"""Fewer open files than this are a finding."""
TROUBLES = (OSError, http.client.HTTPException)


class Site:
    """A site, and what is known of it so far."""

    def __init__(self, root: web.Root, timeout: float) -> None:
        self.root = root
        self.timeout = timeout
        self.ahead: float | None = None
        """How far the site's clock is ahead of this host's (seconds), as its ``Date`` says at first."""
        self.serves = False
        """Whether livepush's ASGI endpoints answer there."""
        self.facts: dict[str, Any] | None = None

    def get(self, path: str, **headers: str) -> web.Answer:
        """Ask for a path."""
        return web.get(self.root, path, self.timeout, **headers)

    def probe(self, endpoint: str, **query: object) -> str:
        """Return the path of one of the doctor's own endpoints, with a fresh token."""
        return f"{prefix()}doctor/{endpoint}?{urlencode({'token': make_token(self.ahead or 0.0), **query})}"


# The way in


def check_site(check: Check, site: Site) -> None:
    """Reach livepush at the URL."""
    check.late = Problem.UNREACHABLE
    sent = host.now()
    try:
        answer = site.get(f"{prefix()}sse/")
    except TROUBLES as error:
        check.find(Problem.UNREACHABLE, describe(error))
        return
    check.late = None
    site.ahead = _ahead(answer, (sent + host.now()) / 2)
    code = _json(answer.body).get("code")
    check.say(f"{site.root.origin}{site.root.path} answers", url=site.root.origin + site.root.path)
    if code == "needs_asgi":
        check.find(Problem.POLLS_ONLY, "sse/ answers 501 needs_asgi")
    elif code == "bad_host":
        check.find(Problem.HOST_REFUSED, f"sse/ answers {answer.status} bad_host to Host: {site.root.netloc}")
    elif code != "no_group":
        check.find(Problem.NOT_LIVEPUSH, f"{prefix()}sse/ answers {_summary(answer)}")
    site.serves = code == "no_group"
    _check_http2(check, site)


def _ahead(answer: web.Answer, now: float) -> float | None:
    """Return how far a site's clock is ahead; nothing below the second that ``Date`` counts in."""
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return None
    ahead = there + 0.5 - now
    return ahead if abs(ahead) > 1.0 else 0.0


def _summary(answer: web.Answer) -> str:
    to = answer.headers.get("Location")
    return f"{answer.status} and leads to {to}" if to else f"{answer.status} ({answer.headers.get_content_type()})"


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check_http2(check: Check, site: Site) -> None:
    if site.root.scheme != "https":
        check.say("over http, so HTTP/2 was not looked for")
    elif web.speaks_http2(site.root, site.timeout):
        check.say("HTTP/2", http2=True)
    else:
        check.find(Problem.NO_HTTP2, "the server side does not choose h2 (ALPN)")


# The process behind


def check_server(check: Check, site: Site, head: Position | None, patience: float) -> None:
    """Look into a server process; ``head`` is where this command sees the log (``None``: it can't)."""
    sent = host.now()
    answer = site.get(site.probe(""), Origin=site.root.origin)
    facts = _json(answer.body)
    if answer.status >= 500:
        check.skip(f"The server process was not looked into: {prefix()}doctor/ answers {_summary(answer)}.")
        return
    if answer.status != 200 or "pid" not in facts:
        check.find(Problem.STRANGER, f"{prefix()}doctor/ answers {_summary(answer)}")
        return
    site.ahead = facts["time"] - (sent + host.now()) / 2
    site.facts = facts
    check.figures.update(facts)
    _say_what_it_is(check, facts)
    _check_flags(check, facts)
    _check_arrival(check, site, facts["request"])
    _check_hub(check, site, facts, head, patience)


def _say_what_it_is(check: Check, facts: dict[str, Any]) -> None:
    versions, files = facts["versions"], facts["files"]
    name = facts["server"] or "an unknown server"
    check.say(f"{name} {versions.get(name, '')}".strip() + f" (process {facts['pid']})")
    check.say(", ".join(f"{each} {versions[each]}" for each in ("livepush", "django", "python")))
    check.say(f"{_shown(files['open'])} of {_shown(files['limit'])} files open")


def _shown(value: object) -> object:
    return "?" if value is None else value


def _check_flags(check: Check, facts: dict[str, Any]) -> None:
    """How the server was started."""
    limit, server = facts["files"]["limit"], facts["server"]
    if facts["debug"]:
        check.find(Problem.DEBUG_ON, "DEBUG is True")
    if limit is None:
        check.skip("The limit of open files was not checked: the server's system does not tell.")
    elif 0 <= limit < FEW_FILES:  # -1: none
        check.find(Problem.FEW_FILES, f"a limit of {limit}, {_shown(facts['files']['open'])} of them open")
    if facts["versions"]["livepush"] != livepush.__version__:
        seen = f"{facts['versions']['livepush']} there, {livepush.__version__} here"
        check.find(Problem.OTHER_VERSION, seen)
    if not server:
        check.skip("The server's options were not checked: it is none that this command knows.")
    elif server == "hypercorn" and facts["worker_process"]:
        check.find(Problem.HYPERCORN_WORKERS, "the process that answered is a worker process")
    elif server == "uvicorn":
        _check_grace(check, facts)


def _check_grace(check: Check, facts: dict[str, Any]) -> None:
    """Whether uvicorn has a limit for its end; where another program started it, that can't be seen."""
    words = facts["command_line"]
    if not facts["started_by_server"]:
        check.skip(f"uvicorn's time limit at its end was not checked: {words[0]} started it.")
        return
    named = any(word.partition("=")[0] == "--timeout-graceful-shutdown" for word in words)
    if not named and "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN" not in facts["environment"]:
        check.find(Problem.NO_GRACE, "no --timeout-graceful-shutdown in its command line")


def _check_arrival(check: Check, site: Site, request: dict[str, Any]) -> None:
    """What the proxy made of the request."""
    if request["origin"] == "bad_origin":
        seen = f"{site.root.netloc} was asked for, {request['host']} arrived"
        check.find(Problem.HOST_CHANGED, seen)
    if site.root.scheme == "https" and not request["secure"]:
        check.find(Problem.TAKEN_FOR_HTTP, "request.is_secure() is False")


def _check_hub(check: Check, site: Site, facts: dict[str, Any], head: Position | None, patience: float) -> None:
    """Whether the process's hub follows the log that this command sees."""
    hub = facts["hub"]
    if hub is None:
        check.find(Problem.HUB_BROKEN, facts["trouble"])
        return
    check.say(f"hub at {hub['position']} with {hub['subscribers']} clients; its layer: {hub['layer']}")
    if head is None:
        check.skip("The hub's position was not compared: see the findings of the database.")
        return
    position = parse_position(hub["position"])
    if position.epoch != head.epoch:
        check.find(Problem.OTHER_LOG, f"the server's hub is at {position}, this command's log at {head}")
    elif position.number < head.number:
        _wait_for_hub(check, site, head, patience)


def _wait_for_hub(check: Check, site: Site, head: Position, patience: float) -> None:
    """Give the hub its time; several processes may answer in turn, and each must come to the position."""
    end = time.monotonic() + patience
    while True:
        hub = _json(site.get(site.probe("")).body).get("hub")
        position = parse_position(hub["position"]) if hub else None
        if position is not None and position.number >= head.number:
            return
        if time.monotonic() > end:
            check.find(Problem.HUB_BEHIND, f"a hub at {position}, the log at {head}, for {patience:.0f} s")
            return
        time.sleep(0.2)


# What passes through


def check_stream(check: Check, site: Site) -> None:
    """Watch a stream's frames on their way."""
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
    if _held_back(times) and _held_back(_arrivals(_watch(site))):  # once may be this host's own doing
        sent = (FRAMES - 1) * PAUSE
        check.find(Problem.BUFFERED, f"{FRAMES} frames sent within {sent:g} s came within {host.milliseconds(spread)}")
    else:
        check.say(f"{FRAMES} frames, each as it was sent", frames=FRAMES)
    check.figures["spread_ms"] = round(spread * 1000)


def _watch(site: Site) -> web.Stream:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}
    return web.stream(site.root, site.probe("sse/"), site.timeout, **headers)


def _arrivals(seen: web.Stream) -> list[float]:
    """Return when each frame was whole."""
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
    """See whether a stream lives on while nothing is sent for as long as can be."""
    quiet = quiet_span(site)
    start = time.monotonic()
    seen = web.stream(site.root, site.probe("sse/", idle=1), site.timeout + quiet, Accept="text/event-stream")
    lived = time.monotonic() - start
    if len(_arrivals(seen)) == 2:
        check.say(f"a stream lives on through {host.duration(quiet)} of silence", quiet_s=quiet)
    else:
        check.find(Problem.IDLE_CUT, f"a stream that was quiet ended after {host.duration(lived)}")


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
        except (OSError, EOFError) as error:
            check.find(Problem.WEBSOCKET_MUTE, describe(error))
            return
    took = time.perf_counter() - start
    if back == text:
        check.say(f"opens, and echoes within {host.milliseconds(took)}", websocket_ms=round(took * 1000, 3))
    else:
        check.find(Problem.WEBSOCKET_MUTE, "an echo that differs")


def _say_why_not(check: Check, socket: web.WebSocket) -> None:
    said = _json(socket.body)
    if said.get("upgrade_arrived"):
        check.find(Problem.NO_WEBSOCKETS, f"status {socket.status}, though the upgrade reached the server")
    else:
        check.find(Problem.NO_UPGRADE, f"status {socket.status}")
