"""Takes messages: their events and the offset of the last one, or their keys, are written in one transaction.

So a message takes effect exactly once, whatever is killed between any two steps, and with several processes that run
the same relay: whoever comes later finds the offset moved, and leaves out what was taken.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

from django.db import Error, InterfaceError, OperationalError, transaction
from django.utils import timezone

from livepush import log, publish, tenants
from livepush.bridges.relays import partitions
from livepush.bridges.relays.config import KEYED, Relay
from livepush.bridges.relays.mapping import Message, Unmappable, events_of
from livepush.bridges.relays.models import DeadLetter, RelayOffset, RelayReceipt
from livepush.conf import get_settings
from livepush.progress import got_on

FORGOTTEN_AT_ONCE = 5_000
NOTHING = ""
"""The offset of a relay that has taken nothing yet."""
SWALLOWED = "MAP has caught an error of the database, which undid its work: put that query into transaction.atomic()."
MAX_KEPT = 4 * 1_048_576
"""The most characters of a dead letter's content; MariaDB refuses 16 MiB by default."""
TOO_LARGE = "The message is too large to be kept."


def offset_of(relay: Relay) -> str:
    """Return the offset of the last message that a relay has taken."""
    rows = RelayOffset.objects.using(get_settings().DATABASE).filter(pk=relay.name)
    return rows.values_list("offset", flat=True).first() or NOTHING


def begin_at(relay: Relay, offset: str) -> None:
    """Note where a relay begins that has taken nothing yet."""
    rows = RelayOffset.objects.using(get_settings().DATABASE)
    rows.bulk_create([RelayOffset(relay=relay.name, offset=offset)], ignore_conflicts=True)


def take(messages: Sequence[Message], relay: Relay) -> int:
    """Take those messages of a batch that were not taken yet; return how many these are. Raises the database's errors.

    A message that can't become events becomes a dead letter.
    """
    using = get_settings().DATABASE
    if relay.kind != "kafka":
        _make_row(relay)
    with tenants.active(relay.tenant), transaction.atomic(using=using):
        fresh = partitions.fresh(messages, relay) if relay.kind == "kafka" else _fresh(messages, relay)
        for message in fresh:
            _take(message, relay, using)
            got_on()
    return len(fresh)


def forget_old(relay: Relay) -> int:
    """Delete the receipts of messages that were taken longer ago than events are kept; return how many."""
    using = get_settings().DATABASE
    before = log.dialect(using).ago(get_settings().RETENTION)
    rows = RelayReceipt.objects.using(using)
    old = rows.filter(relay=relay.name, taken__lt=before).values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE]
    return rows.filter(pk__in=list(old)).delete()[0]


def retry(letter: DeadLetter, relay: Relay) -> None:
    """Make events of a dead letter after all, and delete it. Raises Unmappable: it still can't become any."""
    using = get_settings().DATABASE
    found = json.loads(letter.content)
    if "body" not in found:
        raise Unmappable(TOO_LARGE)
    message = Message(letter.offset, found["body"], found["subject"], found["headers"], found.get("key", ""))
    with tenants.active(relay.tenant), transaction.atomic(using=using):
        if DeadLetter.objects.using(using).filter(pk=letter.pk).delete()[0]:
            _send(message, relay, using)


def _make_row(relay: Relay) -> None:
    """Make the row that is locked while a batch is taken."""
    rows = RelayOffset.objects.using(get_settings().DATABASE)
    if not rows.filter(pk=relay.name).exists():
        rows.bulk_create([RelayOffset(relay=relay.name, offset=NOTHING)], ignore_conflicts=True)


def _fresh(messages: Sequence[Message], relay: Relay) -> list[Message]:
    """Return the messages that were not taken yet, and note them as taken, in the caller's transaction."""
    rows = RelayOffset.objects.using(get_settings().DATABASE).filter(pk=relay.name)
    rows.update(taken=timezone.now())  # locks the row, on every database
    if relay.kind in KEYED:
        return _without_receipt(messages, relay)
    found = _after_offset(messages, relay)
    if found:
        rows.update(offset=found[-1].offset, waiting=found[-1].waiting)
    return found


def _after_offset(messages: Sequence[Message], relay: Relay) -> list[Message]:
    known = order(offset_of(relay))
    return [message for message in messages if order(message.offset) > known]


def _without_receipt(messages: Sequence[Message], relay: Relay) -> list[Message]:
    """Return the messages whose keys were not taken before, and note their keys. One without a key is always taken."""
    using = get_settings().DATABASE
    rows, now = RelayReceipt.objects.using(using), log.dialect(using).now()
    digests = [_digest(message.offset) for message in messages]
    known = set(rows.filter(relay=relay.name, key__in=set(digests)).values_list("key", flat=True))
    fresh, noted = [], []
    for message, digest in zip(messages, digests, strict=True):
        if digest in known:
            continue
        fresh.append(message)
        if digest:
            known.add(digest)
            noted.append(RelayReceipt(relay=relay.name, key=digest, taken=now))
    rows.bulk_create(noted)
    return fresh


def order(offset: str) -> tuple[int, ...]:
    """Return an offset so that it can be compared: ``1700000000000-3`` comes after ``1700000000000-2``."""
    return tuple(map(int, offset.split("-"))) if offset else (-1,)


def _take(message: Message, relay: Relay, using: str) -> None:
    try:
        _send(message, relay, using)
    except Unmappable as error:
        content, reason = _content_of(message), str(error)
        if len(content) > MAX_KEPT:
            content, reason = json.dumps({"subject": message.subject}), f"{TOO_LARGE} {reason}"
        letter = DeadLetter(
            relay=relay.name,
            offset=_storable(message.offset)[:100],
            content=content,
            reason=_storable(reason)[:1000],
        )
        letter.save(using=using, force_insert=True)


def _send(message: Message, relay: Relay, using: str) -> None:
    """Send the events that a message becomes. Raises Unmappable: it can't become any. Raises the database's errors.

    A function of the project's may use the database. If it raises, what it wrote is undone.
    """
    if relay.map is None:
        for sent in events_of(message, relay):
            publish.send_checked(sent, using)
        return
    try:
        with transaction.atomic(using=using):
            sents = events_of(message, relay)
            if transaction.get_rollback(using):
                raise Unmappable(SWALLOWED)
            for sent in sents:
                publish.send_checked(sent, using)
    except (OperationalError, InterfaceError):
        raise
    except Error as error:  # PostgreSQL refuses everything after an error
        raise Unmappable(f"{SWALLOWED} {error}") from error


def _content_of(message: Message) -> str:
    """Return what a dead letter keeps. What can't be JSON, since it is nested too deeply, is left out of it."""
    content = {"body": message.body, "subject": message.subject, "headers": dict(message.headers)}
    content |= {"key": message.key} if message.key else {}
    try:
        return json.dumps(content)
    except RecursionError:
        return json.dumps({**content, "body": None})


def _digest(key: str) -> str:
    return sha256(key.encode(errors="surrogatepass")).hexdigest() if key else ""


def _storable(text: str) -> str:
    """Return a text with a mark in place of what some databases don't store."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")
