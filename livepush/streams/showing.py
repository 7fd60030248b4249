"""The first text of a stream in a page, before it is live: its text so far, and where the page's script goes on."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from django.http import HttpRequest

from livepush import tenants
from livepush.access import identity, rules
from livepush.access.authenticating import Identity, nobody
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.streams import leases, pieces, store
from livepush.streams.asking import check_readable
from livepush.streams.models import Stream
from livepush.wire import WireError, public_name


class Shown(NamedTuple):
    """A stream as a page shows it."""

    text: str
    offset: int
    state: str
    progress: float | None


def shown(id: str, request: HttpRequest) -> Shown:
    """Return what a page may show of a stream to the user of its request; nothing of one that the user may not read.

    Uses the database.
    """
    using = get_settings().DATABASE
    leases.look(using)
    row = store.find(using, id)
    if row is None or not _may_read(row, request):
        return Shown("", 0, "refused", None)
    found, end = store.read_all(using, id, 0, row.length)
    text = "".join(each for each in found if isinstance(each, str))
    return Shown(text, end, row.state, _progress(found))


def _may_read(row: Stream, request: HttpRequest) -> bool:
    name, user = public_name(row.group), getattr(request, "user", None) or nobody()
    try:
        tenant = tenants.current()
    except InvalidGroup:  # no tenant is active
        return False
    answers, questions = rules.ask_sync(user, [name], identity.handshake(request))
    if questions:
        answers = rules.ask_async_here(questions, answers, get_settings().DATABASE_TIMEOUT)
    asked = identity.Asked(Identity(user), answers, questions, tenant)
    try:
        check_readable(row, identity.admission(asked, [name], answers))
    except WireError:
        return False
    return True


def _progress(found: pieces.Pieces) -> float | None:
    for piece in reversed(found):
        if isinstance(piece, pieces.Data) and '"progress"' in piece.json:
            value: Any = json.loads(piece.json)
            if isinstance(value, dict) and isinstance(value.get("progress"), int | float):
                return float(value["progress"])
    return None
