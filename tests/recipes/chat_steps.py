"""The chat after the steps of "Add who is here and who is typing", as an app of its own beside the chat's."""

from __future__ import annotations

import re

from tests.docs_blocks import RECIPES, ROOT, blocks

APP = "chat_together"
(CHAT,) = [page for page in RECIPES if page.stem == "chat"]


def files() -> dict[str, str]:
    """Return the app's files by their paths in the project."""
    found = {block.file: block.text for block in blocks(CHAT) if block.file}
    _presence, live, pattern, _can_read = step(1)
    _typing, allowed = step(3)
    rule = shown("presence.md", "@livepush.presence(").replace("lobby:<slug:name>", pattern)
    found[live] = replaced(found[live], f'@livepush.can_send("{pattern}")', allowed) + f"\n\n{rule}"
    page = "chat/templates/chat/room.html"
    found[page] = with_who_types(with_who_is_here(found[page]))
    return {renamed(name): renamed(text) for name, text in found.items()}


def with_who_is_here(page: str) -> str:
    tag, before = step(2)
    return replaced(page, before, before + tag)


def with_who_types(page: str) -> str:
    line, me, _form = step(4)
    script, group, example, clear, _said = step(5)
    page = replaced(page, '<form id="write">', f'{line}<form id="write" {me}>')
    listener = '"livepush:event:said", ({ detail: { from, data } }) => {\n'
    page = replaced(page, listener, f"{listener}{clear}\n")
    code = shown("messages.md", 'const field = document.querySelector("#write input");').replace(example, group)
    return f"{page}{script}\n{code}</script>\n"


def step(number: int) -> list[str]:
    """Return the code that a step names; those of both lists are counted through."""
    steps = re.findall(r"^\d\. .*?(?=^\d\. |\n\n)", CHAT.read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", steps[number - 1])


def shown(page: str, beginning: str) -> str:
    """Return what a page of the manual shows, from a beginning to the end of the block."""
    text = next(block.text for block in blocks(ROOT / "docs" / page) if beginning in block.text)
    return text[text.index(beginning) :]


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"expected once: {old}"
    return text.replace(old, new)


def renamed(text: str) -> str:
    """Give the app a folder, templates, groups and a model that are not the chat's."""
    text = re.sub(r"\bMessage\b", "Remark", text)  # else both would be the author's message_set
    text = text.replace("templates/chat/", f"templates/{APP}/").replace('"chat/', f'"{APP}/')
    return re.sub(r"^(from )?chat(?=[./])", rf"\1{APP}", text, flags=re.MULTILINE).replace("room:", "together:")
