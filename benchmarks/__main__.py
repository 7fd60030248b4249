"""Run the benchmarks and print their tables in Markdown."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from pathlib import Path

from tests.servers import databases


def main() -> None:
    """Start the servers, measure, print."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(databases.running(("postgresql",)))
        os.environ[databases.ENV] = json.dumps(found)
        from benchmarks import latency
        from tests.servers.fresh import Databases

        made = Databases(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(made.close)
        database = stack.enter_context(made.fresh("postgresql"))
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n")
        print("\n".join(latency.main(database)))


if __name__ == "__main__":
    main()
