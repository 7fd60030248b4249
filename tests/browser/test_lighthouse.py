"""Lighthouse gives each page of the demo 100 for accessibility, best practices and SEO."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.chromium import FLAGS, PROGRAM
from tests.browser.demo import Demo, Visit, log_in
from tests.browser.test_demo_showcase import PAGES
from tests.patience import PATIENCE, wait_until
from tests.servers import npm

QUIET = True
HERE = Path(__file__).resolve().parent / "lighthouse"
AUDITED = [path for path in PAGES if not path.startswith("/stage/")]
"""All but the front page's two frames, which ask search engines to leave them out."""
BEHIND_A_LOGIN = [path for path in AUDITED if path != "/login/" and not path.startswith("/manual/")]
STAFFS = ["/board/", "/messages/", "/ask/", "/jobs/"]
"""The pages that show the staff more than a customer."""
SECONDS_FOR_A_PAGE = 60


@pytest.fixture
def auditing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[dict]]]:
    """Audits pages in a Chromium of its own."""
    folder, profile = npm.installed(HERE / "package.json", "lighthouse"), tmp_path_factory.mktemp("lighthouse")
    shutil.copy(HERE / "audit.js", folder)
    program = shutil.which(PROGRAM)
    assert program is not None, f"{PROGRAM} is not installed: on Debian, apt-get install {PROGRAM}."
    browser = subprocess.Popen(
        [program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        noted = profile / "DevToolsActivePort"
        wait_until(lambda: noted.exists() and len(noted.read_text().splitlines()) == 2)
        port = noted.read_text().splitlines()[0]

        def audit(cookies: list[dict], *urls: str) -> list[dict]:
            node = shutil.which("node")
            assert node is not None, "node is not installed: on Debian, apt-get install nodejs."
            done = subprocess.run(
                [node, "audit.js", port, json.dumps(cookies), *urls], cwd=folder, capture_output=True, text=True,
                timeout=SECONDS_FOR_A_PAGE * len(urls),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return [json.loads(line) for line in done.stdout.splitlines()]

        yield audit
    finally:
        browser.terminate()
        browser.wait(PATIENCE)


@pytest.mark.long
def test_lighthouse_finds_nothing_wanting_in_any_page(demo: Demo, auditing: Callable[..., list[dict]]) -> None:
    found = auditing([], *(demo.url + path for path in AUDITED))
    assert found == [perfect(page["shown"]) for page in found]
    assert len(found) == len(AUDITED)


@pytest.mark.long
@pytest.mark.parametrize("who", ["demo", "admin"])
def test_lighthouse_finds_nothing_wanting_after_a_login(
    who: str, demo: Demo, visitor: Callable[[], Visit], auditing: Callable[..., list[dict]]
) -> None:
    visit = visitor()
    first = log_in(visit, who)
    first.goto(demo.url + "/ask/")
    parcel = urlsplit(first.url).path
    pages = [*(BEHIND_A_LOGIN if who == "demo" else STAFFS), f"{parcel}messages/"]
    found = auditing(first.context.cookies(), *(demo.url + path for path in pages))
    assert found == [perfect(page["shown"]) for page in found]
    shown = [urlsplit(page["shown"]).path for page in found]
    assert shown == [parcel if path == "/ask/" else path for path in pages]


def perfect(url: str) -> dict:
    """Return what is printed of a page in which nothing is wanting."""
    return {"shown": url, "scores": [1, 1, 1], "found": []}
