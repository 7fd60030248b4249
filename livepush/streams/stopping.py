"""Takes a stream's own StreamStopped out of an exception, and returns the rest."""

from __future__ import annotations

from livepush.exceptions import StreamStopped


def besides_stop(error: BaseException | None, stream: str) -> BaseException | None:
    """Return what code has raised besides a stream's own StreamStopped. A TaskGroup wraps that in a group."""

    def is_own(each: BaseException) -> bool:
        return isinstance(each, StreamStopped) and each.stream == stream

    if isinstance(error, BaseExceptionGroup):
        own, rest = error.split(is_own)
        return error if own is None else rest
    return None if error is None or is_own(error) else error


def is_done(error: BaseException | None, left: BaseException | None) -> bool:
    """Return whether a block ends quietly, as ``__exit__`` says it. Raise what is left of a group of exceptions."""
    if left is not None and left is not error:
        raise left
    return error is not None and left is None
