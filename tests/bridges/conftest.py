from __future__ import annotations

from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on
from tests.integration.conftest import figures, own_postgresql

__all__ = ["figures", "own_postgresql", "using"]

using = inbox_on(*ALIASES)
"""Every database in turn, as the log's."""
