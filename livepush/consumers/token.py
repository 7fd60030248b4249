"""``POST token/``: a token for a client without cookies, from one that is logged in."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse

from livepush import tenants
from livepush.access import identity, limits, rules, tokens
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.consumers.answering import answers, said
from livepush.consumers.auditing import Client
from livepush.consumers.identified import check_csrf, identity_of
from livepush.exceptions import InvalidToken, TokenTooSoon
from livepush.rights import issuing
from livepush.wire import WireError, check_group, unavailable

FIELDS = {"groups", "ttl", "once"}
MAX_BODY = 65_536
EXAMPLE = '{"groups": ["board"], "ttl": 60}'


@answers("token", "POST")
def token(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer ``{"groups": [...], "ttl": 60, "once": true}``, all optional, with ``{"token", "expires", "groups"}``."""
    with tenants.active(tenants.of_request(request)):
        return said(_issued(request, client))


def _issued(request: HttpRequest, client: Client) -> dict[str, Any]:
    body = limits.body_of(request, MAX_BODY, f"expected JSON such as {EXAMPLE}")  # first: a look for a form reads it
    known = client.identity = identity_of(request)
    client.tenant = tenants.current()
    check_csrf(request, known)
    if known.name is None:
        raise WireError("unauthenticated", "Nobody is logged in: log in, or send another authenticator's header.", 401)
    if known.token is not None:
        raise WireError("token_by_token", "A token can't get another one: log in again.", 403)
    asked = _asked(body)
    groups = None if "groups" not in asked else _granted(request, known, asked["groups"])
    try:
        made = issuing.token(known.user, groups, asked.get("ttl", issuing.TTL), asked.get("once", False))
    except TokenTooSoon as error:
        raise unavailable() from error
    except issuing.TooManyGroups as error:
        raise WireError("too_many_groups", str(error)) from error
    except InvalidToken as error:
        raise WireError("bad_ttl", str(error)) from error
    return {"token": made, "expires": tokens.parse(made).ends, "groups": groups}


def _asked(body: bytes) -> dict[str, Any]:
    problem = WireError("bad_body", f"The body is malformed: expected JSON such as {EXAMPLE}.")
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise problem from error
    if not isinstance(found, dict) or not FIELDS.issuperset(found):
        raise problem
    asked = {name: value for name, value in found.items() if value is not None}
    if not isinstance(asked.get("once", False), bool):
        raise problem
    return asked


def _granted(request: HttpRequest, known: Identity, groups: Any) -> list[str]:
    """Return those of the groups that the user may read."""
    limit = get_settings().MAX_GROUPS
    if not isinstance(groups, list) or not groups or len(groups) > limit:
        raise WireError("bad_group", f"groups is malformed: expected a list of 1 to {limit} names.")
    names = tuple(dict.fromkeys(check_group(name if isinstance(name, str) else "") for name in groups))
    answers, questions = rules.ask_sync(known.user, names, identity.handshake(request))
    if questions:
        answers = rules.ask_async_here(questions, answers, get_settings().DATABASE_TIMEOUT)
    if answers.failed:
        raise unavailable()
    if not answers.granted:
        raise WireError(
            "forbidden", "None of the groups may be read: ask for groups that a rule of can_read grants this user.", 403
        )
    return [name for name in names if name in answers.granted]
