"""Keeps tokens and signatures out of logs."""

from __future__ import annotations

import logging
import re
from typing import Any

_TOKEN = re.compile(
    r"([?&](?:token|authorization|grip|auth_signature)=)[^&\s\"'#]+|(livepush\.token\.|\b(?=livepush_))[A-Za-z0-9_.%-]+"
)
SHOWN = r"\1\2***"


class HideTokens(logging.Filter):
    """Replaces tokens, and signatures of bridges, in log records: in the message and its arguments. All may pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _hidden(record.msg)
        if isinstance(record.args, dict):
            record.args = {name: _hidden(each) for name, each in record.args.items()}
        elif record.args:
            record.args = tuple(map(_hidden, record.args))
        return True


def _hidden(value: Any) -> Any:
    return _TOKEN.sub(SHOWN, value) if isinstance(value, str) else value
