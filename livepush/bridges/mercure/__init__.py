"""The Mercure protocol on livepush's log: for publishers and subscribers that know a Mercure hub.

::

    from livepush.bridges import mercure

    mercure.send_update("https://example.com/books/1", {"title": "Dune"}, private=True)

A view adds ``mercure.add_link`` and ``mercure.set_cookie`` to a response, so that its page finds the hub and may read.
``docs/mercure.md`` shows how to mount it.
"""

from __future__ import annotations

from livepush.bridges.mercure.discovery import add_link, last_event_id, set_cookie
from livepush.bridges.mercure.tokens import make_token
from livepush.bridges.mercure.updates import asend_update, send_update

__all__ = ["add_link", "asend_update", "last_event_id", "make_token", "send_update", "set_cookie"]
