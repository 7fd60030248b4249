"""The table of what the bridges cost is true: nothing where they are off, and what it says where they are on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.servers.warm import ROOT
from tests.test_docs import rows

NAMES = {
    "HTTP publishing": "publishing",
    "Pusher": "pusher",
    "eventstream": "eventstream",
    "Mercure": "mercure",
    "GRIP": "grip",
    "Relays in": "relays",
    "Relays out": "relays",
    "Metrics": "metrics",
    "Traces": "tracing",
}
TABLES = {
    "publishing": {"models"},
    "metrics": {"models"},
    "pusher": {"models"},
    "relays": {"models", "forgetting"},
}
"""The bridges that have tables, and the modules that are always imported with them."""
COSTS = rows("bridges.md", "HTTP publishing")


@pytest.fixture(scope="module")
def measured():
    """What the benchmark tells of a process in which the packages that bridges need can't be imported at first."""
    words = [sys.executable, "-m", "benchmarks.bridges", "--events", "20", "--turns", "1", "--json"]
    found = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=300)
    return json.loads(found.stdout)


def test_the_page_lists_every_bridge_twice():
    rooms = {path.name for path in (ROOT / "livepush" / "bridges").iterdir() if (path / "__init__.py").exists()}
    assert set(NAMES.values()) == rooms
    listed = rows("bridges.md", "[HTTP publishing](publishing.md)")
    assert [row[0].partition("]")[0].strip("[") for row in listed] == [row[0] for row in COSTS] == list(NAMES)


@pytest.mark.long
@pytest.mark.parametrize("row", COSTS, ids=lambda row: NAMES[row[0]])
def test_a_bridge_that_is_off_imports_no_package_and_nothing_but_its_tables(row, measured):
    bridge = f"livepush.bridges.{NAMES[row[0]]}"
    own = {name for name in measured["imported"] if name == bridge or name.startswith(f"{bridge}.")}
    tables = TABLES.get(NAMES[row[0]])
    assert own == ({bridge, *(f"{bridge}.{name}" for name in tables)} if tables else set())
    packages = [name for name in measured["imported"] if not name.startswith("livepush.")]
    assert len(packages) == int(row[1])


@pytest.mark.long
@pytest.mark.parametrize("row", COSTS, ids=lambda row: NAMES[row[0]])
def test_a_bridge_costs_as_many_queries_and_bytes_as_the_page_says(row, measured):
    costs = measured["costs"]
    without = costs["none, and nothing that asks whether one is wanted"]
    for kind, queries, size in (("none", row[2], row[3]), (NAMES[row[0]], row[4], row[5])):
        found = costs[kind]
        # Now and then a hub settles an event before its sender does, or looks at the log.
        assert found["send"] - without["send"] == pytest.approx(int(queries), abs=0.4)
        assert found["delivery"] < 0.5
        assert found["page"] - without["page"] == int(size)
    assert costs["none, and no package that one needs"]["send"] == pytest.approx(without["send"], abs=0.4)
