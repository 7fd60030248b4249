"""Reaches a site as browsers do, through whatever is in front of it."""

from __future__ import annotations

import http.client
import json
import ssl
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from livepush.doctor import clock, web
from livepush.doctor.check import Check, describe_error
from livepush.doctor.problems import Problem
from livepush.doctor.protocol import PARAMETER, make_token
from livepush.routing import prefix

TROUBLES = (OSError, http.client.HTTPException)
"""The exceptions of a failing network."""
REFUSALS = frozenset({"refused", "bad_credentials", "no_tenant", "throttled"})
"""The codes with which livepush refuses a client that it would serve elsewhere, or at another time."""


class Site:
    """A site, and the facts found about it so far."""

    def __init__(self, root: web.Root, timeout: float) -> None:
        self.root = root
        self.timeout = timeout
        self.ahead: float | None = None
        """How far the site's clock is ahead of this host's (seconds): first by its ``Date``, then by its facts."""
        self.serves = False
        """Whether livepush's ASGI endpoints answer there."""
        self.is_livepush = False
        """Whether livepush answers there, if only polls."""
        self.facts: dict[str, Any] | None = None

    def get(self, path: str, **headers: str) -> web.Answer:
        """Ask for a path."""
        return web.get(self.root, path, self.timeout, **headers)

    def probe(self, endpoint: str, **query: object) -> str:
        """Return the path of one of livepush's endpoints, with a fresh token of the doctor."""
        return f"{prefix()}{endpoint}?{urlencode({PARAMETER: make_token(self.ahead or 0.0), **query})}"


def check_site(check: Check, site: Site) -> None:
    """Check that livepush answers at the URL."""
    check.late = Problem.UNREACHABLE
    sent = clock.now()
    try:
        answer = site.get(f"{prefix()}sse/")
    except TROUBLES as error:
        check.find(Problem.UNREACHABLE, _trouble(site.root, error))
        return
    check.late = None
    site.ahead = _ahead(answer, (sent + clock.now()) / 2)
    code = json_of(answer.body).get("code")
    check.say(f"{site.root.origin}{site.root.path} answers", url=site.root.origin + site.root.path)
    if code == "needs_asgi":
        check.find(Problem.POLLS_ONLY, "sse/ answers 501 needs_asgi")
    elif code == "bad_host":
        check.find(Problem.HOST_REFUSED, f"sse/ answers {answer.status} bad_host to Host: {site.root.netloc}")
    elif code in REFUSALS:
        check.find(Problem.REFUSED, f"{prefix()}sse/ answers {summary_of(answer)} with the code {code}")
    elif _is_bye(answer):
        check.find(Problem.NOBODY_ENTERS, f"{prefix()}sse/ says bye")
    elif code != "no_group":
        check.find(Problem.NOT_LIVEPUSH, f"{prefix()}sse/ answers {summary_of(answer)}")
    site.serves = code == "no_group" or code in REFUSALS or _is_bye(answer)
    site.is_livepush = site.serves or code == "needs_asgi"
    if code in ("no_group", "needs_asgi"):
        _check_polls(check, site)
    _check_http2(check, site)


def _trouble(root: web.Root, error: Exception) -> str:
    """Return what came in place of an answer, and what was asked for: whoever gave no scheme may have meant http."""
    text = f"{describe_error(error)}, at {root.origin}"
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
        text += f"; a --url without a scheme means https: if the site speaks http, write --url http://{root.netloc}{root.path}/"
    return text


def _is_bye(answer: web.Answer) -> bool:
    """Return whether an answer is a stream that only tells its client to come back."""
    return answer.headers.get_content_type() == "text/event-stream" and b"livepush.bye" in answer.body


def _check_polls(check: Check, site: Site) -> None:
    """Check that polls come through: a proxy may pass on some of livepush's addresses only."""
    answer = site.get(f"{prefix()}poll/")
    if json_of(answer.body).get("code") != "no_group":
        check.find(Problem.NO_POLLS, f"{prefix()}poll/ answers {summary_of(answer)}")


def _ahead(answer: web.Answer, now: float) -> float | None:
    """Return how far (seconds) a site's clock is ahead, ``None`` without a readable ``Date``.

    ``Date`` counts whole seconds, so a difference of up to one second counts as 0.
    """
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return None
    ahead = there + 0.5 - now
    return ahead if abs(ahead) > 1.0 else 0.0


def summary_of(answer: web.Answer) -> str:
    """Return an answer in a few words."""
    to = answer.headers.get("Location")
    return f"{answer.status} and leads to {to}" if to else f"{answer.status} ({answer.headers.get_content_type()})"


def json_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, or an empty one if the body is not a JSON object."""
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
