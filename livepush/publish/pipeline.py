"""The one pipeline after a commit: settle, announce, then call what waits for settled batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from livepush import hints, log, tallies
from livepush.hub.registry import hubs
from livepush.log import Appended
from livepush.publish.autocommit import beside_transactions
from livepush.wire import Batch

logger = logging.getLogger("livepush")

OnSettled = Callable[[str, Batch], None]
on_settled: list[OnSettled] = [log.make_groups]
"""Called for each batch that this process has settled and announced, with the database's alias and the batch."""
log.register_notices(hints.SettledNotices())


@beside_transactions
def settle(using: str) -> None:
    """Give committed events their positions, and pass them on. Raises the database's errors."""
    begun = time.perf_counter()
    for batch in log.settle(using):
        tallies.settles.note(time.perf_counter() - begun)
        pass_on(using, batch)
        begun = time.perf_counter()


def pass_on(using: str, batch: Batch) -> None:
    """Announce a settled batch, then call ``on_settled``. If one raises, that is logged and the others go on."""
    announce(batch)
    for follow in on_settled:
        try:
            follow(using, batch)
        except Exception:
            name = f"{follow.__module__}.{follow.__qualname__}"
            logger.exception("%s failed for %r; it goes on from the log later.", name, using)


def announce(batch: Batch) -> None:
    """Tell this process's hubs, then the other processes. By NOTIFY, settle has told them of what is durable."""
    here = list(hubs)
    for hub in here:
        hub.receive_soon(batch)
    hints.announce(batch, bool(here))


def deliver(using: str, appended: Appended | None = None) -> None:
    """Pass on the committed events. An error is logged, and the events go out with the next settle or sweep.

    ``appended`` is the outcome of the append, for a send outside of any transaction.
    """
    try:
        if appended is not None and appended.batch is not None:
            pass_on(using, appended.batch)
        if appended is None or appended.must_settle:
            settle(using)
    except Exception:
        logger.exception("Could not settle the log of %r; its events go out with the next send or sweep.", using)
