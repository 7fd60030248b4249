"""The lines of code that make a scene, and the functions that they call, read from the files that run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

from demo_project.showcase.scenes import Scene

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^\s*(?:#|//|\{#)\s*scene:\s*([\w -]+?)\s*(?:#\})?\s*$")
NAME = re.compile(r"""(?<![\w."'])[^\W\d]\w*""")
MARK_LINE = re.compile(r"^[ \t]*(?:#|//)\s*scene:.*\n", re.MULTILINE)
FUNCTIONS = {
    ".js": re.compile(r"^(?:async )?function (\w+)\(.*?^\}$|^const (\w+) = [^\n]*=>.*?;$", re.MULTILINE | re.DOTALL),
    ".py": re.compile(r"^def (\w+)\(.*?(?=\n+^\S|\Z)", re.MULTILINE | re.DOTALL),
}
"""Matches the functions at the top level of a file; a group has the name."""


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


@cache
def called(scene: Scene) -> tuple[Snippet, ...]:
    """Return the functions of a scene's files that its lines name and don't show, in the files' order."""
    return tuple(Snippet(each.file, code) for each in snippets(scene) if (code := functions_of(each)))


def functions_of(snippet: Snippet) -> str:
    """Return the functions that a snippet's file defines and the snippet names without showing them."""
    names = set(NAME.findall(snippet.code))
    pattern = FUNCTIONS.get(Path(snippet.file).suffix)
    found = pattern.finditer((ROOT / snippet.file).read_text("utf-8")) if pattern else ()
    functions = {match[match.lastindex or 1]: MARK_LINE.sub("", match[0]).strip("\n") for match in found}
    named = [code for name, code in functions.items() if name in names]
    return "\n\n".join(code for code in named if code.splitlines()[0] not in snippet.code)


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
