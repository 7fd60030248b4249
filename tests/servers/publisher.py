"""A process that sends when told to.

It reads one command a line, ``[name, {argument: value}]``, and answers each with one line, ``{"result": …}`` or
``{"error": …}``. The argument ``tenant`` says for which tenant it does it.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import sys
import traceback
from datetime import timedelta
from importlib import import_module
from typing import Any

import django

django.setup()

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user, logout
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

import livepush
from livepush import log, publish, streams, tenants, wire
from livepush.inbox import kinds, marking
from livepush.inbox.reading import Inbox
from livepush.models import Event, LogHead
from livepush.streams import writing  # noqa: F401 (an attribute of streams)

blocks: list[transaction.Atomic] = []


def send(groups: list[str] | str, type: str, data: Any, key: str | None = None, ephemeral: bool = False) -> None:
    livepush.send(groups, type, data, key=key, ephemeral=ephemeral)


def update(topics: list[str] | str, data: Any = "", **more: Any) -> str:
    """Send an update to Mercure's subscribers; return its id."""
    found: str = import_module("livepush.bridges.mercure").send_update(topics, data, **more)
    return found


def notify(to: str, title: str = "", kind: str = "", **more: Any) -> None:
    """Notify a user by name, a group by its own, or everyone."""
    recipient = User.objects.filter(username=to).first() or to
    livepush.notify(recipient, type(kinds.registry[kind]) if kind else title, **more)


def notify_users(title: str) -> None:
    """Notify all users, as a queryset."""
    livepush.notify(User.objects.all(), title)


def notify_many(to: str, titles: list[str]) -> None:
    """Notify a user of several things in one transaction."""
    with transaction.atomic():
        for title in titles:
            livepush.notify(User.objects.get(username=to), title)


def join(username: str, group: str) -> None:
    livepush.join(User.objects.get(username=username), group)


def leave(username: str, group: str) -> None:
    livepush.leave(User.objects.get(username=username), group)


def mark(username: str, action: str) -> None:
    """Mark everything, as another device would."""
    user = User.objects.get(username=username)
    marking.mark(user, marking.Action(action), upto=Inbox(user).position.number)


def send_many(groups: list[str] | str, type: str, count: int) -> None:
    """Send the numbers from 0 on in one transaction."""
    with transaction.atomic():
        for number in range(count):
            livepush.send(groups, type, number)


def send_each(groups: list[str] | str, type: str, count: int) -> None:
    """Send the numbers from 0 on, each by itself."""
    for number in range(count):
        livepush.send(groups, type, number)


def begin() -> None:
    block = transaction.atomic()
    block.__enter__()
    blocks.append(block)


def commit() -> None:
    blocks.pop().__exit__(None, None, None)


def rollback() -> None:
    transaction.set_rollback(True)
    blocks.pop().__exit__(None, None, None)


def modules() -> list[str]:
    """Return what this process has imported."""
    return sorted(sys.modules)


def session(username: str, **more: Any) -> str:
    user, _ = User.objects.get_or_create(username=username, defaults=more)
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return f"{settings.SESSION_COOKIE_NAME}={store.session_key}"


def pk(username: str) -> str:
    return str(User.objects.get(username=username).pk)


def key(**given: Any) -> str:
    """Make an API key."""
    from livepush.bridges.publishing.keys import create_key

    return create_key("tests", **given)


def change(username: str, what: str, **more: Any) -> None:
    """Change a user, or what the user may do."""
    user = User.objects.get(username=username)
    if what == "password":
        user.set_password("another")
        user.save()
    elif what == "inactive":
        user.is_active = False
        user.save(update_fields=["is_active"])
    elif what == "no longer of the staff":
        User.objects.filter(pk=user.pk).update(is_staff=False)
    elif what == "saved":
        user.save()
    elif what == "deleted":
        user.delete()
    elif what == "deleted as a set":
        User.objects.filter(pk=user.pk).delete()
    elif what == "inactive by SQL":
        User.objects.filter(pk=user.pk).update(is_active=False)
    elif what == "role given":
        user.groups.add(Group.objects.get_or_create(name=more["role"])[0])
    elif what == "role taken":
        user.groups.remove(Group.objects.get(name=more["role"]))
    elif what == "roles cleared":
        user.groups.clear()
    elif what == "role emptied":
        Group.objects.get(name=more["role"]).user_set.clear()
    elif what == "role deleted":
        Group.objects.get(name=more["role"]).delete()
    elif what == "role renamed":
        group = Group.objects.get(name=more["role"])
        group.name = "former"
        group.save()
    else:
        raise ValueError(what)


def end_session(cookie: str, how: str) -> None:
    """Log out, flush the session or delete its row."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(cookie.partition("=")[2])
    request.user = get_user(request)
    if how == "logout":
        logout(request)
    elif how == "flush":
        request.session.flush()
    else:
        request.session.delete()


def change_session(cookie: str) -> str:
    """Put something into a session; return its cookie, which may be another one then."""
    name, _, key = cookie.partition("=")
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    store["cart"] = 1
    store.save()
    return f"{name}={store.session_key}"


def renew_session(cookie: str) -> str:
    """Give a session another key, as Django does for one that an old secret key has signed; return its cookie."""
    name, _, key = cookie.partition("=")
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    store.cycle_key()
    store.save()
    return f"{name}={store.session_key}"


def expire_session(cookie: str, seconds: float) -> None:
    store = import_module(settings.SESSION_ENGINE).SessionStore(cookie.partition("=")[2])
    store.set_expiry(seconds)
    store.save()


def token(username: str, **more: Any) -> str:
    return livepush.token(User.objects.get(username=username), **more)


def revoke(username: str, groups: list[str] | str | None = None) -> None:
    livepush.revoke(username if username == livepush.everyone else User.objects.get(username=username), groups)


def recheck() -> None:
    livepush.recheck(livepush.everyone)


def nonsense(data: str) -> None:
    """Send a change of rights that livepush would not send."""
    publish.send_own(wire.RIGHTS, "livepush.rights", json.loads(data), "default")


def position() -> str:
    while log.state("default").waiting:
        publish.deliver("default")
    return str(log.state("default").position)


def rows(groups: list[str] | None = None) -> list[dict[str, Any]]:
    """Return settled events as the envelopes of a reader of these groups, in this order, should be; or of all."""
    epoch = LogHead.objects.get().epoch
    found: dict[int, dict[str, Any]] = {}
    names: dict[int, list[str]] = {}
    for event in Event.objects.filter(position__isnull=False).order_by("position", "id"):
        if groups is None or event.group in groups:
            names.setdefault(event.position, []).append(event.group)
            found[event.position] = {
                "id": f"{epoch}-{event.position}",
                "group": "",
                "type": event.type,
                "data": json.loads(event.data),
                "time": wire.timestamp(event.created),
                **({} if event.sender is None else {"from": json.loads(event.sender)}),
            }
    for position, envelope in found.items():
        mine = names[position] if groups is None else sorted(names[position], key=groups.index)
        envelope["group"] = mine[0]
        if len(mine) > 1:
            envelope["groups"] = mine
    return list(found.values())


def members(group: str) -> list[dict[str, Any]]:
    return [member._asdict() for member in livepush.members(group)]


def is_present(username: str, group: str) -> bool:
    return livepush.is_present(User.objects.get(username=username), group)


def forget(username: str) -> dict[str, int]:
    return livepush.forget(User.objects.get(username=username))


def rename(username: str, first_name: str) -> None:
    user = User.objects.get(username=username)
    user.first_name = first_name
    user.save()


def prune() -> int:
    """Delete everything that is in the log now."""
    return log.prune("default", timezone.now() + timedelta(seconds=1), 1_000_000)


written: dict[str, tuple[streams.writing.Opening, streams.writing.SyncStream]] = {}


def open_stream(group: str, **more: Any) -> str:
    """Open a stream; return its id."""
    opening = streams.open(group, **more)
    stream = opening.__enter__()
    written[stream.id] = (opening, stream)
    return stream.id


def write(stream: str, text: str = "", **more: Any) -> None:
    written[stream][1].write(text, **more)


def stop_requested(stream: str) -> bool:
    return written[stream][1].stop_requested


def finish(stream: str) -> None:
    written.pop(stream)[0].__exit__(None, None, None)


COMMANDS = {
    command.__name__: command
    for command in (
        send, send_many, send_each, notify, notify_users, notify_many, join, leave, mark, begin, commit, rollback,
        session, position, rows, prune, change, end_session, change_session,
        renew_session, expire_session, revoke, recheck, token,
        nonsense, pk, key, open_stream, write, stop_requested, finish, members, modules, is_present, forget, rename,
        update,
    )
}  # fmt: skip

if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            with tenants.active(arguments.pop("tenant", None)):
                answer = {"result": COMMANDS[name](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
