"""The code blocks of the manual, and how a reader follows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
QUICKSTART = ROOT / "docs" / "quickstart.md"
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
"""Pages whose files make apps, which ``tests/recipes`` runs in one project."""

_FILE = re.compile(r"<!-- file: (\S+) -->")
_THEN = re.compile(r"<!-- then: (.+?) -->", re.DOTALL)


class Block(NamedTuple):
    """One fenced block.

    ``file`` is what ``<!-- file: NAME -->`` on the line before it says; ``then`` is Python that
    ``<!-- then: … -->`` behind it asks to be run when the block has been.
    """

    page: str
    line: int
    language: str
    text: str
    file: str
    then: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    lines = page.read_text().split("\n")
    start = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        assert line.startswith("```"), f"{page.name}:{number + 1}: indented blocks are not read"
        if start is None:
            start = number
            continue
        file = _FILE.fullmatch(lines[start - 1])
        then = _THEN.match("\n".join(lines[number + 1 :]))
        yield Block(
            page.name,
            start + 1,
            lines[start][3:],
            "\n".join(lines[start + 1 : number]) + "\n",
            file[1] if file else "",
            then[1] if then else "",
        )
        start = None
    assert start is None, f"{page.name}: a block does not end"


def section(page: Path, title: str) -> tuple[int, int]:
    """Return the first and the last line number of a section."""
    lines = page.read_text().split("\n")
    first = lines.index(title)
    level = title.split(" ")[0] + " "
    rest = (number for number, line in enumerate(lines) if number > first and line.startswith(level))
    return first + 1, next(rest, len(lines))


def apply_diff(diff: str, text: str) -> tuple[str, int]:
    """Edit a text as a diff without line numbers says; return it with how many lines were added or changed."""
    lines = diff.rstrip("\n").split("\n")
    before = "\n".join(line[1:] for line in lines if line[:1] in (" ", "-")) + "\n"
    after = "\n".join(line[1:] for line in lines if line[:1] in (" ", "+")) + "\n"
    assert all(line[:1] in (" ", "-", "+") for line in lines), f"not a diff:\n{diff}"
    assert text.count(before) == 1, f"expected once:\n{before}\nin:\n{text}"
    return text.replace(before, after), sum(line.startswith("+") for line in lines)
