"""The worker's part in the scenes: it makes readings and sends letters until it ends."""

from __future__ import annotations

import threading
import time

from django.db import OperationalError, connection

from demo_project.showcase import letters, metrics

LOOK = 0.25
EVERY = 1.0


def work(ended: threading.Event) -> None:
    """Take a reading each second and send what is due, until the worker ends."""
    next_reading = time.monotonic()
    try:
        while not ended.wait(LOOK):
            next_reading = turn(next_reading)
    finally:
        connection.close()


def turn(next_reading: float) -> float:
    """Do what is due; return when the next reading is. A database that is busy is no reason to stop."""
    try:
        letters.send_due()
        if time.monotonic() < next_reading:
            return next_reading
        metrics.take_reading()
    except OperationalError:
        pass
    return max(next_reading + EVERY, time.monotonic())
