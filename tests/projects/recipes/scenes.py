"""Clients log in as each package has it, and read a stream and the inbox with what they got."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import quote, urlencode

from common import PATIENCE, Server, log_in, serving
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.tokens import AccessToken

import livepush

PASSWORD = {"username": "ann", "password": "a secret of ann's"}


def post(server: Server, path: str, body: object) -> dict:
    status, answer = server.ask("POST", path, body)
    assert status == 200, answer
    return json.loads(answer)


def by_token(server: Server) -> dict[str, str]:
    return {"Authorization": f"Token {post(server, '/api/token/', PASSWORD)['token']}"}


def by_jwt(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {post(server, '/api/jwt/', PASSWORD)['access']}"}


def session_token(server: Server) -> str:
    return post(server, "/_allauth/app/v1/auth/login", PASSWORD)["meta"]["session_token"]


def by_session_token(server: Server) -> dict[str, str]:
    return {"X-Session-Token": session_token(server)}


def by_session_token_beside_a_cookie(server: Server) -> dict[str, str]:
    """Log in as an app does whose client keeps cookies: it has the cookie of an anonymous session too."""
    store = SessionStore()
    store["cart"] = 1
    store.save()
    return {**by_session_token(server), "Cookie": f"sessionid={store.session_key}"}


def by_session_as_authorization(server: Server) -> dict[str, str]:
    return {"Authorization": f"Session {session_token(server)}"}


def by_own_token(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {livepush.token(ann())}"}


def by_cookie(server: Server) -> dict[str, str]:
    return log_in(ann())


WAYS = (by_token, by_jwt, by_session_token, by_session_as_authorization, by_own_token, by_cookie)


def ann():
    return get_user_model().objects.get(username="ann")


def each_way_reads_a_stream_and_the_inbox() -> None:
    user = get_user_model().objects.create_user(**PASSWORD)
    livepush.notify(user, "Hello")
    own = livepush.user_group(user)
    assert own == f"user:{user.pk}"
    assert len(str(user.pk)) == 36
    with serving() as server:
        for way in WAYS:
            reads(server, way(server), own)
        nobody(server, own)
        ended(server, own)


def reads(server: Server, headers: dict[str, str], own: str) -> None:
    """Check what somebody who is logged in may do."""
    with server.stream(own, "members", **headers) as told:
        livepush.send(own, "told", 1)
        while told() != ("told", 1):
            pass
    status, answer = server.ask("GET", "/livepush/inbox/entries/", **headers)
    assert status == 200, (headers, answer)
    (entry,) = json.loads(answer)["entries"]
    assert entry["title"] == "Hello"
    with asked(server, "POST", "/livepush/inbox/read/", urlencode({"id": entry["id"]}), headers) as answer:
        expected = 200 if "Authorization" in headers else 403  # a page of another site could have had it sent
        assert answer.status == expected, (headers, answer.read())


@contextlib.contextmanager
def asked(server: Server, method: str, path: str, body: str | None, headers: dict[str, str]) -> Iterator[HTTPResponse]:
    """Send a request, as a form if it has a body."""
    with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})
        yield connection.getresponse()


def nobody(server: Server, own: str) -> None:
    """Check that what is no token, or not any more, lets nobody in."""
    late = AccessToken.for_user(ann())
    late.set_exp(lifetime=timedelta(seconds=-1))
    for headers in (
        {},
        {"Authorization": "Token nope"},
        {"Authorization": "Token"},
        {"Authorization": "Bearer nope"},
        {"Authorization": f"Bearer {late}"},
        {"Authorization": "Session nope"},
        {"X-Session-Token": "nope"},
    ):
        assert server.ask("GET", f"/livepush/sse/?group={quote(own)}", **headers)[0] == 403, headers
        assert server.ask("GET", "/livepush/inbox/entries/", **headers)[0] == 401, headers


def ended(server: Server, own: str) -> None:
    """Check that a stream ends with what let its client in, and at once: for the reason that was announced."""

    def flush() -> None:
        SessionStore(key["X-Session-Token"]).flush()

    ends = (
        (by_token, lambda: Token.objects.get(user=ann()).delete(), b'"user"'),
        (by_session_token, flush, b'"logout"'),
        (by_session_token_beside_a_cookie, flush, b'"logout"'),
    )
    for way, end, reason in ends:
        key = way(server)
        with asked(server, "GET", f"/livepush/sse/?group={quote(own)}", None, key) as stream:
            assert b"retry" in stream.readline() + stream.readline() + stream.readline()
            end()
            said = stream.read()  # up to the end of the stream
        assert b"event: livepush.revoked" in said, said
        assert reason in said, said
