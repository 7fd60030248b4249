"""Keeps tokens and signatures out of logs."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator, Mapping
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
            args = copy.copy(record.args)  # those of gunicorn and hypercorn find names in a way of their own
            args.update({name: _hidden(each) for name, each in record.args.items()})
            record.args = args
        elif isinstance(record.args, Mapping):
            record.args = _Hiding(record.args)
        elif record.args:
            record.args = tuple(map(_hidden, record.args))
        return True


class _Hiding(Mapping[str, Any]):
    """A mapping of another kind than dict, without tokens."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Any:
        return _hidden(self._found[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(dict(self))


def _hidden(value: Any) -> Any:
    return _TOKEN.sub(SHOWN, value) if isinstance(value, str) else value
