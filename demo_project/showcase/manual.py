"""The manual's pages, rendered from the repository's own ``docs``."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCS = Path(__file__).resolve().parents[2] / "docs"
HOME = "https://github.com/livepush/django-livepush/blob/main/"
"""The address of files that are no page of the manual."""


@cache
def page(name: str) -> tuple[str, str]:
    """Return a page's title and its HTML, with anchors as GitHub makes them.

    Raises KeyError: the manual has no such page.
    """
    if name not in names():
        raise KeyError(name)
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = re.sub(r"<!--.*?-->", "", (DOCS / f"{name}.md").read_text("utf-8"), flags=re.DOTALL)
    tokens = parser.parse(text)
    taken: dict[str, int] = {}
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(content.content, taken))
        follow(content)
    title = next(token.content for token in tokens if token.type == "inline")
    html = parser.renderer.render(tokens, parser.options, {})
    return title, html.replace("<pre>", '<pre tabindex="0">')  # it scrolls, and so the keyboard has to reach it


@cache
def names() -> frozenset[str]:
    """Return the names of the manual's pages."""
    return frozenset(path.stem for path in DOCS.glob("*.md"))


def anchor(heading: str, taken: dict[str, int]) -> str:
    """Return a heading's anchor; the second of the same name gets a number."""
    name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    taken[name] = taken.get(name, -1) + 1
    return f"{name}-{taken[name]}" if taken[name] else name


def follow(token: Token) -> None:
    """Lead a line's links to the demo's own copy of the manual, and its pictures to the files' home."""
    for child in token.children or ():
        for attribute in ("href", "src"):
            target = str(child.attrs.get(attribute, ""))
            if target and not re.match(r"[a-z]+:|#", target):
                child.attrSet(attribute, address(target))


def address(target: str) -> str:
    """Return where a link of one page of the manual leads."""
    path, _, part = target.partition("#")
    if path.removesuffix(".md") in names():
        return f"../{path.removesuffix('.md')}/" + (f"#{part}" if part else "")
    return HOME + (target.removeprefix("../") if target.startswith("../") else f"docs/{target}")
