"""The lines of code that make a scene, read from the files that run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

from demo_project.showcase.scenes import Scene

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^\s*(?:#|//|\{#)\s*scene:\s*([\w -]+?)\s*(?:#\})?\s*$")


@dataclass(frozen=True)
class Snippet:
    """Marked lines of one file."""

    file: str
    code: str


@cache
def snippets(scene: Scene) -> tuple[Snippet, ...]:
    """Return the marked lines of a scene's files, in the files' order.

    Raises ValueError: a file has no line for the scene, or a range has no end.
    """
    return tuple(Snippet(file, marked(file, scene.slug)) for file in scene.files)


def marked(file: str, slug: str) -> str:
    """Return the lines of a file that are marked for a scene; a blank line stands between two places."""
    ranges: list[str] = []
    lines: list[str] | None = None
    for line in (ROOT / file).read_text("utf-8").splitlines():
        mark = MARK.match(line)
        if mark and lines is not None:
            ranges.append(dedent("\n".join(lines)).strip("\n"))
        if mark:
            lines = [] if slug in mark[1].split() else None
        elif lines is not None:
            lines.append(line)
    if lines is not None:
        raise ValueError(f"{file}: the lines of the scene {slug!r} have no end. Add a line `scene: end` after them.")
    if not ranges:
        raise ValueError(f"{file}: no line `scene: {slug}`. Mark the lines that make the scene, or drop the file.")
    return "\n\n".join(ranges)
