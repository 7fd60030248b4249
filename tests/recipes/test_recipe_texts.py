"""What all recipes of the manual have in common."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs_blocks import RECIPES, blocks
from tests.recipes.project import APPS
from tests.test_docs import check_manage, check_settings

(INDEX,) = [page for page in RECIPES if page.name == "index.md"]
PAGES = [page for page in RECIPES if page != INDEX]
MAX_LINES = 40
each_recipe = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each_recipe
def test_a_recipe_is_short(page: Path) -> None:
    lines = [line for block in blocks(page) if block.file for line in block.text.split("\n") if line.strip()]
    assert 0 < len(lines) <= MAX_LINES


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
