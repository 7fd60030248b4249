"""Makes the sources of the documentation site from the manual, which stays plain Markdown.

    python -m scripts.site.prepare FOLDER

The copy differs from ``docs`` in what only the site can use: the names of files stand above their blocks, links to
files outside ``docs`` lead to the repository, the index becomes the site's navigation, and there is a page of the API.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HOME = "https://github.com/livepush/django-livepush/blob/main/"
LEXERS = {"html": "html+django", "mjs": "javascript", "jsx": "text", "eventstream": "text", "vcl": "text",
          "haproxy": "text", "caddy": "text", "log": "text"}  # fmt: skip
"""Languages that Pygments calls otherwise, or does not know."""
API = {
    "livepush": "Sending, rules, notifications",
    "livepush.streams": "Streams",
    "livepush.testing": "Testing",
    "livepush.exceptions": "Exceptions",
    "livepush.signals": "Signals",
    "livepush.inbox.reading": "Reading the inbox",
    "livepush.inbox.marking": "Marking notifications",
    "livepush.tenants": "Tenants",
    "livepush.routing": "Routing",
}
"""The modules of the public API, each with the title of its section."""
EVERYONE = """.. py:data:: livepush.everyone

   The recipient that stands for every user. One row is written for all of them.
"""
"""A value has no docstring that Sphinx could find."""

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^(?:<!-- file: (\S+) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_THEN = re.compile(r"^<!-- then:.*?-->\n", re.DOTALL | re.MULTILINE)
_SECTION = re.compile(r"^\*\*(.+?)\.\*\*", re.MULTILINE)


def main() -> None:
    (target,) = map(Path, sys.argv[1:])
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(DOCS, target)
    for page in sorted(target.rglob("*.md")):
        original = DOCS / page.relative_to(target)
        page.write_text(rewritten(page.read_text(), original))
    index = target / "index.md"
    index.write_text(index.read_text() + navigation(index.read_text(), api=True))
    recipes = target / "recipes" / "index.md"
    recipes.write_text(recipes.read_text() + navigation(recipes.read_text()))
    (target / "api.md").write_text(api())


def rewritten(text: str, original: Path) -> str:
    """Return a page's text as the site takes it."""
    text = _BLOCK.sub(block, _THEN.sub("", text))
    return _LINK.sub(lambda link: f"]({destination(link[1], original)})", text)


def block(found: re.Match[str]) -> str:
    """Return a fenced block with the name of its file, and a language that Pygments knows."""
    file, language, text = found.groups()
    caption = f":caption: {file}\n" if file else ""
    return f"```{{code-block}} {LEXERS.get(language, language)}\n{caption}\n{text}```"


def destination(link: str, original: Path) -> str:
    """Return where a link leads in the site: to the repository, if its file is not in ``docs``."""
    path, mark, anchor = link.partition("#")
    if not path or "://" in link or path.startswith("mailto:"):
        return link
    file = (original.parent / path).resolve()
    if file.is_relative_to(DOCS):
        return link
    return HOME + file.relative_to(ROOT).as_posix() + mark + anchor


def navigation(index: str, api: bool = False) -> str:
    """Return a list of an index's pages for the site's sidebar, with the index's own sections."""
    parts = _SECTION.split(index)[1:]
    found = ""
    for caption, text in zip(parts[::2], parts[1::2], strict=True):
        pages = [link for link in _LINK.findall(text) if not link.startswith("..") and link.endswith(".md")]
        pages += ["api.md"] if api and caption == "Reference" else []
        entries = "\n".join(pages)
        found += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"
    return found


def api() -> str:
    """Return the page of the API, which Sphinx fills from the docstrings."""
    sections = [
        f"## {title}\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n" for module, title in API.items()
    ]
    sections.insert(1, f"```{{eval-rst}}\n{EVERYONE}```\n")
    return "# Python API\n\nAll public names, with their docstrings.\n\n" + "\n".join(sections)


if __name__ == "__main__":
    main()
