"""A process that dies between commit and settle: ``python -m tests.servers.dying GROUP TYPE``."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import os
import signal
import sys

import django

django.setup()

import livepush
from livepush import log


def die(*args: object, **more: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


log.settle = die
livepush.send(sys.argv[1], sys.argv[2], "from a process that died")
