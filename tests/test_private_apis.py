"""Where a dependency has changed beneath livepush, it falls back and notes that once.

The servers' fall-backs are in ``test_sockets.py``, the layer's in ``test_hints.py``.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from livepush import notes
from livepush.process import async_orm, connections
from livepush.process.servers import ending, hypercorn, uvicorn
from livepush.publish import databases
from livepush.streams import responding, starting
from livepush.streams.responding import StreamResponse

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def noted(monkeypatch, caplog):
    """Return a function that lists the notes of the test so far."""
    monkeypatch.setattr(notes, "_noted", set())
    caplog.set_level("INFO", "livepush")
    return lambda: [record.message for record in caplog.records if "once" in record.funcName]


def test_a_note_is_made_once_whatever_its_arguments(noted):
    for number in range(3):
        notes.note_once("does without %s", number)
    notes.note_once("another")
    assert noted() == ["does without 0", "another"]


def test_a_transaction_counts_as_a_real_one_where_django_does_not_tell(db, monkeypatch, noted):
    assert not databases.in_real_transaction("default")
    with transaction.atomic():
        assert databases.in_real_transaction("default")
        found = SimpleNamespace(in_atomic_block=True)
        with monkeypatch.context() as patch:
            patch.setattr(databases, "connections", {"default": found})
            assert databases.in_real_transaction("default")
            assert databases.in_real_transaction("default")
    assert noted() == ["This Django does not tell a TestCase's transactions from others: they file no notifications."]


async def test_async_rules_use_asgirefs_own_thread_where_it_takes_no_other(monkeypatch, noted):
    monkeypatch.setattr(async_orm, "SyncToAsync", SimpleNamespace())
    for _ in range(2):
        with async_orm.queries_in_threads():
            assert await sync_to_async(lambda: "done")() == "done"
    (sentence,) = noted()
    assert "asgiref" in sentence


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("AsyncToSync", SimpleNamespace()),
        ("SyncToAsync", SimpleNamespace()),
        ("SyncToAsync", SimpleNamespace(context_to_thread_executor={})),
    ],
)
async def test_a_stream_s_iterator_uses_asgirefs_own_thread_where_it_takes_no_other(name, changed, monkeypatch, noted):
    monkeypatch.setattr(starting, name, changed)
    for _ in range(2):
        async with starting._own_thread():
            assert await sync_to_async(lambda: "done")() == "done"
    (sentence,) = noted()
    assert "asgiref" in sentence


async def test_a_response_is_for_sync_code_where_asgiref_does_not_tell_a_thread_s_event_loop(monkeypatch):
    def is_async():
        return StreamResponse("any", "text").is_async

    assert await sync_to_async(is_async)()
    monkeypatch.setattr(responding, "SyncToAsync", SimpleNamespace())
    assert not await sync_to_async(is_async)()


async def test_a_server_whose_end_can_not_be_noticed_is_noted(noted):
    class Server:
        async def serve(self, started):
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    names = {"__name__": "uvicorn.server"}
    server = Server()
    server.serve = types.FunctionType(Server.serve.__code__, {**globals(), **names}).__get__(server)
    task = asyncio.create_task(server.serve(started))
    await started.wait()
    for _ in range(2):
        ending.before_end(asyncio.get_running_loop(), asyncio.Event().wait)
    task.cancel()
    (sentence,) = noted()
    assert "does not know this version of uvicorn.server" in sentence


class Driver:
    """A driver's connection, without what tells its socket."""


@pytest.mark.parametrize("shown_by", ["fileno", "_sock"])
def test_a_connection_is_cut_by_its_descriptor(shown_by, monkeypatch, noted):
    ours, theirs = socket.socketpair()
    driver = Driver()
    setattr(driver, shown_by, ours.fileno if shown_by == "fileno" else ours)
    cut(driver, monkeypatch)
    assert theirs.recv(1) == b""
    assert noted() == []
    ours.close()
    theirs.close()


def test_a_driver_that_does_not_show_its_socket_is_left_alone(monkeypatch, noted):
    cut(Driver(), monkeypatch)
    cut(Driver(), monkeypatch)
    (sentence,) = noted()
    assert "can't cut a connection of tests.test_private_apis" in sentence


def test_a_driver_that_is_closed_is_no_unknown_one(monkeypatch, noted):
    driver = Driver()
    driver._sock = None
    cut(driver, monkeypatch)
    assert noted() == []


def test_a_thread_that_still_connects_has_no_unknown_driver(monkeypatch, noted):
    cut(None, monkeypatch)
    assert noted() == []


def cut(driver, monkeypatch):
    """Cut the connections of a thread that has this one."""
    connection = SimpleNamespace(connection=driver, vendor="other")
    monkeypatch.setattr(connections, "_opened", {(threading.get_ident(), "default"): connection})
    connections.cut_connections(threading.get_ident())


def test_each_private_api_is_in_the_manual_with_the_files_that_use_it():
    """The test looks for names and files only: the rest of the table is for readers."""
    names = (
        "run_on_commit", "savepoint_ids", "atomic_blocks", "_from_testcase", "errors_occurred", "transaction_status",
        "uses_server_side_binding", "TCP_INFO", "close_pools", "producerPaused", "wrappedProtocol", "getWriters",
        "getReaders", "cr_frame", "cr_await", "addSystemEventTrigger", "_shutdown", "worker_serve",
        "_sock", "__self__", "sys.modules", "Finalize", "connection.connection", "in_atomic_block", "ASGIRequest",
        "context_to_thread_executor", "thread_sensitive_context", "AsyncToSync.executors", "main_event_loop",
        "_log_destroy_pending", "execute_wrappers", "make_cursor", "create_cursor", "needs_rollback",
        "get_script_prefix", "quote_name", "mysql_is_mariadb", "fetch_mode",
    )  # fmt: skip
    common = ("_sock", "__self__", "sys.modules")  # other modules use these names for things that are not private
    table = (ROOT / "docs" / "concepts.md").read_text().partition("## Private APIs")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| ")]
    code = {file.relative_to(ROOT / "livepush"): file.read_text() for file in (ROOT / "livepush").rglob("*.py")}
    lacking = []
    for name in names:
        files = [file for file, text in code.items() if re.search(rf"(?<![A-Za-z_]){re.escape(name)}\b", text)]
        assert files, f"the list above names {name}, which is not used any more"
        found = [row[1] for row in rows if name in " | ".join(row)]
        assert found, f"the table lacks {name}"
        for file in files if name not in common else ():
            places = [f"`{file.as_posix()}`", *(f"`{folder.as_posix()}/`" for folder in file.parents)]
            if not any(place in where for place in places for where in found):
                lacking.append((name, file.as_posix()))
    assert lacking == []


@pytest.mark.parametrize(
    ("limit_incoming", "module"),
    [
        (uvicorn.limit_incoming, "uvicorn.protocols.websockets.websockets_sansio_impl"),
        (uvicorn.limit_incoming, "uvicorn.protocols.websockets.another_impl"),
        (hypercorn.limit_incoming, "hypercorn.protocol.ws_stream"),
    ],
)
def test_a_server_whose_websockets_can_not_be_limited_is_noted(limit_incoming, module, noted, caplog):
    changed = type("Changed", (), {"__module__": module, "send": lambda self: None})
    for _ in range(2):
        limit_incoming(changed().send, 1000)
    (sentence,) = noted()
    assert "can't limit" in sentence
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_wraps_a_servers_send_is_left_alone(noted):
    for limit_incoming in (uvicorn.limit_incoming, hypercorn.limit_incoming):
        limit_incoming(lambda message: None, 1000)
        limit_incoming(threading.Event().set, 1000)
    assert noted() == []
