"""Times as people read them."""

from __future__ import annotations


def milliseconds(seconds: float) -> str:
    """Return a time as people read it, e.g. ``0.4 ms``."""
    return f"{seconds * 1000:.3g} ms"


def duration(seconds: float) -> str:
    """Return a span as people read it, e.g. ``7 days``."""
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
