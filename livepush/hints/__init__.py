"""How processes tell each other that something was sent: a hint that makes the tail fast, never more.

``sender`` announces through the Channels layer, ``listener`` hears what other processes announce, and ``layer`` holds
what both need to know of the layer.
"""

from __future__ import annotations

from livepush.hints.layer import configured, end
from livepush.hints.listener import listen
from livepush.hints.sender import announce, flush

__all__ = [
    "announce",
    "configured",
    "end",
    "flush",
    "listen",
]
