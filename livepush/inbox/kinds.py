"""Kinds of notifications, whose wording is made for each reader, in the reader's language, when it is read."""

from __future__ import annotations

import inspect
import logging
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from django.utils import translation

from livepush import wire
from livepush.access.patterns import origin
from livepush.cancelling import contained
from livepush.exceptions import InvalidRule
from livepush.inbox.links import check_link, check_text, is_safe, safe
from livepush.inbox.models import Level, Notification

logger = logging.getLogger("livepush")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The stored form of an actor or a target. It stays the same when the row changes or is deleted.

    Raises InvalidNotification: a value that is no text, or an address that is neither a path nor a web address.
    """

    name: str
    """Its text when the notification was sent: a user's full name, else ``str()`` of it."""
    id: str = ""
    """Its primary key, as text."""
    model: str = ""
    """Its model, e.g. ``shop.order``; of a proxy or a multi-table child the model whose row it is."""
    url: str = ""
    """Its ``get_absolute_url()`` when the notification was sent."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_text(f"The {name} of a Snapshot", value)
        check_link("The url of a Snapshot", self.url)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Context:
    """What a kind makes its wording from."""

    actor: Snapshot | None = None
    """The actor; if several notifications were collapsed, the last one."""
    actors: tuple[Snapshot, ...] = ()
    """All actors, the last one first, each once."""
    count: int = 1
    """How many notifications were collapsed into this one."""
    target: Snapshot | None = None
    """The target, such as the order that the notification is about."""
    data: dict[str, Any] = field(default_factory=dict)
    """What was given as ``data`` to ``notify``, as JSON brought it back."""


class NotificationType:
    """A kind of notification: one class for all of them, registered in ``live.py``::

        @livepush.notification
        class OrderShipped(livepush.NotificationType):
            key = "order.shipped"
            category = "orders"

            def title(self, ctx):
                return _("Order %(code)s was shipped") % ctx.data

    livepush calls the methods when a notification is sent, to find mistakes, and whenever one is read.
    """

    key: str = ""
    """The kind's name, which is stored: 1 to 100 of letters, digits and ``_-.:``."""
    category: str = ""
    """The category by which the inbox can be filtered: 50 characters at most."""
    level: str = Level.INFO
    """``"info"``, ``"success"``, ``"warning"`` or ``"error"``."""
    icon: str = ""
    """The address of a picture."""

    def title(self, ctx: Context) -> str:
        """Return the line that says what happened."""
        raise NotImplementedError(f"{type(self).__name__} has no title(self, ctx).")

    def body(self, ctx: Context) -> str:
        """Return more text; none by default."""
        return ""

    def url(self, ctx: Context) -> str:
        """Return where it leads; by default to its target."""
        return ctx.target.url if ctx.target else ""


Kind = TypeVar("Kind", bound=type[NotificationType])
registry: dict[str, NotificationType] = {}


def notification(kind: Kind) -> Kind:
    """Register a kind of notification, in an app's ``live.py``.

    Raises InvalidRule: no ``NotificationType``, a malformed key, a key that another kind has, no title, or a wording
    that is no method.
    """
    if not (inspect.isclass(kind) and issubclass(kind, NotificationType)):
        raise InvalidRule(f"{kind!r} is not a kind of notification: expected a subclass of NotificationType.")
    if not (isinstance(kind.key, str) and wire.TYPE.fullmatch(kind.key)):
        raise InvalidRule(f"{kind.__name__}.key is {kind.key!r}: expected something like 'order.shipped'.")
    if kind.title is NotificationType.title:
        raise InvalidRule(f"{kind.__name__} has no title(self, ctx), which says what happened: add it.")
    if kind.level not in Level.values:
        raise InvalidRule(f"{kind.__name__}.level is {kind.level!r}: expected one of {', '.join(Level.values)}.")
    for name in ("title", "body", "url"):
        if not callable(getattr(kind, name)):
            raise InvalidRule(
                f"{kind.__name__}.{name} is {getattr(kind, name)!r}: expected a method, {name}(self, ctx), which "
                "returns it."
            )
    known = registry.get(kind.key)
    if known is not None and origin(type(known)) != origin(kind):
        raise InvalidRule(f"{kind.key!r} is the key of {type(known).__name__} already: choose another for this kind.")
    registry[kind.key] = kind()
    return kind


@dataclass(frozen=True, slots=True)
class Wording:
    """What a reader is shown."""

    title: str
    body: str
    url: str


def wording(kind: NotificationType, context: Context) -> Wording:
    """Return a kind's wording in the language that is active. Raises what the kind raises, as ``contained`` has it."""
    with contained():
        return Wording(str(kind.title(context)), str(kind.body(context)), str(kind.url(context)))


def read(notification: Notification) -> Wording:
    """Return a notification's wording in the language that is active.

    If its kind is gone or raises, this is the wording that was sent.
    """
    stored = Wording(notification.title, notification.body, safe(notification.url))
    kind = registry.get(notification.key)
    if kind is None:
        return stored
    try:
        found = wording(kind, context_of(notification))
    except Exception:
        logger.exception("The kind %r raised, so its notification is shown as it was sent.", notification.key)
        return stored
    return Wording(found.title.strip() or stored.title, found.body, found.url if is_safe(found.url) else stored.url)


def context_of(notification: Notification) -> Context:
    """Return what a kind has to make its wording of."""
    details = notification.details
    actors = tuple(Snapshot(**actor) for actor in notification.people)
    target = Snapshot(**details["target"]) if details.get("target") else None
    return Context(actors[0] if actors else None, actors, notification.count, target, details.get("data") or {})


def language() -> str:
    """Return the language that is active, as HTML names it."""
    return translation.get_language() or ""
