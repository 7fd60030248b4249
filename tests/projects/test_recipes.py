"""The manual's authenticators let the clients of other packages in, with a user model whose key is a UUID."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs_blocks import blocks
from tests.patience import PATIENCE
from tests.projects.test_projects import HERE, run
from tests.servers.fresh import ROOT

PLACE = HERE / "recipes"
PAGE = ROOT / "docs" / "security.md"
SETTINGS = "mysite/settings.py"


def written(folder: Path) -> None:
    """Write down what the manual shows: the project's authenticators and rules, and the settings that name them."""
    (folder / "mysite").mkdir()
    (folder / "mysite" / "__init__.py").touch()
    found = list(blocks(PAGE))
    for name in ("mysite/authenticators.py", "mysite/live.py"):
        (folder / name).write_text("\n".join(block.text for block in found if block.file == name))
    (settings,) = [block.text for block in found if block.file == SETTINGS and "mysite.authenticators" in block.text]
    (folder / "recipe_settings.py").write_text(settings)


def of_project(folder: Path) -> Callable[..., str]:
    """Return what runs a program in the project."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LIVEPUSH", "PYTHON"))}
    env |= {
        "PYTHONPATH": f"{PLACE}:{HERE}:{folder}:{ROOT}",
        "DJANGO_SETTINGS_MODULE": "settings",
        "LIVEPUSH_PROJECT_FOLDER": str(folder),
        "LIVEPUSH_TEST_PATIENCE": str(PATIENCE),
    }
    return lambda *words: run([sys.executable, *words], env=env, cwd=folder)


@pytest.mark.long
def test_each_package_s_tokens_let_a_client_in_and_end(tmp_path: Path) -> None:
    written(tmp_path)
    python = of_project(tmp_path)
    python("-m", "django", "migrate", "-v", "0")
    assert "livepush." not in python("-m", "django", "check")
    python(str(HERE / "common.py"), "each_way_reads_a_stream_and_the_inbox")
