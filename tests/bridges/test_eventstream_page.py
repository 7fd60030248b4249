"""docs/eventstream.md, followed with a project that uses the real django-eventstream, before and after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT, apply_diff, blocks
from tests.integration import clients
from tests.patience import eventually
from tests.servers.processes import free_port

PROJECT = ROOT / "tests" / "projects" / "eventstream"
PAGE = ROOT / "docs" / "eventstream.md"
STORAGE = "livepush.bridges.eventstream.storage.LivepushStorage"


class Site:
    """The project in a folder, with a database of its own, served by uvicorn."""

    def __init__(self, folder, **env):
        shutil.copytree(PROJECT, folder)
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        here = {"CHAT_DATABASE": str(folder / "db.sqlite3"), "DJANGO_SETTINGS_MODULE": "chat.settings"}
        path = os.pathsep.join([str(folder), str(ROOT)])
        self.env = {**os.environ, **here, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **env}

    def follow_the_page(self):
        """Edit the project as the page says."""
        for block in blocks(PAGE):
            if block.language == "diff":
                file = self.folder / block.file
                file.write_text(apply_diff(block.text, file.read_text())[0])

    def start(self):
        """Migrate and serve."""
        python = [sys.executable, "-m"]
        subprocess.run([*python, "django", "migrate", "-v", "0"], env=self.env, check=True, cwd=self.folder)
        words = ["uvicorn", "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        self.process = subprocess.Popen([*python, *words, "chat.asgi:application"], env=self.env, cwd=self.folder)

    async def __aenter__(self):
        await asyncio.to_thread(self.start)
        await eventually(self.answers)
        return self

    async def __aexit__(self, *args):
        self.process.terminate()
        await asyncio.to_thread(self.process.wait)

    async def answers(self):
        try:
            async with clients.http() as client:
                return (await client.get(f"{self.url}/nowhere/")).status_code == 404
        except OSError:
            return False
        except clients.httpx.TransportError:
            return False

    async def say(self, channel, text):
        async with clients.http() as client:
            assert (await client.get(f"{self.url}/say/{channel}/", params={"text": text})).text == "said"

    def stream(self, path, **headers):
        return Stream(f"{self.url}{path}", headers)


class Stream:
    """What an EventSource gets, as (event, data) pairs; it keeps the last id."""

    def __init__(self, url, headers):
        self.url, self.sent, self.last, self._rest = url, headers, None, b""

    async def __aenter__(self):
        self._client = clients.http()
        self._request = self._client.stream("GET", self.url, headers=self.sent)
        self.response = await self._request.__aenter__()
        self._chunks = self.response.aiter_raw()
        return self

    async def __aexit__(self, *args):
        await self._request.__aexit__(None, None, None)
        await self._client.aclose()

    async def next(self, *leave_out):
        """Return the next event that is none of some types."""
        while True:
            while b"\n\n" not in self._rest:
                self._rest += await asyncio.wait_for(anext(self._chunks), 30)
            block, _, self._rest = self._rest.partition(b"\n\n")
            fields = [line.split(": ", 1) for line in block.decode().split("\n") if line[:1] not in ("", ":")]
            lines = [each[1] if len(each) > 1 else "" for each in fields if each[0].rstrip(":") == "data"]
            named = {each[0]: each[1] for each in fields if len(each) > 1}
            self.last = named.get("id", self.last)
            if "event" in named and named["event"] not in leave_out:
                return named["event"], told("\n".join(lines))

    async def rest(self):
        """Return what comes until the stream ends."""
        async with asyncio.timeout(30):
            async for chunk in self._chunks:
                self._rest += chunk
        return self._rest.decode()


def told(data):
    """Return JSON as what it says, since encoders differ in their spaces; other data as they are."""
    with contextlib.suppress(ValueError):
        return json.loads(data)
    return data


async def play(site):
    """Return what clients of a site get in all its forms of URLs, and when they come back."""
    found = {}
    for name, path, channel in [
        ("channels", "/events/", "news"),
        ("format-channels", "/rooms/7/events/", "room-7"),
        ("channel", "/objects/lamp%205/events/", "lamp 5"),
    ]:
        async with site.stream(path) as stream:
            found[name, "open"] = await stream.next()
            await site.say(channel, "one")
            found[name, "live"] = [await stream.next("keep-alive") for _ in range(2)]
            last = stream.last
        await site.say(channel, "two")
        async with site.stream(path, **{"Last-Event-ID": last}) as stream:
            found[name, "resumed"] = [await stream.next("stream-open", "keep-alive") for _ in range(2)]
        async with site.stream(f"{path}?lastEventId=&lastEventId={last}") as stream:
            found[name, "by query"] = [await stream.next("stream-open", "keep-alive") for _ in range(2)]
    async with site.stream("/rooms/secret/events/") as stream:
        found["forbidden"] = (stream.response.status_code, await stream.next(), stream.last, await stream.rest())
    async with site.stream("/objects/x/events/", **{"Last-Event-ID": "error"}) as stream:
        found["after an error"] = (stream.response.status_code, await stream.rest())
    async with site.stream("/events/", Referer="https://app.example.com/page") as stream:
        headers = ("Content-Type", "Cache-Control", "X-Accel-Buffering")
        cors = ("Access-Control-Allow-Origin", "Access-Control-Allow-Headers")
        found["headers"] = {name: stream.response.headers.get(name) for name in (*headers, *cors)}
    return found


@pytest.mark.long
async def test_a_project_gets_the_same_after_its_imports_are_changed(tmp_path):
    async with Site(tmp_path / "before") as before:
        expected = await play(before)
        async with before.stream("/events/") as stream:
            await stream.next()
            await before.say("news", "old")
            await stream.next()
            old = stream.last
    after = Site(tmp_path / "after")
    after.follow_the_page()
    assert not re.findall(r"import django_eventstream|from django_eventstream", "".join(
        file.read_text() for file in after.folder.rglob("*.py")
    ))  # fmt: skip
    async with after:
        assert await play(after) == expected
        async with after.stream("/events/", **{"Last-Event-ID": old}) as stream:
            assert await stream.next("stream-open") == ("stream-reset", {"channels": ["news"]})
            await after.say("news", "new")
            assert (await stream.next())[0] == "message"


@pytest.mark.long
async def test_who_stays_gets_the_same_with_livepushs_log_as_the_storage(tmp_path):
    async with Site(tmp_path / "before") as before:
        expected = await play(before)
    staying = Site(tmp_path / "after", CHAT_STORAGE=STORAGE)
    settings = staying.folder / "chat" / "settings.py"
    settings.write_text(settings.read_text().replace('"django_eventstream", ', '"django_eventstream", "livepush", '))
    urls = staying.folder / "chat" / "urls.py"
    own = 'urlpatterns = [\n    path("livepush/", include("livepush.urls")),'
    urls.write_text(urls.read_text().replace("urlpatterns = [", own))
    async with staying:
        assert await play(staying) == expected


def test_the_project_is_the_one_that_the_page_edits():
    edited = {block.file for block in blocks(PAGE) if block.language == "diff"}
    assert edited == {f"chat/{file.name}" for file in Path(PROJECT / "chat").glob("*.py")} - {"chat/__init__.py"}
