"""How processes tell each other that something was sent: a hint that makes the tail fast, never more.

``choosing`` says which hint the site uses. For the Channels layer, ``sender`` announces, ``listener`` hears what other
processes announce, and ``layer`` holds what both need to know of it. For PostgreSQL's NOTIFY, ``payloads`` says what
settle sends, ``notify`` sends what is ephemeral and hears the others, by a ``link`` on a ``session`` of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from livepush.hints import listener, notify, sender
from livepush.hints.choosing import Hint, chosen
from livepush.hints.layer import configured, end
from livepush.hints.payloads import SettledNotices
from livepush.wire import Batch, Position

__all__ = [
    "Hint",
    "SettledNotices",
    "announce",
    "chosen",
    "configured",
    "end",
    "end_all",
    "flush",
    "listen",
]

end_all = notify.end_all
logger = logging.getLogger("livepush")


def announce(batch: Batch) -> None:
    """Tell the other processes of a batch by the site's hint; raise nothing."""
    try:
        hint = chosen()
        if hint is Hint.CHANNELS:
            sender.announce(batch)
        elif hint is Hint.NOTIFY:
            notify.announce(batch)
    except Exception:
        logger.warning("Could not tell other processes what was sent.", exc_info=True)


def flush(timeout: float = sender.FLUSH_TIMEOUT) -> bool:
    """Wait until nothing that was announced waits to be sent; return whether that came within ``timeout`` seconds."""
    return sender.flush(timeout) and notify.flush(timeout)


async def listen(
    receive: Callable[[Batch], None], healthy: Callable[[bool], None], look: Callable[[Position], None]
) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``look`` is called with a position up to which the log is to be read, if an announcement could not carry the events.
    ``healthy`` is called with False when the hint fails, again and again until it works, and then with True.
    """
    if chosen() is Hint.NOTIFY:
        await notify.listen(receive, healthy, look)
    else:
        await listener.listen(receive, healthy)
