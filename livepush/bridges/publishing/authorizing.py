"""Finds out which key a request shows, and how much the key may publish.

A process asks the database for a key once a second at most, and writes down its use once a minute.
"""

from __future__ import annotations

import time
from datetime import timedelta
from threading import RLock
from typing import NamedTuple

from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone

from livepush import tenants
from livepush.access.limits import Bucket, bucket_of, too_many
from livepush.access.tokens import refusal
from livepush.bridges import patterns
from livepush.bridges.publishing import keys
from livepush.bridges.publishing.models import ApiKey
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.wire import WireError

FRESH = 1.0
"""How long (seconds) a process believes what it knows of a key, and so how long a revoked one may go on."""
USE_NOTED = timedelta(minutes=1)
"""How often a key's use is written down."""
MAX_KNOWN = 1000
"""How many keys a process knows at once."""
MISSING = "An API key is expected here: send Authorization: Bearer lpk_…, which livepush_key create has printed."
UNKNOWN = "The API key is not one of this site's, was revoked, or has ended: create another one with livepush_key."


class Publisher(NamedTuple):
    """A program that has shown a valid key, and what the key lets it do."""

    prefix: str
    groups: tuple[str, ...]
    types: tuple[str, ...]
    recipients: tuple[str, ...]

    def check_event(self, groups: tuple[str, ...], type: str) -> None:
        """Refuse an event that the key does not allow. Raises WireError."""
        for group in groups:
            if group.startswith(patterns.CLOSED) or not patterns.matches(self.groups, group):
                raise WireError("forbidden", f"The API key does not allow the group {group!r}.", 403)
        if not patterns.matches(self.types, type):
            raise WireError("forbidden", f"The API key does not allow the type {type!r}.", 403)

    def check_recipient(self, recipient: str) -> None:
        """Refuse a recipient that the key does not allow. Raises WireError."""
        if not patterns.matches(self.recipients, recipient):
            raise WireError("forbidden", f"The API key does not allow to notify {recipient!r}.", 403)


_lock = renewed(globals(), "_lock", RLock)
_known: dict[tuple[str, str], tuple[Publisher, float]] = {}
_buckets: dict[str, Bucket] = {}


def publisher_of(request: HttpRequest) -> Publisher:
    """Return the publisher that a request's key stands for, on the active tenant's site. Raises WireError."""
    kind, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if kind.lower() != "bearer":
        raise _by_bearer(refusal("unauthenticated", MISSING))
    tenant = tenants.current() or ""
    known = _known.get((tenant, text.strip()))
    if known is not None and known[1] > time.monotonic():
        return known[0]
    return _looked_up(tenant, text.strip())


def spend(publisher: Publisher, count: int) -> None:
    """Count events of a key. Raises WireError: there are too many for now."""
    rate = get_settings().PUBLISHED_PER_SECOND
    with _lock:
        bucket = _buckets.get(publisher.prefix)
        if bucket is None:
            if len(_buckets) >= MAX_KNOWN:
                for prefix in [prefix for prefix, each in _buckets.items() if each.is_full()]:
                    del _buckets[prefix]
            bucket = _buckets[publisher.prefix] = bucket_of(rate, 100.0)
        wait = bucket.take(count)
    if wait:
        raise too_many("published events", wait)


def forget() -> None:
    """Forget what this process knows of keys and their use."""
    with _lock:
        _known.clear()
        _buckets.clear()


def _looked_up(tenant: str, text: str) -> Publisher:
    row = keys.find(text)
    if row is None or row.tenant != tenant:
        with _lock:
            _known.pop((tenant, text), None)
        raise _by_bearer(refusal("bad_api_key", UNKNOWN))
    _note_use(row)
    publisher = Publisher(row.prefix, *map(patterns.split, (row.groups, row.types, row.recipients)))
    with _lock:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[tenant, text] = publisher, time.monotonic() + FRESH
    return publisher


def _note_use(row: ApiKey) -> None:
    if row.last_used is None or timezone.now() - row.last_used > USE_NOTED:
        ApiKey.objects.using(get_settings().DATABASE).filter(pk=row.pk).update(last_used=Now())


def _by_bearer(error: WireError) -> WireError:
    error.headers = {"WWW-Authenticate": "Bearer"}  # RFC 9110, section 11.6.1
    return error
