"""The probe's application in a process whose clock may be wrong (``LIVEPUSH_TEST_CLOCK``), and whose settles may
have a shorter time limit (``LIVEPUSH_TEST_TIME_LIMIT_MS``)."""

from __future__ import annotations

import os

from tests.servers import clock
from tests.servers.probe import application

__all__ = ["application", "clock"]

from livepush.log.dialects import base

base.TIME_LIMIT_MS = int(os.environ.get("LIVEPUSH_TEST_TIME_LIMIT_MS", base.TIME_LIMIT_MS))
