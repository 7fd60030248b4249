"""The demo's settings, with a database of a test's own."""

from __future__ import annotations

import os

from demo_project.settings import *  # noqa: F403
from demo_project.settings import DATABASES, SECONDS_BETWEEN_MOVES

SECONDS_BETWEEN_MOVES = float(os.environ.get("DEMO_SECONDS_BETWEEN_MOVES", SECONDS_BETWEEN_MOVES))
DATABASES["default"]["NAME"] = os.environ["DEMO_DATABASE"]
