"""API keys: made, rotated, revoked, and found again.

A key is ``lpk_<prefix>_<secret>``. The prefix finds its row. The secret has 256 random bits, so that a plain SHA-256
protects it: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from livepush import tenants
from livepush.bridges import patterns
from livepush.bridges.publishing.models import ApiKey
from livepush.conf import get_settings
from livepush.exceptions import InvalidApiKey
from livepush.publish import has_async_twin, on_good_connections

FORM = re.compile(r"lpk_([a-z0-9]{10})_([A-Za-z0-9_-]{43})", re.ASCII)
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
GRACE = timedelta(hours=1)
"""How long the old secret works after a rotation, by default."""


@has_async_twin
def create_key(
    name: str,
    *,
    groups: str | Iterable[str] = (),
    types: str | Iterable[str] = ("*",),
    recipients: str | Iterable[str] = (),
    expires: datetime | timedelta | None = None,
) -> str:
    """Make an API key and return it. This is the only time that it can be seen.

    ``groups`` and ``types`` are patterns of what the key may publish, such as ``order:*``. ``recipients`` are patterns
    of whom it may notify: ``user:*``, a group whose members are meant, or ``everyone``. A single pattern may be a text.
    ``expires`` is a time, or how long the key works. In a project with tenants it is the active tenant's key.

    Raises InvalidApiKey: no name, a malformed pattern, nothing that it may do, or an end that is past or no time.
    Raises InvalidGroup: there are tenants, and none is active.
    """
    if not isinstance(expires, datetime | timedelta | None):
        raise InvalidApiKey(f"The end {expires!r} is no time: expected a datetime, or for how long a timedelta.")
    row = ApiKey(
        name=name,
        groups="\n".join(patterns.listed(groups)),
        types="\n".join(patterns.listed(types)),
        recipients="\n".join(patterns.listed(recipients)),
        expires=timezone.now() + expires if isinstance(expires, timedelta) else _as_stored(expires),
    )
    return issue(row)


@has_async_twin
def rotate_key(prefix: str, grace: timedelta = GRACE) -> str:
    """Give a key a new secret and return the new key. The old one works for ``grace`` longer.

    If the key itself ends earlier, both stop working then.

    Raises InvalidApiKey: the active tenant has no such key, it was revoked or has ended, or ``grace`` is negative.
    """
    if not isinstance(grace, timedelta) or grace < timedelta():
        raise InvalidApiKey(f"The old key can't work for {grace!r} longer: expected a timedelta of 0 or more.")
    row = _row(prefix)
    if row.revoked is not None:
        raise InvalidApiKey(f"The key {prefix!r} was revoked, so it can't be rotated: create another one.")
    if row.expires is not None and row.expires <= timezone.now():
        raise InvalidApiKey(f"The key {prefix!r} has ended, so it can't be rotated: create another one.")
    secret = secrets.token_urlsafe(32)
    changed = {"digest": digest(secret), "old_digest": row.digest, "old_ends": timezone.now() + grace}
    ApiKey.objects.using(get_settings().DATABASE).filter(pk=row.pk).update(**changed)
    return f"lpk_{row.prefix}_{secret}"


@has_async_twin
def revoke_key(prefix: str) -> None:
    """End a key for good, within a second in every process.

    Raises InvalidApiKey: the active tenant has no such key.
    """
    rows = ApiKey.objects.using(get_settings().DATABASE).filter(pk=_row(prefix).pk, revoked=None)
    rows.update(revoked=timezone.now())


async def acreate_key(
    name: str,
    *,
    groups: str | Iterable[str] = (),
    types: str | Iterable[str] = ("*",),
    recipients: str | Iterable[str] = (),
    expires: datetime | timedelta | None = None,
) -> str:
    """Make an API key from async code; see ``create_key``."""
    more = {"groups": groups, "types": types, "recipients": recipients, "expires": expires}
    return await sync_to_async(on_good_connections)(create_key, name, **more)


async def arotate_key(prefix: str, grace: timedelta = GRACE) -> str:
    """Rotate a key from async code; see ``rotate_key``."""
    return await sync_to_async(on_good_connections)(rotate_key, prefix, grace)


async def arevoke_key(prefix: str) -> None:
    """Revoke a key from async code; see ``revoke_key``."""
    await sync_to_async(on_good_connections)(revoke_key, prefix)


def issue(row: ApiKey) -> str:
    """Check and save a new row; return its key. Raises what ``create_key`` raises."""
    check(row)
    secret = secrets.token_urlsafe(32)
    row.prefix, row.digest = "".join(secrets.choice(ALPHABET) for _ in range(10)), digest(secret)
    row.tenant = tenants.current() or ""
    row.save(using=get_settings().DATABASE, force_insert=True)
    return f"lpk_{row.prefix}_{secret}"


def check(row: ApiKey) -> None:
    """Check what a row lets its key do, and bring its patterns into order. Raises InvalidApiKey."""
    if not row.name.strip() or len(row.name) > 100:
        raise InvalidApiKey(f"{row.name!r} is no name of a key: expected 1 to 100 characters that say who uses it.")
    for field in ("groups", "types", "recipients"):
        given = patterns.split(getattr(row, field))
        problem = patterns.problem(given)
        if problem is not None:
            raise InvalidApiKey(f"{problem}.")
        setattr(row, field, "\n".join(given))
    if not (row.groups and row.types) and not row.recipients:
        raise InvalidApiKey("The key could do nothing: give patterns of groups and types, or of recipients.")
    if row.expires is not None and row.expires <= timezone.now():
        raise InvalidApiKey(f"The key would end at {row.expires}, which is past: expected a later time, or none.")


def _as_stored(time: datetime | None) -> datetime | None:
    """Return a time as the project stores times: with a time zone, or with ``USE_TZ = False`` without one."""
    if time is None or timezone.is_aware(time) == settings.USE_TZ:
        return time
    return timezone.make_aware(time) if settings.USE_TZ else timezone.make_naive(time)


def own_keys() -> Q:
    """Return a condition for the active tenant's keys. Raises InvalidGroup: there are tenants, and none is active."""
    return Q(tenant=tenants.current() or "")


def digest(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def find(text: str) -> ApiKey | None:
    """Return the row of a key that works now; ``None`` if there is none. Runs one query, none if it is malformed."""
    form = FORM.fullmatch(text)
    if form is None:
        return None
    row = ApiKey.objects.using(get_settings().DATABASE).filter(prefix=form[1]).first()
    return row if row is not None and _works(row, digest(form[2])) else None


def _works(row: ApiKey, shown: str) -> bool:
    now = timezone.now()
    if row.revoked is not None or (row.expires is not None and row.expires <= now):
        return False
    in_grace = row.old_ends is not None and row.old_ends > now
    return constant_time_compare(shown, row.digest) or (in_grace and constant_time_compare(shown, row.old_digest))


def _row(prefix: str) -> ApiKey:
    row = ApiKey.objects.using(get_settings().DATABASE).filter(own_keys(), prefix=prefix).first()
    if row is None:
        raise InvalidApiKey(f"There is no key {prefix!r}: expected the prefix of one, as livepush_key list shows it.")
    return row
