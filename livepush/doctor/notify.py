"""Checks PostgreSQL's NOTIFY: sends notifications by one session and hears them by another."""

from __future__ import annotations

import secrets
import statistics
import time

from livepush import hints
from livepush.doctor.check import Check, describe_error
from livepush.doctor.problems import Problem
from livepush.doctor.units import milliseconds

ROUND_TRIPS = 20
"""The number of round trips that the median is taken from."""
BURST = 500
"""How many notifications a burst has."""
QUEUE = 0.5
"""A queue that is fuller than this is a warning: when it is full, every NOTIFY fails."""


def check_notify(check: Check, limit: float) -> None:
    """Check that notifications come back, one by one and in a burst, and that their queue has room."""
    check.say("NOTIFY", layer="NOTIFY")
    check.late = Problem.NOTIFY_SILENT
    try:
        with hints.session(hints.alias()) as listener, hints.session(hints.alias()) as sender:
            _measure(check, listener, sender, time.monotonic() + limit)
    except TimeoutError:
        check.find(Problem.NOTIFY_SILENT, f"nothing came within {limit:g} s")
    except Exception as error:
        check.find(Problem.NOTIFY_SILENT, describe_error(error))
    check.late = None


def _measure(check: Check, listener: hints.Session, sender: hints.Session, until: float) -> None:
    channel = f"livepush-doctor-{secrets.token_hex(8)}"  # of this run alone
    listener.listen([channel])
    trip = statistics.median(_come_back(channel, listener, sender, 1, until) for _ in range(ROUND_TRIPS))
    check.say(f"round trip {milliseconds(trip)}", round_trip_ms=round(trip * 1000, 3))
    took = _come_back(channel, listener, sender, BURST, until)
    check.say(f"a burst of {BURST} came back in {milliseconds(took)}", burst=BURST, burst_came=BURST)
    ((used,),) = sender.run("SELECT pg_notification_queue_usage()")
    check.figures["queue_used"] = used
    if used > QUEUE:
        check.find(Problem.NOTIFY_QUEUE, f"{used:.0%} of the queue in use")


def _come_back(channel: str, listener: hints.Session, sender: hints.Session, count: int, until: float) -> float:
    """Send so many notifications; return how long (seconds) they took to come back. Raises TimeoutError."""
    began = time.perf_counter()
    sender.send(channel, [f"{number} {'x' * 200}" for number in range(count)])
    while count > 0:
        count -= len(listener.wait(until - time.monotonic()))
        if count > 0 and time.monotonic() >= until:
            raise TimeoutError
    return time.perf_counter() - began
