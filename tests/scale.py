"""How large tests run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

FULL = os.environ.get("LIVEPUSH_TEST_SCALE") == "full"
"""Whether scenarios run at full size, for hours (``make reliability``)."""
EXAMPLES = int(os.environ.get("LIVEPUSH_TEST_EXAMPLES", "1"))
"""How many times as many random examples are tried as ``make test`` tries; ``make test-all`` tries four times."""


def some(cases: Sequence[Any], count: int = 1) -> list[Any]:
    """Return the parameters of a test whose first cases are enough for ``make test``; the others are long."""
    later = (each if isinstance(each, tuple) else (each,) for each in cases[count:])
    return [*cases[:count], *(pytest.param(*each, marks=pytest.mark.long) for each in later)]
