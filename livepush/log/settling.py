"""Settling: committed rows get their positions, under one lock that nobody waits for.

A row has no position while its transaction is open. If a process finds the lock taken, it leaves the rows to the
holder, which looks for waiting rows again after it has released the lock.
"""

from __future__ import annotations

from collections.abc import Iterator

from livepush.log import epochs
from livepush.log.dialects import dialect
from livepush.wire import Batch

PASSES = 20
"""The largest number of batches that one call settles."""


def settle(using: str) -> Iterator[Batch]:
    """Give committed events their positions; yield each batch after its commit.

    Stops when no event waits, when another process is settling (it looks again later), or after ``PASSES`` batches:
    the next caller settles the rest. Do not call it within a transaction, except a ``TestCase``'s. Raises the
    database's errors; the events wait on then.
    """
    for _ in range(PASSES):
        batch, must_settle = dialect(using).settle_batch()
        if batch is None and epochs.make_head(using):
            batch, must_settle = dialect(using).settle_batch()
        if batch is not None and batch.events:
            yield batch
        if not must_settle:
            return
