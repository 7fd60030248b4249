"""Sends several events, all of them or nothing, and waits for their positions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition
from typing import NamedTuple

from django.db import Error, transaction
from django.db.models import Model

from livepush import log, publish
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.wire import Batch, Position

logger = logging.getLogger("livepush")

PATIENCE = 5.0
"""How long (seconds) a caller waits for positions at most; never so long that livepush takes its thread for stuck."""
LONGEST_PAUSE = 0.05
Positions = list[str | None]
"""The position of each event; ``None`` for one that is ephemeral or has been deleted."""


class Parcel(NamedTuple):
    """An event or notification to be sent."""

    send: Callable[[], log.Appended | None]
    key: str | None
    """The key under which the log has it; ``None`` if it is ephemeral."""
    groups: tuple[str, ...]
    """Its groups as the log has them."""


def carry_out(parcels: Sequence[Parcel], using: str, receipt: Model | None) -> Positions | None:
    """Send everything in one transaction, in which a receipt is written too; return the positions if they are known.

    Raises IntegrityError: there is such a receipt already. Raises the database's errors.
    """
    if len(parcels) == 1 and receipt is None:
        appended = parcels[0].send()
        if appended is not None and appended.batch is not None:
            return [str(Position(appended.batch.epoch, appended.batch.events[0].number or 0))]
        return None
    with transaction.atomic(using=using):
        if receipt is not None:
            type(receipt)._base_manager.using(using).bulk_create([receipt])  # fires no signals: see receiving/once.py
        for parcel in parcels:
            parcel.send()
    return None


def wait(parcels: Sequence[Parcel], using: str) -> Positions | None:
    """Return the positions as soon as all events are settled; ``None`` if that takes long.

    A failure is logged and not raised: the events are committed by now.
    """
    end, pause = time.monotonic() + min(PATIENCE, get_settings().DATABASE_TIMEOUT / 2), 0.005
    try:
        while (found := _positions(parcels, using)) is None:
            if time.monotonic() > end or publish.in_real_transaction(using):
                return None
            with _settled:
                woken = _settled.wait(pause)
            if not woken:
                pause = min(2 * pause, LONGEST_PAUSE)
                publish.deliver(using)
    except Error:
        logger.warning("Events were published, but their positions could not be read.", exc_info=True)
        return None
    return found


def _positions(parcels: Sequence[Parcel], using: str) -> Positions | None:
    """Return the positions; ``None`` if an event has none yet."""
    keys = {parcel.key for parcel in parcels if parcel.key is not None}
    groups = {group for parcel in parcels for group in parcel.groups}
    if not keys:
        return [None] * len(parcels)
    known = log.positions_of(using, keys, groups)
    if known is None:
        return None
    epoch, found = known
    numbers = [max(found.get((parcel.key or "", group), 0) for group in parcel.groups) for parcel in parcels]
    return [str(Position(epoch, number)) if number else None for number in numbers]


def _wake(using: str, batch: Batch) -> None:
    """Have those look for their positions who wait in this process."""
    with _settled:
        _settled.notify_all()


_settled = renewed(globals(), "_settled", Condition)
publish.on_settled.append(_wake)
