"""How processes tell each other that something was sent: a hint that makes the tail fast, never more.

``choosing`` says which hint the site uses. For the Channels layer, ``sender`` announces, ``listener`` hears what other
processes announce, and ``layer`` holds what both need to know of it. For PostgreSQL's NOTIFY, ``payloads`` says what
settle sends, ``notify`` sends what is ephemeral and hears the others, by a ``link`` on a ``session`` of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from livepush.hints import listener, notify, payloads, sender
from livepush.hints.choosing import Hint, chosen
from livepush.hints.layer import configured, prepare
from livepush.hints.notify import alias, end_all
from livepush.hints.payloads import SettledNotices
from livepush.hints.session import Session, session
from livepush.notes import note_once
from livepush.wire import Batch, Position

__all__ = [
    "Hint",
    "Session",
    "SettledNotices",
    "alias",
    "announce",
    "chosen",
    "configured",
    "end_all",
    "flush",
    "left_out",
    "listen",
    "prepare",
    "session",
    "waiting_bytes",
]

logger = logging.getLogger("livepush")

UNHEARD = (
    "No hint reaches other processes and this one serves no clients, so nobody got an ephemeral event: configure a "
    "Redis layer, keep the log in PostgreSQL (without HINT = 'none'), or leave out ephemeral=True."
)


def announce(batch: Batch, is_heard_here: bool = True) -> None:
    """Tell the other processes of a batch by the site's hint; raise nothing.

    If there is no hint, and no hub of this process hears it either, the log says once that ephemeral events get lost.
    """
    try:
        hint = chosen()
        if hint is Hint.CHANNELS:
            sender.announce(batch)
        elif hint is Hint.NOTIFY:
            notify.announce(batch)
        elif not is_heard_here and batch.events[0].number is None:
            note_once(UNHEARD, level=logging.WARNING)
    except Exception:
        logger.warning("Could not tell other processes what was sent.", exc_info=True)


def flush(timeout: float = sender.FLUSH_TIMEOUT) -> bool:
    """Wait until other processes were told of all that this one has sent, if they are told; see ``LIVEPUSH["HINT"]``.

    Returns whether that came within ``timeout`` seconds. Call it where a process is about to end by ``os._exit``.
    """
    return sender.flush(timeout) and notify.flush(timeout)


def left_out() -> int:
    """Return how many ephemeral events of this process were too large for NOTIFY."""
    return payloads.too_large


def waiting_bytes() -> int:
    """Return about how many bytes wait to be sent through the layer."""
    return sender.waiting_bytes()


async def listen(
    receive: Callable[[Batch], None], healthy: Callable[[bool], None], hear_of: Callable[[Position, bool], None]
) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``hear_of`` is called with each position that the database itself announces, and whether its events came along.
    ``healthy`` is called with False when the hint fails, again and again until it works, and then with True.
    """
    if chosen() is Hint.NOTIFY:
        await notify.listen(receive, healthy, hear_of)
    else:
        await listener.listen(receive, healthy)
