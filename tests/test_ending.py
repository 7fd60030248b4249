"""A process's last work, as it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.scale import some
from tests.servers.fresh import ROOT

CODE = """
import multiprocessing.util
import time
from {package} import get_context
from livepush.ending import AtEnd

def last(seconds):
    print(name, "ends", seconds > 0, flush=True)
    time.sleep(seconds)

def begin():
    at_end.in_this_process()
    at_end.in_this_process()

def child():
    global name
    name = "child"
    begin()

name = "parent"
at_end = AtEnd(last, 0.5, priority=10)
begin()
process = get_context("fork").Process(target=child)
process.start()
process.join()
"""


@pytest.mark.parametrize("package", some(["multiprocessing", "billiard"]))
def test_a_child_does_its_last_work_once_and_the_parent_takes_no_longer_than_it_may(package):
    pytest.importorskip(package)
    code = CODE.format(package=package)
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.splitlines() == ["child ends True", "parent ends True", "parent ends False"], said.stderr
