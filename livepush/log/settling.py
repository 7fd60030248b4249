"""Settling: committed rows get their positions, under one lock that nobody waits for.

A row has no position while its transaction is open. Whoever finds the lock taken leaves, and the holder looks again
after it has let go.
"""

from __future__ import annotations

from collections.abc import Iterator

from livepush.log import epochs
from livepush.log.dialects import dialect
from livepush.wire import Batch

PASSES = 20
"""The most passes that one caller makes."""


def settle(using: str, passes: int = PASSES) -> Iterator[Batch]:
    """Give committed events their positions; yield each batch after its commit.

    Stops where another process is at it (that one looks again), when nothing waits, or after some passes: the rest
    is the next caller's. Raises the database's own errors; what waits then waits on. Not within a transaction, but for
    a ``TestCase``'s.
    """
    for _ in range(passes):
        batch, must_settle = dialect(using).settle_batch()
        if batch is None and epochs.make_head(using):
            batch, must_settle = dialect(using).settle_batch()
        if batch is not None and batch.events:
            yield batch
        if not must_settle:
            return
