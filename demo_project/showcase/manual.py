"""The manual's pages, rendered from the repository's own ``docs``."""

from __future__ import annotations

import posixpath
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADDRESS = "/manual/"
"""Where the demo shows the manual."""
PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}
"""The kinds of the manual's pictures."""
HOME = "https://github.com/livepush/django-livepush/blob/main/"
"""The address of files that are no page of the manual."""


@cache
def page(name: str) -> tuple[str, str]:
    """Return a page's title and its HTML, with anchors as GitHub makes them, and files' names above their code.

    Raises KeyError: the manual has no such page.
    """
    if name not in names():
        raise KeyError(name)
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = re.sub(r"^<!-- file: (\S+) -->$", r"`\1`", (DOCS / f"{name}.md").read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    tokens = parser.parse(text)
    taken: dict[str, int] = {}
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(content.content, taken))
        follow(content, posixpath.dirname(name))
    title = next(token.content for token in tokens if token.type == "inline")
    html = parser.renderer.render(tokens, parser.options, {})
    return title, html.replace("<pre>", '<pre tabindex="0">')  # it scrolls, and so the keyboard has to reach it


@cache
def names() -> frozenset[str]:
    """Return the names of the manual's pages, such as ``rules`` and ``recipes/chat``."""
    return frozenset(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))


@cache
def parts() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the manual's parts: each one's name, and the names and titles of its pages.

    They are those of the manual's first page, and then those of the recipes' first page.
    """
    return [*_parts("index"), *((f"Recipes: {part.lower()}", pages) for part, pages in _parts("recipes/index"))]


def _parts(index: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what a first page lists of its own folder."""
    folder = posixpath.dirname(index)
    found: list[tuple[str, list[tuple[str, str]]]] = []
    for line in (DOCS / f"{index}.md").read_text("utf-8").splitlines():
        if part := re.match(r"\*\*(.+)\.\*\*", line):
            found.append((part[1], []))
        elif found and line.startswith("- "):
            linked = re.findall(r"\[([^\]]+)\]\((\w[\w/-]*)\.md\)", line)
            found[-1][1].extend((posixpath.join(folder, name), title) for title, name in linked)
    return found


@cache
def pictures() -> frozenset[str]:
    """Return the names of the manual's pictures, such as ``images/inbox-wide.png``."""
    return frozenset(path.relative_to(DOCS).as_posix() for kind in PICTURES for path in DOCS.rglob(f"*{kind}"))


def anchor(heading: str, taken: dict[str, int]) -> str:
    """Return a heading's anchor; the second of the same name gets a number."""
    name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    taken[name] = taken.get(name, -1) + 1
    return f"{name}-{taken[name]}" if taken[name] else name


def follow(token: Token, folder: str) -> None:
    """Lead a line's links and pictures to the demo's own copy of the manual."""
    for child in token.children or ():
        for attribute in ("href", "src"):
            target = str(child.attrs.get(attribute, ""))
            if target and not re.match(r"[a-z]+:|#", target):
                child.attrSet(attribute, address(target, folder))


def address(target: str, folder: str) -> str:
    """Return where a link leads that stands on a page of a folder of the manual."""
    path, _, part = target.partition("#")
    whole = posixpath.normpath(posixpath.join(folder, path))
    anchored = f"#{part}" if part else ""
    if whole.removesuffix(".md") in names():
        return f"{ADDRESS}{whole.removesuffix('.md')}/{anchored}"
    if whole in pictures():
        return f"{ADDRESS}pictures/{whole}"
    return HOME + posixpath.normpath(posixpath.join("docs", whole)) + anchored
