"""What it costs to sign announcements, and to check them, beside messages that nobody signs::

    python -m benchmarks.signing

Both are packed and unpacked with msgpack, as the Redis layers do. The figures are the best of some repetitions.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from typing import Any

import msgpack

from livepush.wire import Announcement, Batch, Event, parse_announcement, seal, unseal

KEY = b"k" * 32
SIZES = ((1, 200), (1, 2_000), (1, 60_000), (100, 200), (500, 200))
"""Events in a message, and bytes of data in each."""
REPEAT = 7
ENOUGH = 0.05
"""How long (seconds) one repetition takes at least."""


def batch_of(events: int, size: int) -> Batch:
    """Return a batch."""
    data = json.dumps({"text": "x" * (size - 30), "number": 12345678}, separators=(",", ":"))
    time = "2026-01-31T12:00:00.000000Z"
    return Batch(
        "0a1b2c3d", tuple(Event(n, ("order:12345",), "order.updated", data, time) for n in range(1, events + 1))
    )


def signed(batch: Batch) -> bytes:
    """Return a signed message as it goes to Redis."""
    return bytes(msgpack.packb(seal(Announcement("0123456789abcdef", 1, 1.5, batch), KEY)))


def checked(message: bytes) -> Batch | None:
    """Return the batch in a signed message, with each of its fields checked."""
    return parse_announcement(unseal(msgpack.unpackb(message), [KEY])).batch


def unsigned(batch: Batch) -> bytes:
    """Return a message without a signature."""
    return bytes(msgpack.packb({"epoch": batch.epoch, "events": [list(event) for event in batch.events]}))


def unchecked(message: bytes) -> Batch:
    """Return the batch in a message without a signature, whatever its fields are."""
    found = msgpack.unpackb(message)
    events = (Event(number, tuple(groups), *rest) for number, groups, *rest in found["events"])
    return Batch(found["epoch"], tuple(events))


def microseconds(work: Callable[..., Any], *args: Any) -> float:
    """Return how long one call takes."""
    timer = timeit.Timer(lambda: work(*args))
    number, took = timer.autorange()
    number = max(1, round(number * ENOUGH / took))
    return min(timer.repeat(REPEAT, number)) / number * 1e6


def main() -> None:
    """Print the table."""
    print(
        "| events | bytes each | made: unsigned µs | signed µs "
        "| read: unchecked µs | checked µs | more for each event µs |"
    )
    print("|---|---|---|---|---|---|---|")
    for events, size in SIZES:
        batch = batch_of(events, size)
        assert checked(signed(batch)) == unchecked(unsigned(batch)) == batch
        times = [
            microseconds(unsigned, batch),
            microseconds(signed, batch),
            microseconds(unchecked, unsigned(batch)),
            microseconds(checked, signed(batch)),
        ]
        more = (times[1] + times[3] - times[0] - times[2]) / events
        print(f"| {events} | {size:,} | {' | '.join(f'{each:,.1f}' for each in (*times, more))} |")


if __name__ == "__main__":
    main()
