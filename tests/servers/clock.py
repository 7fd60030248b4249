"""Importing this sets the process's clock wrong, by the seconds in ``LIVEPUSH_TEST_CLOCK``."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta

from django.utils import timezone

OFFSET = float(os.environ.get("LIVEPUSH_TEST_CLOCK", "0"))
_time, _now = time.time, timezone.now


def wrong_time() -> float:
    return _time() + OFFSET


def wrong_now() -> datetime:
    return _now() + timedelta(seconds=OFFSET)


if OFFSET:
    time.time = wrong_time
    timezone.now = wrong_now
