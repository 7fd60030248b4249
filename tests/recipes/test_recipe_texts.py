"""What all recipes of the manual have in common."""

from __future__ import annotations

import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import httpx
import pytest

from tests.docs_blocks import QUICKSTART, RECIPES, ROOT, blocks
from tests.recipes.project import APPS
from tests.test_docs import check_manage, check_settings

(INDEX,) = [page for page in RECIPES if page.name == "index.md"]
PAGES = [page for page in RECIPES if page != INDEX]
README = ROOT / "README.md"
MAX_LINES = 40
each_recipe = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each_recipe
def test_a_recipe_is_short(page: Path) -> None:
    lines = [line for block in blocks(page) if block.file for line in block.text.split("\n") if line.strip()]
    assert 0 < len(lines) <= MAX_LINES


@pytest.mark.parametrize("page", [*PAGES, README, QUICKSTART], ids=lambda page: page.stem)
def test_each_page_that_is_shown_fits_on_a_phone(page: Path) -> None:
    for block in blocks(page):
        if "</title>" in block.text:
            assert '<meta name="viewport" content="width=device-width">' in block.text, block


@each_recipe
def test_a_recipe_says_what_carries_it_and_what_happens_offline(page: Path) -> None:
    text = page.read_text()
    assert re.search(r"^\*\*Transport\.\*\* \w", text, re.MULTILINE)
    assert re.search(r"^\*\*Offline\.\*\* \w", text, re.MULTILINE)


@each_recipe
def test_each_block_of_a_recipe_is_run_by_a_test(page: Path) -> None:
    run_elsewhere = {"native.md": ["bash"], "react.md": ["jsx"]}  # test_recipe_pages.py, and test_frameworks.py
    without_file = [block.language for block in blocks(page) if not block.file]
    assert without_file == run_elsewhere.get(page.name, [])


def test_each_recipe_is_listed_and_has_a_test() -> None:
    listed = set(re.findall(r"\]\((\w+\.md)\)", INDEX.read_text()))
    assert listed == {page.name for page in PAGES}
    source = Path(__file__).with_name("test_recipe_pages.py").read_text()
    kept_for = {"devices": "follow.py", "reminders": "remind"}
    assert [name for name in APPS if kept_for.get(name, name) not in source] == []


def test_the_introduction_works() -> None:
    for block in blocks(INDEX):
        if block.language == "bash":
            check_manage(block.text.split())
        else:
            check_settings(block)


def test_the_introduction_fits_each_recipe() -> None:
    text = INDEX.read_text()
    with_urls = {
        block.file.partition("/")[0] for page in PAGES for block in blocks(page) if block.file.endswith("/urls.py")
    }
    (step,) = re.findall(r"^2\. (.*)$", text, re.MULTILINE)
    assert step.startswith("If the recipe has a `urls.py`") == (with_urls != set(APPS))
    addresses = set(re.findall(r"`/(\w+)/", text))
    assert addresses
    assert addresses <= with_urls


class Faulty(BaseHTTPRequestHandler):
    """A site whose proxy answers the first request with 502, and whose third one is refused."""

    posts: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.posts.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        status = {1: 502, 2: 200}.get(len(self.posts), 401)
        self.answer(status, "application/json", b'{"token": "t", "group": "user:1"}')

    def do_GET(self) -> None:
        self.answer(200, "text/event-stream", b"event: news\nid: e-1\ndata: 7\n\n")

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_a_native_client_goes_on_after_a_502_and_ends_with_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = next(page for page in PAGES if page.stem == "native")
    (program,) = [block.text for block in blocks(page) if block.file == "follow.py"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Faulty) as server:
        Thread(target=server.serve_forever, args=(0.05,)).start()
        monkeypatch.setattr(sys, "argv", ["follow.py", f"http://127.0.0.1:{server.server_port}", "ann", "secret"])
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        try:
            with pytest.raises(httpx.HTTPStatusError, match="401"):
                exec(program, {})
        finally:
            server.shutdown()
    printed = capsys.readouterr()
    assert printed.out == "news 7\n"
    assert "502" in printed.err
