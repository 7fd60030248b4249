"""Logs of jobs: what commands print and what Python logs, with progress, colours and an end."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from livepush import streams
from livepush.exceptions import StreamStopped
from livepush.streams import ansi, store
from livepush.streams.finding import read_all
from livepush.streams.models import Stream
from tests.patience import wait_until

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


def test_a_log_has_lines_and_progress_and_tells_no_progress_twice():
    with streams.open("job:7", ansi="strip") as log:
        log.write_line("Importing")
        for number in range(10_001):
            log.write(progress=number / 10_000)
        log.write_line("\x1b[1mdone\x1b[0m\n")
    parts = [piece.value["progress"] for piece in read_all(only().id) if not isinstance(piece, str)]
    assert (parts[0], parts[-1], 900 < len(parts) <= 1001) == (0.0, 1.0, True)
    assert text(only().id) == "Importing\ndone\n"


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
