"""``notify`` and ``anotify``: check a notification and send it as one event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Model
from django.utils.functional import Promise

from livepush import publish
from livepush.exceptions import InvalidNotification
from livepush.inbox import kinds
from livepush.inbox.links import check_link, check_text, safe
from livepush.inbox.models import Level
from livepush.inbox.recipients import Recipients, audience_of_members, audiences_of, everyone
from livepush.keys import key_of

NOTIFICATION_TYPE = "inbox.notification"
"""The type of the event that a notification travels as."""
CHUNK = 10_000
"""The largest number of audiences in one send. More recipients, as from a queryset, take several sends."""
MAX_CATEGORY, MAX_COLLAPSE = 50, 100


@publish.has_async_twin
def notify(
    recipients: Recipients,
    title: str | type[kinds.NotificationType],
    *,
    body: str = "",
    url: str = "",
    icon: str = "",
    level: str = "",
    category: str = "",
    actor: Any = None,
    target: Any = None,
    collapse: str = "",
    data: Mapping[str, Any] | None = None,
    key: str | None = None,
    using: str | None = None,
) -> None:
    """Notify users: an entry in the inbox of each, live where a page is open, when the caller's transaction commits.

    ``recipients`` is a user, a queryset of users, an auth ``Group``, a livepush group whose members are meant,
    ``livepush.everyone``, or a list of these. A user who is addressed twice gets the notification once. One row is
    written for each user, for each group, and for everyone. ``title`` is plain text, or a registered kind, which then
    provides text and address. ``body`` is more text. The inbox can be filtered by ``category`` (50 characters at most).
    ``url`` is a path or a web address, ``icon`` the address of a picture, and ``level`` is ``"info"``, ``"success"``,
    ``"warning"`` or ``"error"``. ``actor`` and ``target`` are model instances or texts. Their names and addresses are
    stored as they are now. If the inbox has an entry with the same ``collapse`` key (100 characters at most), that
    entry becomes the new one, moves up, and counts one more (a kind has ``ctx.count`` and ``ctx.actors``). A kind uses
    ``data`` for its wording. All of this reaches the readers' browsers. If several notifications to one audience (a
    user, a group, everyone) have the same ``key``, only the first is delivered, as long as the log retains it.
    ``using`` is the database alias to write to, ``LIVEPUSH["DATABASE"]`` by default. Choose the database of the
    transaction that the notification belongs to.

    Raises InvalidNotification, InvalidGroup or another InvalidEvent before anything is written, and the database's own
    errors. A queryset that is empty notifies nobody.
    """
    names = list(dict.fromkeys(audiences_of(recipients)))
    if audience_of_members("everyone") in names:
        raise InvalidNotification(
            "'everyone' is a text, which names a group: to notify all users, use livepush.everyone."
        )
    if everyone in names:
        names = [everyone]
    content = _content(title, body, url, icon, level, category, actor, target, collapse, data)
    using = publish.log_of(using)
    if len(names) <= CHUNK:
        _send(names, content, key, using)
        return
    with transaction.atomic(using=using):
        for start in range(0, len(names), CHUNK):
            _send(names[start : start + CHUNK], content, key, using)


async def anotify(
    recipients: Recipients,
    title: str | type[kinds.NotificationType],
    *,
    body: str = "",
    url: str = "",
    icon: str = "",
    level: str = "",
    category: str = "",
    actor: Any = None,
    target: Any = None,
    collapse: str = "",
    data: Mapping[str, Any] | None = None,
    key: str | None = None,
    using: str | None = None,
) -> None:
    """Notify from async code; see ``notify``."""
    await sync_to_async(publish.on_good_connections)(
        notify, recipients, title, body=body, url=url, icon=icon, level=level, category=category, actor=actor,
        target=target, collapse=collapse, data=data, key=key, using=using,
    )  # fmt: skip


def _send(names: list[str], content: dict[str, Any], key: str | None, using: str) -> None:
    if names:
        publish.send_own(names, NOTIFICATION_TYPE, content, using, key)


def _content(
    title: Any,
    body: Any,
    url: Any,
    icon: Any,
    level: str,
    category: str,
    actor: Any,
    target: Any,
    collapse: str,
    data: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Check the parts of a notification; return the event's data without empty values."""
    if data is not None and not isinstance(data, Mapping):
        raise InvalidNotification(f"data is {data!r}: expected a dict, such as {{'order': 7}}.")
    who, what, given = _snapshot(actor), _snapshot(target), json.loads(publish.as_json(dict(data or {})))
    kind = _kind(title)
    if kind is not None:
        if body or url:
            raise InvalidNotification(f"{kind.key!r} says its text and address itself: drop body= and url=.")
        context = kinds.Context(who, (who,) if who else (), 1, what, given)
        said = kinds.wording(kind, context)
        title, body, url = said.title, said.body, said.url
        icon, level, category = icon or kind.icon, level or kind.level, category or kind.category
    elif what and not url:
        url = what.url
    content: dict[str, Any] = {
        "key": kind.key if kind else "",
        "title": check_text("title", title),
        "body": check_text("body", body),
        "url": check_link("url", url),
        "icon": check_link("icon", icon),
        "level": level or Level.INFO.value,
        "category": check_text("category", category, MAX_CATEGORY),
        "collapse": check_text("collapse", collapse, MAX_COLLAPSE),
        "lang": kinds.language() if kind else "",
        "actor": who and _stored(who),
        "target": what and _stored(what),
        "data": given,
    }
    if content["level"] not in Level.values:
        raise InvalidNotification(f"level is {level!r}: expected one of {', '.join(Level.values)}.")
    if not content["title"].strip():
        raise InvalidNotification("The title is empty: say in one line what happened.")
    return _filled(content)


def _kind(title: Any) -> kinds.NotificationType | None:
    if isinstance(title, str | Promise):
        return None
    kind = kinds.registry.get(getattr(title, "key", ""))
    if kind is None or not isinstance(title, type) or not isinstance(kind, title):
        raise InvalidNotification(
            f"{title!r} is neither a text nor a registered kind: put @livepush.notification above its class."
        )
    return kind


def _snapshot(thing: Any) -> kinds.Snapshot | None:
    """Return the stored form of an actor or a target."""
    if thing is None or thing == "":
        return None
    if isinstance(thing, kinds.Snapshot):
        return thing
    if not isinstance(thing, Model):
        return kinds.Snapshot(check_text("actor or target", thing))
    name = thing.get_full_name() if hasattr(thing, "get_full_name") else ""
    url = str(thing.get_absolute_url() or "") if hasattr(thing, "get_absolute_url") else ""
    root = publish.root_model(thing)
    return kinds.Snapshot(
        check_text("actor or target", name or str(thing)),
        str(key_of(thing, root)),
        root._meta.label_lower,
        safe(url),
    )


def _stored(thing: kinds.Snapshot) -> dict[str, Any]:
    """Return what is stored of an actor or a target: its name, though it is empty, and what else there is."""
    return {"name": thing.name, **_filled(asdict(thing))}


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}
