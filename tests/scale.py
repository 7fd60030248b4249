"""How large tests run."""

from __future__ import annotations

import os

FULL = os.environ.get("LIVEPUSH_TEST_SCALE") == "full"
"""Whether scenarios run at full size, for hours (``make reliability``)."""
EXAMPLES = int(os.environ.get("LIVEPUSH_TEST_EXAMPLES", "1"))
"""How many times as many random examples are tried as ``make test`` tries; ``make test-all`` tries four times."""
