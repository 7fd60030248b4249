"""livepush works beside public packages: a project of each, with an environment of its own, plays its scenes."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.servers.fresh import ROOT

HERE = Path(__file__).parent
PACKAGES = {
    "drf": ["djangorestframework"],
    "oscar": ["django-oscar[sorl-thumbnail]", "factory-boy"],
    "wagtail": ["wagtail"],
}
"""The packages that each project installs beside livepush and uvicorn, in the versions of the day."""
QUICK = {"drf"}
"""The projects that ``make test`` plays too."""


class Project:
    """A project in a folder, with an environment of its own and a migrated database."""

    def __init__(self, name: str, folder: Path) -> None:
        self.place = HERE / name
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        run([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")])
        packages = [str(ROOT), "uvicorn", "websockets", *PACKAGES[name]]
        run([uv, "pip", "install", "--quiet", "--python", str(self.python), *packages])
        (folder / "made_migrations").mkdir()
        (folder / "made_migrations" / "__init__.py").touch()
        self.manage("makemigrations", "-v", "0")
        self.manage("migrate", "-v", "0", "--run-syncdb")
        shutil.copy(folder / "db.sqlite3", folder / "kept")

    @property
    def scenes(self) -> list[str]:
        """The names of its scenes: functions without arguments."""
        nodes = ast.parse((self.place / "scenes.py").read_text()).body
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef) and not node.args.args]
        return [node.name for node in functions if not node.name.startswith("_")]

    def manage(self, *words: str) -> str:
        """Run one of Django's commands."""
        return self._run("-m", "django", *words)

    def play(self, scene: str) -> str:
        """Play a scene on a fresh copy of the database; return what went wrong."""
        for path in self.folder.glob("db.sqlite3*"):
            path.unlink()
        shutil.copy(self.folder / "kept", self.folder / "db.sqlite3")
        try:
            self._run(str(HERE / "common.py"), scene)
        except AssertionError as error:
            return f"{scene}:\n{error}"
        return ""

    def _run(self, *words: str) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LIVEPUSH", "PYTHON"))}
        env |= {
            "PYTHONPATH": f"{self.place}:{HERE}:{self.folder}",
            "DJANGO_SETTINGS_MODULE": "settings",
            "LIVEPUSH_PROJECT_FOLDER": str(self.folder),
            "LIVEPUSH_TEST_PATIENCE": str(PATIENCE),
        }
        return run([str(self.python), *words], env=env, cwd=self.folder)


def run(command: list[str], **options: Any) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(1800)  # it installs packages
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in PACKAGES]
)
def test_a_project_plays_its_scenes(name: str, tmp_path: Path) -> None:
    project = Project(name, tmp_path)
    said = project.manage("check")
    assert "livepush." not in said, said
    wrong = [found for scene in project.scenes if (found := project.play(scene))]
    assert wrong == [], "\n".join(wrong)
