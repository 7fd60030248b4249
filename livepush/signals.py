"""Django signals of the inbox, for receivers of the project's own.

Both are sent after the commit, by the process that did the work. If that process dies before it sends them, nobody
hears; the database is right all the same. A receiver that raises is logged by Django and stops no other.
"""

from __future__ import annotations

from django.dispatch import Signal

notified = Signal()
"""A notification is in the inbox of its audience.

Sent with ``notification``, the ``livepush.models.Notification``, and ``using``, the alias of its database. The sender
is the class ``Notification``. Once for each audience: a notification to everyone is one. Once more when another is
collapsed into it; ``notification.count`` says how many it stands for by then.
"""

marked = Signal()
"""A reader's notifications were marked as seen, read, unread, archived or unarchived, or the last of this was undone.

Sent with ``reader``, the user's primary key as text; ``action``, such as ``"read"``; ``numbers``, those of the
positions of single notifications, and ``upto``, that of the last of all up to one (each is ``None`` where the other
was asked for, both with ``"undo"``); ``category`` and ``tab``, which limited what was marked up to that position
(``""`` and ``"all"`` if nothing did); and ``using``, the alias of the database. The sender is the class ``InboxState``.
"""
