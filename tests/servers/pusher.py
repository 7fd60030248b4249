"""The tests' site with the addresses of Pusher's protocol, and a presence rule and a handler for its channels."""

from __future__ import annotations

import os
from collections import Counter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
from tests.asgi import application  # isort: skip (it sets Django up, which livepush's modules need)

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.urls import include, path

import livepush
from tests import urls


@livepush.can_send("lobby:<slug:name>", types=("client-typing",))
@livepush.can_send("room:<str:name>", types=("client-typing", "client-said"))
def member(user, name):
    return user.is_authenticated


@livepush.can_send("help:<slug:name>")
@livepush.can_read("help:<slug:name>")
def helped(user, name):
    return user.is_authenticated


def by_scopes(request):
    """An authenticator: a header names a user, and for what the user has made this key."""
    name, *scopes = request.headers.get("X-Key", "-").split()
    user = User.objects.filter(username=name).exclude(first_name="locked").first()
    if user is not None:
        user.scopes = scopes
    return user


@livepush.can_read("scoped:<slug:name>")
def scoped(user, name):
    return user.is_authenticated and name in getattr(user, "scopes", [name])


@livepush.can_read("down:<slug:name>")
def down(user, name):
    raise OperationalError("this database is away")


asked: Counter[str] = Counter()


@livepush.can_read("shaky:<slug:name>")
def shaky(user, name):
    """Fail the first time that a client asks: livepush asks a rule twice if its database is away."""
    asked[name] += 1
    if asked[name] <= 2:
        raise OperationalError("this database is away for a moment")
    return True


@livepush.receive("help:<slug:name>", "client-ask")
def ask(user, data, name):
    if not data:
        raise ValidationError("Ask something.")
    livepush.send(f"help:{name}", "asked", {"by": user.username, "what": data})


urls.urlpatterns += [path("", include("livepush.bridges.pusher.urls"))]
__all__ = ["application"]
