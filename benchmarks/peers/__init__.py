"""What the fan-out benchmark measures livepush beside, each written as its own documentation recommends.

The servers take their settings from the environment: ``BENCH_PORT``, where they listen on 127.0.0.1 (uvicorn's
command line says it for the ASGI ones); ``BENCH_REDIS``, the broker's address; and ``BENCH_FEED``. That one is for
peers that have no broker: a port where a publisher connects and writes an event a line, which goes to every client
as it is.
"""

from __future__ import annotations

import os


def redis_address() -> str:
    """Return the broker's address as redis-py takes it: ``redis://…`` or ``unix://…``."""
    return os.environ["BENCH_REDIS"].replace("valkey+unix://", "unix://").replace("valkey://", "redis://")
