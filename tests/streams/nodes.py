"""The clients from npm that the tests read streams with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import npm

HERE = Path(__file__).parent / "node_clients"


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder with the clients from npm."""
    return npm.installed(HERE / "package.json", "stream-clients")
