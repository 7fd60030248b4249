"""How processes tell each other that something was sent: a hint that makes the tail fast, never more."""

from __future__ import annotations

from livepush.hints.channels import (
    announce,
    configured,
    flush,
    listen,
)

__all__ = [
    "announce",
    "configured",
    "flush",
    "listen",
]
