"""The demo's scenes: what their pages say about their code is true, short, and links into the manual."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from demo_project.parcels import pace
from demo_project.showcase import manual
from demo_project.showcase.scenes import SCENES, Scene, scene
from demo_project.showcase.snippets import ROOT, called, marked, snippets

LONGEST = 10


def sids(scene: Scene) -> str:
    return scene.slug


def stripped(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("scene", SCENES, ids=sids)
def test_the_code_that_a_scene_shows_is_the_code_that_runs(scene: Scene) -> None:
    for snippet in snippets(scene):
        lines = iter(stripped((ROOT / snippet.file).read_text("utf-8")))
        assert all(line in lines for line in stripped(snippet.code)), f"{snippet.file} differs"


@pytest.mark.parametrize("scene", SCENES, ids=sids)
def test_a_scene_shows_ten_lines_at_most_and_no_marks(scene: Scene) -> None:
    code = "\n".join(snippet.code for snippet in snippets(scene))
    assert 0 < len(stripped(code)) <= LONGEST
    assert "scene:" not in code


@pytest.mark.parametrize("scene", SCENES, ids=sids)
def test_a_scene_shows_the_functions_that_its_lines_call(scene: Scene) -> None:
    functions = {snippet.file: snippet.code for snippet in called(scene)}
    for snippet in snippets(scene):
        text = (ROOT / snippet.file).read_text("utf-8")
        shown = f"{snippet.code}\n{functions.get(snippet.file, '')}"
        for name in re.findall(r"(?<![.\"\w])[a-zA-Z]\w+", snippet.code):
            for line in re.findall(rf"^(?:(?:async )?function|def) {name}\(.*$", text, re.MULTILINE):
                assert line in shown, f"{snippet.file} hides {name}()"


def test_the_functions_are_shown_whole_and_without_marks() -> None:
    board = called(scene("board"))
    assert [snippet.file for snippet in board] == ["demo_project/static/demo/board.js"]
    assert board[0].code.startswith("const change = mover(")
    assert "\n\nfunction place(parcel) {\n" in board[0].code
    assert board[0].code.endswith("\n  count();\n}")
    assert "scene:" not in "".join(snippet.code for each in SCENES for snippet in called(each))


def test_the_simulated_day_notifies_a_customer_once_in_a_while_and_a_visitor_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter((100.0, 101.0, 101.0, 119.0, 120.0))
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with pace.simulated():
        assert [pace.may_notify(customer) for customer in (-1, -1, -2, -1, -1)] == [True, False, True, False, True]
    assert all(pace.may_notify(-1) for _ in range(3))


@pytest.mark.parametrize("scene", SCENES, ids=sids)
def test_a_scenes_link_into_the_manual_leads_to_a_heading(scene: Scene) -> None:
    page, _, anchor = scene.manual.partition("#")
    _title, html = manual.page(page)
    assert not anchor or f'id="{anchor}"' in html


@pytest.mark.parametrize("scene", SCENES, ids=sids)
def test_a_scene_has_a_picture(scene: Scene) -> None:
    assert (ROOT / "templates" / scene.picture).read_text("utf-8").startswith("<svg ")


def test_a_file_without_a_mark_and_a_range_without_an_end_are_named() -> None:
    with pytest.raises(ValueError, match="no line `scene: nothing`"):
        marked("manage.py", "nothing")
    with pytest.raises(ValueError, match="have no end"):
        marked("tests/test_demo_scenes.py", "endless")


@pytest.mark.parametrize("name", sorted(manual.names()))
def test_the_manuals_links_within_the_demo_lead_to_headings(name: str) -> None:
    _title, html = manual.page(name)
    for page, anchor in re.findall(r'href="(?:/manual/([\w/-]+)/)?#([\w-]+)"', html):
        assert f'id="{anchor}"' in manual.page(page or name)[1], f"{name}: {page}#{anchor}"


def test_the_manual_names_the_file_of_each_code() -> None:
    _title, html = manual.page("recipes/chat")
    assert re.search(r"<p><code>chat/models\.py</code></p>\s*<pre", html)


def test_the_list_of_the_manuals_pages_has_each_page_once() -> None:
    listed = [name for _part, pages in manual.parts() for name, _title in pages]
    assert sorted(listed) == sorted(manual.names() - {"index"})


# scene: endless
