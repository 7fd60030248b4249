"""pytest's fixtures for what was sent. pytest loads this in every project, so Django is imported by the fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from livepush.testing import Recording


@pytest.fixture
def livepush_events() -> Iterator[Recording]:
    """The events sent since the test began, in order, whenever it is looked at; see ``livepush.testing.Recording``."""
    from livepush.testing import Recording

    with Recording() as recording:
        yield recording


@pytest.fixture
def livepush_stop() -> Iterator[None]:
    """Ends livepush's hubs, threads and database connections after the test; see ``livepush.testing.stop_all``."""
    from livepush.testing import stop_all

    yield
    stop_all()
