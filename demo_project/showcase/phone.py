"""The demo's address on the local network, as a QR code: only where the demo was started for it."""

from __future__ import annotations

import socket

import segno
from django.conf import settings


def local_address() -> str:
    """Return this computer's address on its network, e.g. ``192.168.1.20``; nothing is sent to find it out.

    Raises OSError: there is no network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def address(port: str) -> str | None:
    """Return the address that a phone opens; ``None`` where the demo is for this computer only."""
    return f"http://{settings.LAN_ADDRESS}:{port}/bell/" if settings.LAN_ADDRESS else None


def qr_code(text: str) -> str:
    """Draw a text as a QR code, in SVG."""
    return str(segno.make(text, error="m").svg_inline(border=3, light="#fff", dark="#131b2c", omitsize=True))
