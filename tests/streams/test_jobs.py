"""Logs of jobs: what commands print and what Python logs, with progress, colours and an end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from livepush import streams
from livepush.exceptions import StreamError, StreamLost, StreamStopped
from livepush.process.connections import LIVE_THREAD, STREAM_THREAD
from livepush.streams import ansi, deleting, gathering, here, jobs, store, writing
from livepush.streams.finding import read_all
from livepush.streams.models import Stream, StreamChunk
from livepush.streams.watching import WATCH_THREAD
from tests.patience import PATIENCE, eventually, wait_until
from tests.scale import some

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def only() -> Stream:
    return Stream.objects.get()


def text(id: str) -> str:
    return "".join(piece for piece in read_all(id) if isinstance(piece, str))


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_command_s_output_is_written_as_it_comes_and_its_exit_code_ends_the_stream():
    program = "import sys; print('\\x1b[32mgrün\\x1b[0m'); print('and wrong', file=sys.stderr)"
    assert streams.run(python(program), "job:7", env={"PYTHONIOENCODING": "utf-8"}) == 0
    found = only()
    assert (found.state, found.group, found.details) == ("finished", "job:7", {"exit": 0})
    assert sorted(text(found.id).splitlines()) == ["and wrong", "grün"]


def test_colours_are_kept_if_asked_for_and_another_exit_code_fails_the_stream():
    assert streams.run(python("print('\\x1b[31mred\\x1b[0m'); exit(3)"), "job:7", ansi="keep", metadata={"of": 7}) == 3
    found = only()
    assert (found.state, found.error, found.details) == (
        "failed",
        "The command ended with exit code 3.",
        {"of": 7, "exit": 3},
    )
    assert text(found.id) == "\x1b[31mred\x1b[0m\n"


def test_a_command_that_is_not_there_fails_the_stream_and_raises():
    with pytest.raises(FileNotFoundError):
        streams.run(["no-such-command-here"], "job:7")
    assert only().state == "failed"


def test_a_silent_command_is_ended_when_a_reader_asks_to_stop():
    running = threading.Thread(
        target=streams.run, args=(python("print('on', flush=True); import time; time.sleep(600)"), "job:7")
    )
    running.start()
    wait_until(lambda: Stream.objects.exists() and store.ends("default", [only().id]))
    store.stop("default", only().id)
    running.join(20)
    assert not running.is_alive()
    assert (only().state, text(only().id)) == ("stopped", "on\n")


@pytest.mark.skipif(os.name != "posix", reason="asks for a signal's exit code")
def test_a_command_that_is_stopped_as_its_output_is_written_has_an_exit_code_too(monkeypatch):
    write = writing.SyncStream.write

    def late(self: writing.SyncStream, text: str) -> None:
        self._buffer.stop()  # since it was looked at
        write(self, text)

    monkeypatch.setattr(writing.SyncStream, "write", late)
    command = python("print('on', flush=True); import time; time.sleep(600)")
    assert streams.run(command, "job:7") == -signal.SIGTERM
    assert (only().state, text(only().id)) == ("stopped", "")


def in_thread(command: list[str], **options: Any) -> threading.Thread:
    """Run a command until something of it is stored."""
    running = threading.Thread(target=streams.run, args=(command, "job:7"), kwargs=options, daemon=True)
    running.start()
    wait_until(lambda: Stream.objects.exists() and store.ends("default", [only().id]))
    return running


needs_shell = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


@needs_shell
@pytest.mark.parametrize("options", [{}, {"start_new_session": True}])
@pytest.mark.parametrize(
    "pipe",
    some(
        [
            "echo on; sleep 600 | cat; echo never",
            "trap '' TERM; echo on; sleep 600 | cat; echo never",
            "(trap '' TERM; echo on; sleep 600; sleep 600) & wait",
        ]
    ),
)
def test_what_a_command_has_started_ends_with_it(monkeypatch, pipe, options):
    monkeypatch.setattr(jobs, "KILL_AFTER", 0.5)
    running = in_thread(["sh", "-c", f"echo $$; {pipe}"], **options)
    wait_until(lambda: text(only().id).endswith("on\n"))
    group = int(text(only().id).split()[0])
    store.stop("default", only().id)
    running.join(PATIENCE)
    assert not running.is_alive()
    assert (only().state, text(only().id)) == ("stopped", f"{group}\non\n")
    wait_until(lambda: not has_members(group))


def has_members(group: int) -> bool:
    """Return whether a process of a group lives; those that only wait to be reaped do not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    found = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    return any(line.split()[0] == str(group) and line.split()[1][0] != "Z" for line in found.stdout.splitlines())


@needs_shell
def test_a_command_in_a_group_of_the_caller_s_is_ended_alone():
    running = in_thread(["sh", "-c", "echo on; exec sleep 600"], process_group=os.getpgrp())
    store.stop("default", only().id)
    running.join(PATIENCE)
    assert only().state == "stopped"


@needs_shell
def test_a_command_that_leaves_a_process_behind_has_ended():
    begun = time.monotonic()
    assert streams.run(["sh", "-c", "sleep 600 & echo started; echo $!"], "job:7") == 0
    assert time.monotonic() - begun < PATIENCE
    started, left = text(only().id).split()
    assert (only().state, started) == ("finished", "started")
    os.kill(int(left), signal.SIGTERM)  # it lives on


@needs_shell
def test_a_process_that_was_left_behind_and_prints_for_ever_does_not_hold_the_command_up():
    assert streams.run(["sh", "-c", "while echo more; do :; done & echo started"], "job:7") == 0
    assert "started\n" in text(only().id)


@needs_shell
def test_all_that_was_printed_before_the_end_is_written_even_if_the_database_is_slow(monkeypatch):
    monkeypatch.setattr(jobs, "AFTER_END", 0.0)
    monkeypatch.setattr(jobs, "READ", 1000)
    assert streams.run(["sh", "-c", "sleep 600 & seq 10000; kill $!"], "job:7") == 0
    assert text(only().id) == "".join(f"{number}\n" for number in range(1, 10001))


async def test_a_command_ends_when_the_task_that_waits_for_it_is_cancelled():
    running = asyncio.create_task(
        streams.arun(python("import time; print('on', flush=True); time.sleep(600)"), "job:7")
    )
    await eventually(StreamChunk.objects.aexists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually(Stream.objects.filter(state="interrupted").aexists)
    await sync_to_async(connections.close_all)()


def test_a_silent_command_ends_when_its_process_ends():
    running = in_thread(python("print('on', flush=True); import time; time.sleep(600)"))
    here.interrupt_all()
    running.join(PATIENCE)
    assert not running.is_alive()
    assert (only().state, text(only().id)) == ("interrupted", "on\n")


async def test_a_command_in_async_code_waits_for_no_thread_that_others_use(busy_executor):
    async with asyncio.timeout(PATIENCE):
        assert await streams.arun(python("print('built')"), "job:7") == 0
    assert (await Stream.objects.aget()).state == "finished"
    await sync_to_async(connections.close_all)()


def test_a_process_ends_after_the_commands_of_its_event_loop():
    found: list[threading.Thread] = []

    async def leave() -> None:
        command = asyncio.create_task(
            streams.arun(python("import time; print('on', flush=True); time.sleep(600)"), "job:7")
        )
        await eventually(StreamChunk.objects.aexists)
        found.extend(each for each in threading.enumerate() if each.name == "livepush-command")
        assert not command.done()
        await sync_to_async(connections.close_all)()

    asyncio.run(leave())  # it cancels what still runs
    (thread,) = found
    assert not thread.daemon  # so Python waits for it
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert (only().state, text(only().id)) == ("interrupted", "on\n")


async def test_a_command_whose_stream_is_deleted_ends_and_says_so():
    running = asyncio.create_task(
        streams.arun(python("import time; print('on', flush=True); time.sleep(600)"), "job:7")
    )
    await eventually(StreamChunk.objects.aexists)
    await sync_to_async(deleting.delete)("default", [(await Stream.objects.aget()).id])
    with pytest.raises(StreamLost):
        await running
    await sync_to_async(connections.close_all)()


async def test_async_code_runs_a_command_in_a_thread():
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticking = asyncio.create_task(tick())
    assert await streams.arun(python("import time; time.sleep(0.3)"), "job:7") == 0
    ticking.cancel()
    assert ticks > 5
    await sync_to_async(connections.close_all)()


def test_a_logger_is_followed_inside_of_the_block():
    logger = logging.getLogger("tests.job")
    logger.setLevel(logging.DEBUG)
    with streams.follow("tests.job", "job:7") as log:
        logger.info("one %d", 1)
        logger.debug("too little")
        logging.getLogger("tests.job.part").warning("two")
        log.write(progress=1)
    logger.info("too late")
    assert read_all(only().id)[0] == "INFO one 1\nWARNING two\n"


def test_a_full_stream_of_the_root_logger_holds_up_no_other(monkeypatch):
    """The thread that makes room in it logs too, as when the database is away."""
    append, given_up, away = store.append, [], threading.Event()
    monkeypatch.setattr(writing, "PATIENCE", 15.0)
    monkeypatch.setattr(writing._Producer, "_not_stored", lambda stream: given_up.append(stream.id) or StreamError())

    def append_later(using, rows):
        if away.is_set():
            if log._buffer.is_full:
                away.clear()
            logging.getLogger("tests.database").warning("away")
            raise OperationalError("away")
        append(using, rows)

    monkeypatch.setattr(store, "append", append_later)
    with streams.open("room:2") as other, streams.follow(logging.getLogger(), "job:7") as log:
        away.set()
        for number in range(30):
            logging.getLogger("tests.shop").warning("%d %s", number, "x" * 10_000)
        other.write("on")
    assert given_up == []
    assert [line.split()[1] for line in text(log.id).splitlines()] == [str(number) for number in range(30)]


def test_the_queries_that_store_a_log_are_not_logged_in_it(monkeypatch, settings):
    settings.DEBUG = True
    monkeypatch.setattr(gathering, "BEAT", 0.05)
    logger, beats, beat = logging.getLogger("django.db.backends"), [], store.beat
    monkeypatch.setattr(store, "beat", lambda *given: beats.append(0) or beat(*given))
    logger.setLevel(logging.DEBUG)
    try:
        with streams.follow(logging.getLogger(), "job:7", level=logging.DEBUG) as log:
            logging.getLogger("tests.shop").warning("one line")
            wait_until(lambda: len(beats) > 5)
    finally:
        logger.setLevel(logging.NOTSET)
    assert text(log.id) == "WARNING one line\n"


def test_a_log_has_lines_and_progress_and_tells_no_progress_twice():
    with streams.open("job:7", ansi="strip") as log:
        log.write_line("Importing")
        for number in range(10_001):
            log.write(progress=number / 10_000)
        log.write_line("\x1b[1mdone\x1b[0m\n")
    parts = [piece.value["progress"] for piece in read_all(only().id) if not isinstance(piece, str)]
    assert (parts[0], parts[-1], 900 < len(parts) <= 1001) == (0.0, 1.0, True)
    assert text(only().id) == "Importing\ndone\n"


@pytest.mark.parametrize("name", [STREAM_THREAD, LIVE_THREAD, WATCH_THREAD])
def test_what_the_threads_of_streams_log_is_left_out(name):
    """It would wait for room in the stream, which they make."""
    with streams.follow("tests.jobs", "job:7"):
        own = threading.Thread(target=logging.getLogger("tests.jobs").warning, args=("own",), name=name)
        own.start()
        own.join(PATIENCE)
        logging.getLogger("tests.jobs").warning("other")
    assert text(only().id) == "WARNING other\n"


def test_a_loop_that_looks_can_end_in_its_own_way():
    with streams.open("job:7") as log:
        store.stop("default", log.id)
        wait_until(lambda: log.stop_requested)
        with pytest.raises(StreamStopped):
            log.write("more")
    assert only().state == "stopped"


@pytest.mark.parametrize("cut", range(1, 30))
def test_sequences_are_stripped_wherever_they_are_cut(cut):
    given = "a\x1b[1;32mb\x1b]8;;http://x\x07c\x1b(Bd\x1b[0m"
    found = ansi.Stripper()
    assert found.feed(given[:cut]) + found.feed(given[cut:]) == "abcd"
    assert ansi.strip(given) == "abcd"


def test_what_only_looks_like_a_sequence_is_not_held_back_for_ever():
    found = ansi.Stripper()
    begun = time.monotonic()
    assert len(found.feed("\x1b[" + "1;" * 100_000)) == 200_002
    assert time.monotonic() - begun < 1


LINK = "\x1b]8;;https://shop.example/" + "a" * 300 + "\x1b\\"
STRINGS = [
    "\x1bP1$r0m\x1b\\", "\x1b_app\x1b\\", "\x1b^pm\x1b\\", "\x1bXsos\x1b\\", "\x1bktitle\x1b\\", "\x9b31m",
    "\x1b]0;title\x07", LINK,
]  # fmt: skip


@pytest.mark.parametrize("given", STRINGS)
def test_titles_links_and_other_strings_are_stripped_wherever_they_are_cut(given):
    for cut in range(len(given)):
        found = ansi.Stripper()
        assert found.feed(f"a{given[:cut]}") + found.feed(f"{given[cut:]}b") + found.end() == "ab"


def test_a_title_without_an_end_takes_no_other_line_with_it():
    with streams.open("job:7", ansi="strip") as log:
        log.write("start\n")
        log.write("\x1b]a title without an end\nnext\n")
        log.write("\x1b]the error is here")
    assert text(log.id) == "start\n\nnext\nthe error is here"


def test_what_a_logger_is_told_is_stripped_if_asked_for():
    with streams.follow("shop.colours", "job:7", ansi="strip") as stream:
        logging.getLogger("shop.colours").warning("\x1b[31mred\x1b[0m")
    assert text(stream.id) == "WARNING red\n"
