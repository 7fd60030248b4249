"""Starts the run's database servers before Django reads its settings, and stops them at the end.

``LIVEPUSH_TEST_ON`` names the databases, ``postgresql,sqlite,mariadb`` by default. The first one is ``default``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys

import pytest

from tests.servers import databases

_stack = contextlib.ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    gc.disable()
    keep_bytecode()
    if databases.ENV in os.environ:
        return
    names = tuple(os.environ.get("LIVEPUSH_TEST_ON", ",".join(databases.ALL)).split(","))
    try:
        found = _stack.enter_context(databases.running(names))
    except databases.Missing as error:
        raise pytest.UsageError(str(error)) from None
    os.environ[databases.ENV] = json.dumps(found)


def pytest_collection_finish() -> None:
    """Have the garbage collector look at what tests make, and never again at the thousands of tests."""
    gc.freeze()
    gc.enable()


def keep_bytecode() -> None:
    """Let the hundreds of processes that tests start load Django from its bytecode, whatever the environment says:
    to compile it again each time takes three times as long as all else that a process does as it starts."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_unconfigure() -> None:
    _stack.close()
