"""Django signals, for receivers of the project's own. A receiver that raises is logged by Django and stops no other.

Those of the inbox, ``notified`` and ``marked``, are sent after the commit, by the process that did the work. If that
process dies before it sends them, nobody hears; the database is right all the same.

The others tell what clients do, for an audit. Their sender is ``None``, and each has these arguments:

- ``user``, who it is, or ``None`` if that is not known;
- ``tenant``, the name of the tenant, or ``None`` in a project without tenants;
- ``transport``: ``"sse"``, ``"websocket"`` or ``"poll"``; ``"send"``, ``"token"``, ``"presence"``, ``"stream"`` or
  ``"publish"`` for the endpoint of that name; ``"pusher"``, ``"mercure"`` or ``"eventstream"`` for their clients;
  or ``"ws"`` for a WebSocket that Pushpin holds;
- ``address``, from which the client comes as far as ``TRUSTED_PROXIES`` tell: without them that of the server's peer,
  which may be a proxy's; ``None`` over a Unix socket;
- ``groups``, a tuple of names, and what each signal says below.

Their receivers, sync or async, run one after another in a thread of their own, in the order in which things happened.
However slow they are, no client waits for them. Waiting signals take at most 32 MiB; those above that are left
out, and the log says how much it was.
"""

from __future__ import annotations

from django.dispatch import Signal

notified = Signal()
"""A notification is in the inbox of its audience.

Sent with ``notification``, the ``livepush.inbox.models.Notification``, and ``using``, the alias of its database. The
sender is the class ``Notification``. Once for each audience: a notification to everyone is one. Once more when another
is collapsed into it; ``notification.count`` says how many it stands for by then.
"""

marked = Signal()
"""A reader's notifications were marked as seen, read, unread, archived or unarchived, or the last of this was undone.

Sent with ``reader``, the user's primary key as text, after the tenant's name if there are tenants (``acme|7``);
``action``, such as ``"read"``; ``numbers``, those of the positions of single notifications, and ``upto``, that of the
last of all up to one (each is ``None`` where the other was asked for, both with ``"undo"``); ``category`` and ``tab``,
which limited what was marked up to that position (``""`` and ``"all"`` if nothing did); and ``using``, the alias of the
database. The sender is the class ``InboxState``.
"""

connected = Signal()
"""A stream of a client has opened (SSE or WebSocket; polls are over at once).

Sent with ``groups``, those that it reads, and ``refused``, those that it asked for and may not read.
"""

disconnected = Signal()
"""A stream has ended: once for each ``connected``, unless the process was killed.

Sent with ``groups``, those that it had at first; ``seconds``, how long it was open; and ``reason``: ``"gone"`` (the
client left), ``"slow"``, ``"drain"`` (the server sent it away: it ends, or the stream was old), ``"revoked"``,
``"too large"``, ``"failed"``; or what it did wrong as the name of the close code, such as ``"too many"``.
"""

denied = Signal()
"""A client was refused for who it is or where it comes from: a connection, a poll, a command or a token.

Sent with ``groups``, those that it asked for; ``type``, that of the message that it wanted to send, else ``None``;
``code``, that of the answer, such as ``"forbidden"``, ``"bad_token"`` or ``"bad_origin"``; and ``status``, the HTTP
status with that meaning.
"""

revoked = Signal()
"""Groups were taken away from an open stream or a held poll.

Sent with ``groups``, those that were taken away, and ``reason``, as the client hears it, such as ``"logout"``. ``user``
is who it was.
"""

throttled = Signal()
"""A client was refused with the code ``"throttled"``: it is over a limit of rate or number.

A client that asks for too many groups gets another code, ``"too_many_groups"``, and no signal tells of it.

Sent with ``groups``, those that it asked for; ``limit``, of what there was too much, such as ``"connections of one
user"``; and ``retry``, after how many seconds the client is told to come back.
"""
