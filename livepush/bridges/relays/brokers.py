"""Receives messages through FastStream. ``queues`` has the brokers without offsets.

Redis Streams and NATS JetStream keep no offset of ours, and are told of no message that it was taken: livepush's
database alone knows.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from faststream import AckPolicy

from livepush.bridges.relays import queues
from livepush.bridges.relays.config import OFFSETS, Relay
from livepush.bridges.relays.mapping import Message, decoded
from livepush.bridges.relays.raw import as_it_is, quiet, raw, source
from livepush.bridges.relays.sources import BATCH, Fail, Handle, Source, Taker, nothing
from livepush.bridges.relays.taking import NOTHING, begin_at, offset_of, order

PAUSE = 0.1
"""How long (seconds) a batch is collected."""
LOOK = 10.0
"""How often (seconds) a relay looks whether the stream is still the same one, and whether NATS still sends it."""
UNASKED = 600.0
"""How long (seconds) NATS keeps a relay's consumer that asks for nothing, as while the database is away."""
SHRUNK = (
    "The stream {stream!r} ends at {last}, before the relay's offset {offset}: it was made anew, or restored. "
    "Run livepush_relay {name} --reset to begin with its first message."
)
UNKNOWN_END = (
    "The relay {name!r} is to begin with the next new message, and its Redis user may not ask where the stream ends: "
    "give the user XINFO, or set START to 'first'."
)
Look = Callable[[], Awaitable[None]]
"""Raises an error if a broker has lost the relay's place, or a message on its way."""


class Gap(Exception):
    """A message was lost on its way, so the relay has to begin again from its offset."""


async def receiving(relay: Relay, taker: Taker) -> Source:
    """Return a source that begins after the relay's offset.

    Raises ImproperlyConfigured: the client of such a broker is not installed, or the relay has to be reset.
    """
    try:
        if relay.kind in OFFSETS:
            return _source(relay, taker, await _offset(relay, taker))
        return queues.receiving(relay, taker.take, taker.fail)
    except ImportError as error:
        what = f'The relay {relay.name!r} needs a client: pip install "faststream[{relay.kind}]" ({error}).'
        raise ImproperlyConfigured(what) from error


def _source(relay: Relay, taker: Taker, offset: str) -> Source:
    """Return a source that begins after an offset, and looks once in a while whether the stream was made anew."""
    seen, look_at = offset, time.monotonic() + LOOK

    async def handle(messages: Sequence[Message]) -> bool:
        nonlocal seen
        seen = messages[-1].offset
        return await taker.take(messages)

    async def check() -> None:
        nonlocal look_at
        if time.monotonic() >= look_at:
            before = seen  # the stream may go on while it is asked
            check_end(relay, before, await _last(relay, await broker.connect()))
            await look()
            look_at = time.monotonic() + LOOK

    broker, look = {"redis": _redis, "nats": _nats}[relay.kind](relay, offset, handle, taker.fail)
    return source(broker, broker.stop, check)


async def _offset(relay: Relay, taker: Taker) -> str:
    """Return where to begin, and note it if that is the end that a stream has now.

    Raises ImproperlyConfigured: the stream was made anew, or the relay may not ask where it ends and needs to know.
    Raises the errors of the broker and of the database.
    """
    offset: str = await taker.in_thread(partial(offset_of, relay))
    if not offset and relay.start == "first":
        return offset
    async with _broker(relay) as broker:
        last = await _last(relay, await broker.connect())
    check_end(relay, offset, last)
    if not offset:
        if last is None:
            raise ImproperlyConfigured(UNKNOWN_END.format(name=relay.name))
        offset = last or "0-0"
        await taker.in_thread(partial(begin_at, relay, offset))
    return offset


def _broker(relay: Relay) -> Any:
    """Return what connects to a relay's broker."""
    if relay.kind == "nats":
        from faststream.nats import NatsBroker

        return NatsBroker(relay.url, logger=quiet)
    from faststream.redis import RedisBroker

    return RedisBroker(relay.url, logger=quiet)


async def _last(relay: Relay, client: Any) -> str | None:
    """Return the last offset that a stream has given; ``NOTHING`` if Redis has no such stream.

    Return ``None`` if the Redis user may not ask for it. Raises the broker's errors.
    """
    if relay.kind == "nats":
        return str((await client.jetstream().stream_info(relay.stream)).state.last_seq)
    from redis.exceptions import NoPermissionError, ResponseError

    try:
        return str((await client.xinfo_stream(relay.stream))["last-generated-id"].decode())
    except NoPermissionError:
        return None
    except ResponseError as error:
        if "no such key" in str(error):
            return NOTHING
        raise


def check_end(relay: Relay, offset: str, last: str | None) -> None:
    """Refuse a stream that ends before the offset: its offsets began anew. Raises ImproperlyConfigured."""
    if last and order(last) < order(offset):
        raise ImproperlyConfigured(SHRUNK.format(stream=relay.stream, last=last, offset=offset, name=relay.name))


# Redis Streams


def _redis(relay: Relay, offset: str, handle: Handle, fail: Fail) -> tuple[Any, Look]:
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(relay.url, apply_types=False, logger=quiet)
    stream = StreamSub(
        relay.stream, batch=True, max_records=BATCH, last_id=offset or "0-0", polling_interval=round(1000 * PAUSE)
    )

    @broker.subscriber(stream=stream, parser=as_it_is, decoder=raw)
    async def receive(batch: Any) -> None:
        entries = zip(batch["message_ids"], batch["data"], strict=True)
        await handle([_entry(id.decode(), fields, relay.stream) for id, fields in entries])

    return broker, nothing


def _entry(id: str, fields: dict[bytes, bytes], stream: str) -> Message:
    from faststream.redis.parser.binary import BinaryMessageFormatV1

    if b"__data__" in fields:  # FastStream itself has sent it
        content, headers = BinaryMessageFormatV1.parse(fields[b"__data__"])
        known = headers if isinstance(headers, dict) else {}  # anybody can write something that looks like it
        return Message(id, decoded(content), stream, {str(name): str(value) for name, value in known.items()})
    named = {name.decode(errors="replace"): value for name, value in fields.items()}
    if len(named) == 1:
        return Message(id, decoded(*named.values()), stream)
    return Message(id, {name: value.decode(errors="replace") for name, value in named.items()}, stream)


# NATS JetStream


def _nats(relay: Relay, offset: str, handle: Handle, fail: Fail) -> tuple[Any, Look]:
    from faststream.nats import JStream, NatsBroker, PullSub
    from nats.js.api import AckPolicy as NatsAckPolicy
    from nats.js.api import ConsumerConfig, DeliverPolicy

    broker = NatsBroker(relay.url, apply_types=False, logger=quiet)
    config = ConsumerConfig(ack_policy=NatsAckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, inactive_threshold=UNASKED)
    if offset:
        config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, int(offset) + 1
    delivered = 0
    is_taking = False
    known = 0, 0  # how many messages had come, and how many NATS had sent, at the last look

    @broker.subscriber(
        relay.subject, stream=JStream(relay.stream, declare=False), config=config, parser=as_it_is, decoder=raw,
        pull_sub=PullSub(batch_size=BATCH, batch=True, timeout=PAUSE), ack_policy=AckPolicy.MANUAL,
    )  # fmt: skip
    async def receive(batch: list[Any]) -> None:
        nonlocal delivered, is_taking
        for each in batch:
            delivered += 1
            if each.metadata.sequence.consumer != delivered:
                fail(Gap(f"The message {delivered} of {relay.stream!r} was lost on its way."))
                return
        is_taking = True
        try:
            await handle([_message(each) for each in batch])
        finally:
            is_taking = False

    async def look() -> None:
        """Raise Gap if a message did not come since the last look. Raise the client's error if NATS has no consumer."""
        nonlocal known
        if is_taking:  # then the relay asks NATS for nothing
            return
        before = delivered
        subscriber: Any = broker.subscribers[0]
        with suppress(TimeoutError):  # as when its user may not ask for that
            sent = (await subscriber.subscription.consumer_info()).delivered.consumer_seq
            if known[0] == before < known[1]:
                raise Gap(f"The message {before + 1} of {relay.stream!r} was lost on its way.")
            known = before, sent

    return broker, look


def _message(raw: Any) -> Message:
    place = raw.metadata
    headers = dict(raw.headers or {})
    return Message(str(place.sequence.stream), decoded(raw.data), raw.subject, headers, waiting=place.num_pending)
