from __future__ import annotations

from collections.abc import Iterator

import pytest

from livepush.streams import here
from tests.streams.nodes import node_clients  # noqa: F401 (a fixture)


@pytest.fixture
def streams_end(transactional_db: None) -> Iterator[None]:
    """Ends the streams of the test before the tables are emptied."""
    yield
    here.stop()
