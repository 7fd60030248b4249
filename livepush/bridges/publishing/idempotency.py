"""Requests with an ``Idempotency-Key``: repeated, they have no second effect, and get the first one's answer.

A receipt is written in the transaction that sends the events, and only one of two can be. So this holds for two
processes at once, and for one that is killed between any two steps.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from datetime import datetime

from django.db import Error
from django.http import HttpRequest

from livepush import log
from livepush.bridges.publishing.models import MAX_IDEMPOTENCY_KEY, PublishReceipt
from livepush.conf import get_settings
from livepush.wire import WireError

KEPT = 86_400.0
"""How long (seconds) a receipt counts, unless the log's ``RETENTION`` is shorter."""
PRUNED_EVERY = 300.0
PRUNED_AT_ONCE = 1000
_KEY = re.compile(rf'"([\x20\x21\x23-\x7e]{{1,{MAX_IDEMPOTENCY_KEY}}})"|([\x21\x23-\x7e]{{1,{MAX_IDEMPOTENCY_KEY}}})')
_prune_at = 0.0


def key_of(request: HttpRequest) -> str | None:
    """Return a request's key, with or without quotation marks around it. Raises WireError: it is malformed."""
    given = request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if not given:
        return None
    form = _KEY.fullmatch(given)
    if form is None:
        what = f"Idempotency-Key is malformed: expected 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters."
        raise WireError("bad_idempotency_key", what)
    return form[1] or form[2]


def fingerprint(parts: Iterable[bytes]) -> str:
    """Return a digest of what makes two requests the same."""
    found = hashlib.sha256()
    for part in parts:
        found.update(hashlib.sha256(part).digest())
    return found.hexdigest()


def first(receipt: PublishReceipt, using: str) -> PublishReceipt | None:
    """Return the receipt of the first request with the same key; ``None`` if there is none that still counts.

    Raises WireError: that was another request.
    """
    rows = PublishReceipt.objects.using(using).filter(owner=receipt.owner, key=receipt.key)
    found = rows.first()
    if found is None or rows.filter(created__lt=_oldest(using)).delete()[0]:
        return None
    if found.fingerprint != receipt.fingerprint:
        what = "The Idempotency-Key was used for another request: send that one again as it was, or take a new key."
        raise WireError("idempotency_mismatch", what, 422)
    return found


def prune_sometimes(using: str) -> None:
    """Delete old receipts now and then. A failure does no harm: the next request tries again."""
    global _prune_at
    if time.monotonic() < _prune_at:
        return
    _prune_at = time.monotonic() + PRUNED_EVERY
    try:
        prune(using)
    except Error:
        _prune_at = 0.0


def prune(using: str) -> int:
    """Delete some receipts that no longer count; return their number."""
    rows = PublishReceipt.objects.using(using)
    old = list(rows.filter(created__lt=_oldest(using)).values_list("pk", flat=True)[:PRUNED_AT_ONCE])
    return rows.filter(pk__in=old).delete()[0] if old else 0


def _oldest(using: str) -> datetime:
    return log.dialect(using).ago(min(KEPT, get_settings().RETENTION))
