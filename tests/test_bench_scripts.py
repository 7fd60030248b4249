"""The programs that the benchmarks' scripts need, and their message if one is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs_blocks import ROOT


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("bench")


def test_the_benchmarks_run_on_the_python_that_runs_them_where_no_other_is_found(bench, monkeypatch):
    monkeypatch.setattr(bench, "find", lambda version: None)
    assert bench.newest_python() == Path(sys.executable)


def test_the_comparison_says_which_programs_are_missing(tmp_path):
    words = [sys.executable, ROOT / "scripts" / "compare.py", "--before", tmp_path]
    done = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "The benchmarks need cc and taskset: on Debian, gcc and util-linux.\n",
    )
