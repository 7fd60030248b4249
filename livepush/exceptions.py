"""What livepush raises.

::

    LivepushError
    ├── InvalidEvent (also ValueError)   nothing was written; the message says what was wrong and what to do
    │   ├── InvalidGroup                 a group's name
    │   ├── InvalidType                  a type's name
    │   ├── InvalidKey                   an idempotency key
    │   ├── InvalidData                  data that JSON can't carry
    │   ├── EventTooLarge                data over LIVEPUSH["MAX_EVENT_BYTES"]
    │   ├── NotAtomic                    a transaction of another database is open
    │   └── InvalidNotification          a notification's text, address, level or kind
    ├── InvalidApiKey (also ValueError)  an API key that can't be made or changed
    ├── InvalidToken (also ValueError)   a token that can't be issued
    │   └── TokenTooSoon                 a revocation of the user waits: issue it after the commit, or try again
    ├── InvalidMark (also ValueError)    a mark that the inbox can't take; nothing was changed
    ├── InvalidRule (also ValueError)    a rule or a registration that can't work
    └── StreamError                      a stream that can't be written to
        ├── StreamStopped                a reader asked it to stop
        ├── StreamEnded                  it has ended
        ├── StreamLost                   others have ended or deleted it, or its process ends
        └── StreamNotStored              the database did not answer for too long
"""

from __future__ import annotations

__all__ = [
    "EventTooLarge",
    "InvalidApiKey",
    "InvalidData",
    "InvalidEvent",
    "InvalidGroup",
    "InvalidKey",
    "InvalidMark",
    "InvalidNotification",
    "InvalidRule",
    "InvalidToken",
    "InvalidType",
    "LivepushError",
    "NotAtomic",
    "StreamEnded",
    "StreamError",
    "StreamLost",
    "StreamNotStored",
    "StreamStopped",
    "TokenTooSoon",
]


class LivepushError(Exception):
    """Everything that livepush raises on purpose."""


class InvalidEvent(LivepushError, ValueError):
    """The event can't be sent; nothing was written."""


class InvalidGroup(InvalidEvent):
    """The group's name is malformed, or an instance has none of its own."""


class InvalidType(InvalidEvent):
    """The type's name is malformed or reserved."""


class InvalidKey(InvalidEvent):
    """The idempotency key is malformed."""


class InvalidData(InvalidEvent):
    """The data is not what JSON can carry."""


class EventTooLarge(InvalidEvent):
    """The data is over the size limit."""


class NotAtomic(InvalidEvent):
    """The caller's transaction is of another database than the log, so the event would not share its fate."""


class InvalidNotification(InvalidEvent):
    """The notification's text, address, level or kind can't be taken."""


class InvalidMark(LivepushError, ValueError):
    """The action can't be applied to these entries; nothing was changed."""


class InvalidRule(LivepushError, ValueError):
    """A rule or a registration in ``live.py`` can't work."""


class InvalidToken(LivepushError, ValueError):
    """The token can't be issued: for nobody, for too long, or for too many groups."""


class TokenTooSoon(InvalidToken):
    """The token can't be issued yet: the user was revoked in the open transaction or a moment ago."""


class StreamError(LivepushError):
    """A stream can't be written to. ``stream`` is its id if it is known."""

    def __init__(self, message: str = "", stream: str = "") -> None:
        super().__init__(message)
        self.stream = stream


class StreamStopped(StreamError):
    """A reader asked the stream to stop."""


class StreamEnded(StreamError):
    """The stream has ended."""


class StreamLost(StreamError):
    """Others have ended the stream: its process was taken for dead, or ends; or somebody has deleted it."""


class StreamNotStored(StreamError):
    """The stream could not be stored for a long time, and livepush goes on trying; or the database refused it."""


class InvalidApiKey(LivepushError, ValueError):
    """The API key can't be made, rotated or revoked: there is no such key, or it could do nothing."""
