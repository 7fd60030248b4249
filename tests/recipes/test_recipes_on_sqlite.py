"""Some recipes in the project that a reader of the quickstart has: on SQLite, as ``startproject`` sets it up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recipes.project import Project, running
from tests.recipes.test_recipe_pages import (
    test_a_card_moves_on_all_boards,
    test_a_chat_has_a_history_and_keeps_what_is_written_offline,
    test_all_pages_end_with_the_text_that_was_written_last,
    test_who_is_no_member_any_more_loses_the_page,
)

__all__ = [
    "test_a_card_moves_on_all_boards",
    "test_a_chat_has_a_history_and_keeps_what_is_written_offline",
    "test_all_pages_end_with_the_text_that_was_written_last",
    "test_who_is_no_member_any_more_loses_the_page",
]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with running(tmp_path_factory.mktemp("project"), None) as found:
        yield found
