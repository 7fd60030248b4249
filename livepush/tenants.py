"""Tenants: ``LIVEPUSH["TENANT"]`` keeps the groups, inboxes and rules of a site's tenants apart.

All tenants share one log. In the log and the inbox's tables, and in the hubs, a group's name is ``tenant|group``; the
mark ``|`` can be in no name that a project or a client gives. Everywhere else a group has its own name alone: in
``send``, in rules, in requests and on the wire.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost, ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest

from livepush import wire
from livepush.cancelling import contained
from livepush.conf import get_settings, load
from livepush.exceptions import InvalidGroup
from livepush.notes import Rarely
from livepush.wire import Close, WireError

logger = logging.getLogger("livepush")
_failures = Rarely(every=1.0)

NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}", re.ASCII)
_active: ContextVar[str | None] = ContextVar("livepush.tenant", default=None)


class Tenants:
    """Names the tenant of a request, and that of the code that runs. Subclass it, and name the class in the setting.

    A tenant's name has 1 to 63 letters, digits and ``_-.``. ``None`` means that there is no tenant: then a client is
    refused, and nothing can be sent.
    """

    @property
    def shares_users(self) -> bool:
        """Whether a user, and an auth group, is the same in all tenants, as where one table holds all users."""
        return True

    def of_request(self, request: HttpRequest) -> str | None:
        """Return the tenant of a client's request. It runs in a thread, and may use the database.

        The request did not pass the project's middleware, except in a poll under WSGI.
        """
        raise NotImplementedError(f"{type(self).__name__} has no of_request(self, request).")

    def current(self) -> str | None:
        """Return the tenant of the code that runs, by default the one of the innermost ``activate``. Uses no database.

        livepush calls it with every send.
        """
        return _active.get()

    @contextmanager
    def activate(self, tenant: str) -> Iterator[None]:
        """Let a block of code run for a tenant, as livepush does with rules and with receivers of ``notified``."""
        token = _active.set(tenant)
        try:
            yield
        finally:
            _active.reset(token)


class DjangoTenants(Tenants):
    """The tenants of django-tenants: each has a schema, and its domain leads to it. ``livepush`` is a shared app."""

    @property
    def shares_users(self) -> bool:
        """Whether the user model's app is not one of ``TENANT_APPS``."""
        from django_tenants.utils import app_labels

        label = settings.AUTH_USER_MODEL.partition(".")[0]
        return label not in app_labels(getattr(settings, "TENANT_APPS", ()))

    def of_request(self, request: HttpRequest) -> str | None:
        """Return the schema's name: of the tenant that a middleware has put into the request, else of the domain's."""
        from django_tenants.utils import get_tenant_domain_model, remove_www

        known = getattr(request, "tenant", None)
        if known is not None:
            return str(known.schema_name)
        host = remove_www(request.get_host().split(":")[0].lower())
        domains = get_tenant_domain_model().objects.filter(domain=host)
        found: str | None = domains.values_list("tenant__schema_name", flat=True).first()
        return found

    def current(self) -> str | None:
        """Return the schema that is active on this thread's connection."""
        from django.db import connections
        from django_tenants.utils import get_tenant_database_alias

        return getattr(connections[get_tenant_database_alias()], "schema_name", None)

    @contextmanager
    def activate(self, tenant: str) -> Iterator[None]:
        """Activate a tenant's schema."""
        from django_tenants.utils import schema_context

        with schema_context(tenant):
            yield


@lru_cache(maxsize=1)
def hook() -> Tenants | None:
    """Return the project's tenants; ``None`` if it has none.

    Raises ImproperlyConfigured: the setting names no subclass of ``Tenants``.
    """
    given = get_settings().TENANT
    if not given:
        return None
    found = load("TENANT", given)
    if not (isinstance(found, type) and issubclass(found, Tenants)):
        raise ImproperlyConfigured(
            f"LIVEPUSH['TENANT'] is {given!r}, which is {found!r}: expected a subclass of livepush.tenants.Tenants."
        )
    return found()


def of_request(request: HttpRequest) -> str | None:
    """Return the tenant of a client's request; ``None`` in a project without tenants.

    Raises WireError: the request is no tenant's. Raises the database's errors.
    """
    known = hook()
    if known is None:
        return None
    try:
        with contained():
            name = known.of_request(request)
        if name is not None:
            return _checked(name)
    except (OperationalError, InterfaceError):
        raise
    except DisallowedHost:  # anybody can send any host, again and again
        pass
    except Exception:
        if times := _failures.times():
            logger.exception("The tenants of %d requests could not be found out, so their clients are refused.", times)
    raise WireError("no_tenant", "There is no site at this address.", 403, Close.FORBIDDEN)


def current() -> str | None:
    """Return the tenant of the code that runs; ``None`` in a project without tenants.

    Raises InvalidGroup: no tenant is active.
    """
    known = hook()
    if known is None:
        return None
    name = known.current()
    if name is None:
        raise InvalidGroup(
            "No tenant is active, so there is no telling whose group is meant: run this code for a tenant, "
            "with livepush.tenants.active(name) or as your project does."
        )
    return _checked(name)


def of_users() -> str | None:
    """Return the tenant whose users the project's users are now; ``None`` if they are the same for all tenants.

    Raises InvalidGroup: each tenant has users of its own, and no tenant is active.
    """
    known = hook()
    return None if known is None or known.shares_users else current()


def of_users_or_none() -> str | None:
    """Return the tenant whose users are meant now; ``None`` if they may be any tenant's, as where none is active."""
    with suppress(InvalidGroup):
        return of_users()
    return None


def active(tenant: str | None) -> AbstractContextManager[Any]:
    """Return a context in which code runs for a tenant; one that changes nothing for ``None``."""
    known = hook()
    return nullcontext() if tenant is None or known is None else known.activate(_checked(tenant))


def stored(name: str, tenant: str | None) -> str:
    """Return the name under which a tenant's group or reader is stored. livepush's own groups are no tenant's."""
    return name if tenant is None or name.startswith(wire.OWN_GROUPS) else f"{tenant}{wire.MARK}{name}"


def stored_checked(name: str, tenant: str | None) -> str:
    """Return the name under which a tenant's group is stored, to write it.

    Raises InvalidGroup: with the tenant's name before it, it is too long.
    """
    found = stored(name, tenant)
    if (extra := len(found) - wire.MAX_GROUP_LENGTH) > 0:
        most = len(name) - extra
        raise InvalidGroup(f"{name!r} is too long for a group of {tenant!r}: expected {most} characters at most.")
    return found


def can_store(name: str) -> bool:
    """Return whether a group's name is short enough for the active tenant, if there are tenants."""
    known = hook()
    return known is None or len(stored(name, known.current())) <= wire.MAX_GROUP_LENGTH


def stored_groups(names: Iterable[str], tenant: str | None) -> tuple[str, ...]:
    """Return the names under which a tenant's groups are stored."""
    return tuple(names) if tenant is None else tuple(stored(name, tenant) for name in names)


def of_stored(name: str) -> str | None:
    """Return the tenant of a stored name; ``None`` if it has none."""
    tenant, mark, _ = name.rpartition(wire.MARK)
    return tenant if mark else None


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidGroup(f"{name!r} names no tenant: expected 1 to 63 letters, digits and _-. such as 'acme'.")
    return name


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "LIVEPUSH":
        hook.cache_clear()


setting_changed.connect(_forget, dispatch_uid="livepush.tenants")
