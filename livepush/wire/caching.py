"""A cache with a bound in bytes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key, of at most ``max_bytes`` together. If one more does not fit, all are forgotten.

    That is simple and cheap, and it fits what comes in waves: the callers of the next wave need other values.
    """

    def __init__(self, max_bytes: int) -> None:
        self.size = 0
        """About how many bytes the values and keys take."""
        self._max_bytes = max_bytes
        self._values: dict[Hashable, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> V | None:
        """Return a value, if it is known."""
        return self._values.get(key)

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value that takes ``size`` bytes with its key, unless it is too large for the cache."""
        if size > self._max_bytes:
            return
        if self.size + size > self._max_bytes:
            self.clear()
        self._values[key] = value
        self.size += size

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self.size = 0
