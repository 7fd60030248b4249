"""``make docs`` makes the documentation site: complete, without a broken link, and with a search."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import livepush
from livepush import exceptions, streams, testing
from scripts.site import prepare
from tests.docs_blocks import PAGES, RECIPES, ROOT

pytestmark = pytest.mark.long
SITE = ROOT / "build" / "site" / "html"


class Page(HTMLParser):
    """The ids of a page, and the files that it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("href", "src") and value:
                self.links.append(value)

    def broken(self, pages: dict[Path, Page]) -> list[str]:
        """Return the links within the site that lead nowhere."""
        return [link for link in self.links if not self._leads(urlsplit(link), pages)]

    def _leads(self, link, pages: dict[Path, Page]) -> bool:
        if link.scheme or link.netloc:
            return True
        target = (self.path.parent / unquote(link.path)).resolve() if link.path else self.path
        if not target.is_file():
            return False
        return not link.fragment or target not in pages or unquote(link.fragment) in pages[target].ids


@pytest.fixture(scope="module")
def site() -> dict[Path, Page]:
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in SITE.rglob("*.html")}


def test_each_link_within_the_site_leads_somewhere(site: dict[Path, Page]) -> None:
    broken = {page.path.name: page.broken(site) for page in site.values() if "_modules" not in page.path.parts}
    assert {name: links for name, links in broken.items() if links} == {}


def test_each_page_of_the_manual_is_in_the_sidebar(site: dict[Path, Page]) -> None:
    linked = {urlsplit(link).path for link in site[SITE / "index.html"].links}
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in [*PAGES[1:], *RECIPES]]
    # the page itself is "#" in its own sidebar
    assert [page for page in map(str, pages) if page not in linked | {"index.html"}] == []


def test_each_link_to_the_repository_leads_to_a_file(site: dict[Path, Page]) -> None:
    found = {link.partition("#")[0] for page in site.values() for link in page.links if link.startswith(prepare.HOME)}
    assert [link for link in found if not (ROOT / link.removeprefix(prepare.HOME)).is_file()] == []


def test_each_public_name_is_in_the_api(site: dict[Path, Page]) -> None:
    ids = site[SITE / "api.html"].ids
    names = [f"livepush.{name}" for name in livepush.__all__ if name != "streams"]
    names += [f"{module.__name__}.{name}" for module in (exceptions, streams, testing) for name in module.__all__]
    missing = [name for name in names if not any(found.endswith("." + name.rpartition(".")[2]) for found in ids)]
    assert missing == []


def test_the_search_finds_words_of_the_manual(site: dict[Path, Page]) -> None:
    index = (SITE / "searchindex.js").read_text()
    assert {word for word in ("recheck", "kanban", "pgbouncer") if word not in index} == set()
