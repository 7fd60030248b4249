from __future__ import annotations

from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on

using = inbox_on(*ALIASES)
"""Every database in turn, as the log's."""
