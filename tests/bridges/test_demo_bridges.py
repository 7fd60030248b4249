"""The demo's programs that need more than Python: what they say is missing, and that they work where it is there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from importlib import import_module

import pytest
from redis import Redis

from tests.browser.demo import heed_ctrl_c
from tests.docs_blocks import ROOT
from tests.integration import clients
from tests.patience import eventually, wait_until
from tests.servers import brokers, processes, pushpin


@pytest.fixture
def env(tmp_path):
    """The environment of a demo with a database of its own, whose parcels move often."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.browser.demo_settings",
        "DEMO_DATABASE": str(tmp_path / "demo.sqlite3"),
        "DEMO_SECONDS_BETWEEN_MOVES": "0.2",
    }


@contextlib.contextmanager
def running(env, *words):
    """Run a program; interrupt it in the end, as Ctrl-C does."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def said(env, *words):
    """Run a program; return the exit code, and what it says."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_program_of_the_demo_says_what_is_missing(env):
    port = processes.free_port()
    code, text = said(env, "demo_project.broker", f"redis://127.0.0.1:{port}")
    assert (code, text.splitlines()[0]) == (
        1, f"Nothing answers at 127.0.0.1:{port}. Start a broker there, for example one of",
    )  # fmt: skip
    code, text = said(env, "demo_project.edge", "--control", f"http://127.0.0.1:{port}")
    assert code == 1
    assert text.startswith(f"No Pushpin takes events at http://127.0.0.1:{port}. On Debian: sudo apt-get install")
    code, text = said(env, "demo_project.mercure", "--site", f"http://127.0.0.1:{port}")
    assert (code, f"No demo answers at http://127.0.0.1:{port}/.well-known/mercure (" in text) == (1, True)
    code, text = said(env, "demo_project.broker", "amqp://127.0.0.1")
    assert code == 2
    assert "expected redis://host:port" in text
    for program in ("broker", "edge", "mercure"):
        code, text = said(env, f"demo_project.{program}", "--help")
        assert (code, "Ctrl-C" in text or "Debian" in text) == (0, True)


@pytest.mark.parametrize("program", ["broker", "edge", "mercure"])
def test_what_a_program_of_the_demo_lacks_is_had_with_the_demos_python(program):
    python = f"{re.findall(r'^DEMO := (.+)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)[0]}/bin/python"
    assert python in import_module(f"demo_project.{program}").MISSING
    assert f"`{python} -m demo_project.{program}`" in (ROOT / "docs" / "bridges.md").read_text()


@pytest.mark.long
def test_the_demos_parcels_go_to_a_broker_and_calls_come_from_it(env):
    with (
        brokers.valkey_broker() as broker,
        running(env, "-m", "demo_project.broker", broker.url) as relay,
        Redis.from_url(broker.url) as client,
    ):
        assert relay.stdout is not None
        while "Ctrl-C stops it." not in relay.stdout.readline():
            assert relay.poll() is None
        assert said(env, "demo_project.broker", broker.url, "--say", "Hello")[0] == 0
        look = "from livepush.models import Event; print(Event.objects.filter(group='eventstream:desk').count())"
        wait_until(lambda: subprocess.check_output(
            [sys.executable, "manage.py", "shell", "-v", "0", "-c", look], cwd=ROOT, env=env, text=True,
        ).strip() == "1")  # fmt: skip
        move = "from demo_project.parcels.shop import seed; from demo_project.parcels import simulation; seed();"
        move += " [simulation.tick() for _ in range(20)]"
        subprocess.run([sys.executable, "manage.py", "shell", "-v", "0", "-c", move], cwd=ROOT, env=env, check=True)
        wait_until(lambda: client.xlen("larkpost.parcels") > 0)


@pytest.mark.long
async def test_the_demo_under_wsgi_streams_behind_pushpin(env):
    port = processes.free_port()
    edge = pushpin.Pushpin(port)
    edge.start()
    try:
        words = ("-m", "demo_project.edge", "--port", str(port), "--control", edge.control_uri, "--key", pushpin.KEY)
        with running(env, *words) as site:
            assert site.stdout is not None
            while "Ctrl-C stops the demo." not in site.stdout.readline():
                assert site.poll() is None
            await eventually(lambda: answers(port))
            async with clients.sse(edge.url, "board") as stream:
                await stream.until(event="livepush.hello")
                for _ in range(2):
                    await stream.until(event="parcel.updated")
    finally:
        edge.stop()


def answers(port):
    """Return whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
