"""A database of its own for each test that starts processes: copied from one that was migrated once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from tests.patience import PATIENCE
from tests.servers import warm
from tests.servers.databases import ENV

ROOT = warm.ROOT
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """One migrated, otherwise empty database."""

    kind: str
    """The name of one of the run's servers, e.g. ``postgresql``."""
    name: str
    more: str = "{}"
    """More of Django's settings for it, as JSON: another host, for example."""

    def through(self, **settings: Any) -> Database:
        """Return this database as processes see it that reach it with other settings of Django's."""
        return replace(self, more=json.dumps({**json.loads(self.more), **settings}))

    @property
    def env(self) -> dict[str, str]:
        """The environment in which a process uses this database as its default one."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "LIVEPUSH_TEST_DEFAULT": self.kind,
            "LIVEPUSH_TEST_NAME": self.name,
            "LIVEPUSH_TEST_MORE": self.more,
        }

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement past Django, on a connection of its own, and return its rows."""
        return _query(self.kind, self.name, sql)

    @contextlib.contextmanager
    def held(self, *statements: str) -> Iterator[None]:
        """Keep a transaction open, on PostgreSQL, that did something; roll it back in the end."""
        options = options_of(self.kind)
        with psycopg.connect(host=options["HOST"], user=options["USER"], dbname=self.name) as connection:
            for statement in statements:
                connection.execute(statement)
            yield
            connection.rollback()

    def unsettled(self) -> int:
        """Return how many committed events have no position."""
        return int(self.query("SELECT count(*) FROM livepush_event WHERE position IS NULL")[0][0])

    def head(self) -> int:
        """Return the last position that was given."""
        rows = self.query("SELECT position FROM livepush_loghead")
        return int(rows[0][0]) if rows else 0


class Databases:
    """Makes fresh databases; each kind is migrated once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._templates: dict[str, Database] = {}

    @contextlib.contextmanager
    def fresh(self, kind: str) -> Iterator[Database]:
        """Yield a new database on one of the run's servers, and drop it afterwards."""
        template = self._templates.get(kind) or self._migrated(kind)
        database = Database(kind, self._name(kind))
        _copy(template, database)
        try:
            yield database
        finally:
            _drop(database)

    def close(self) -> None:
        """Drop the templates."""
        for template in self._templates.values():
            _drop(template)

    def _migrated(self, kind: str) -> Database:
        template = Database(kind, self._name(kind))
        if _engine(kind) != "sqlite3":
            _query(
                kind,
                options_of(kind)["NAME"] if _engine(kind) == "postgresql" else "",
                f"CREATE DATABASE {template.name}",
            )
        assert warm.start("django", "migrate", "-v", "0", env=template.env).wait(PATIENCE) == 0
        if _engine(kind) == "sqlite3":
            template.query("PRAGMA wal_checkpoint(TRUNCATE)")
        self._templates[kind] = template
        return template

    def _name(self, kind: str) -> str:
        name = f"livepush_it_{os.getpid()}_{next(_numbers)}"
        return str(self._folder / f"{name}.sqlite3") if _engine(kind) == "sqlite3" else name


def options_of(kind: str) -> dict[str, Any]:
    """Return Django's settings for one of the run's servers."""
    options: dict[str, Any] = json.loads(os.environ[ENV])[kind]
    return options


def _engine(kind: str) -> str:
    return str(options_of(kind)["ENGINE"]).rpartition(".")[2]


def _query(kind: str, name: str, sql: str) -> list[tuple[Any, ...]]:
    options = options_of(kind)
    if _engine(kind) == "sqlite3":
        import sqlite3

        with contextlib.closing(sqlite3.connect(name, timeout=PATIENCE, isolation_level=None)) as connection:
            return connection.execute(sql).fetchall()
    if _engine(kind) == "postgresql":
        address = {"host": options["HOST"], "user": options["USER"], "dbname": name}
        with psycopg.connect(**address, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []
    with _mariadb(name) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@contextlib.contextmanager
def _mariadb(name: str) -> Iterator[Any]:
    options = options_of("mariadb")
    address = {"unix_socket": options["HOST"], "user": options["USER"], "database": name or None}
    connection = pymysql.connect(**address, **options["OPTIONS"], autocommit=True)
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor


def _copy(template: Database, database: Database) -> None:
    if _engine(database.kind) == "sqlite3":
        shutil.copy(template.name, database.name)
    elif _engine(database.kind) == "postgresql":
        _query(database.kind, "postgres", f"CREATE DATABASE {database.name} TEMPLATE {template.name}")
    else:
        with _mariadb(template.name) as cursor:
            cursor.execute(f"CREATE DATABASE {database.name} CHARACTER SET utf8mb4")
            cursor.execute("SHOW TABLES")
            for (table,) in cursor.fetchall():
                cursor.execute(f"CREATE TABLE {database.name}.`{table}` LIKE `{table}`")
                cursor.execute(f"INSERT INTO {database.name}.`{table}` SELECT * FROM `{table}`")


def _drop(database: Database) -> None:
    if _engine(database.kind) == "sqlite3":
        for end in ("", "-wal", "-shm"):
            Path(database.name + end).unlink(missing_ok=True)
    elif _engine(database.kind) == "postgresql":
        _query(database.kind, "postgres", f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")
    else:
        _query("mariadb", "", f"DROP DATABASE IF EXISTS {database.name}")
