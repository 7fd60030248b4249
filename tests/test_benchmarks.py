"""The benchmarks import what there is: many do so only as they run, long after a module has moved."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def imported(path: Path) -> set[tuple[str, str]]:
    """Return the names that a file imports of livepush and of the tests, each with its module."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in found if (node.module or "").partition(".")[0] in ("livepush", "tests")]
    return {(node.module or "", alias.name) for node in ours for alias in node.names}


def is_there(module: str, name: str) -> bool:
    if hasattr(import_module(module), name):
        return True
    try:
        return bool(import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("file", [path for path in FILES if imported(path)], ids=lambda path: path.stem)
def test_a_benchmark_imports_what_there_is(file):
    wanted = {each for each in imported(file) if each != ("tests.settings", "*")}
    assert {f"{module}.{name}" for module, name in wanted if not is_there(module, name)} == set()
