"""The rules and events of the tests' shop."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.utils.translation import get_language

import livepush
from livepush import tenants
from tests.shop.models import Order


@livepush.can_read("board")
def board(user):
    return True


@livepush.can_read("order:<int:pk>")
def order(user, pk):
    return pk < 1000


@livepush.can_read("async:<slug:name>")
async def async_rule(user, name):
    return name != "no"


@livepush.can_read("tenant:<slug:name>")
def tenant(user, name, request):
    return request.headers.get("X-Tenant") == name


@livepush.can_read("broken:<slug:name>")
def broken(user, name):
    raise RuntimeError("a rule that fails")


@livepush.can_read("site:<slug:name>")
def site(user, name):
    return tenants.current() == name


@livepush.can_read("asite:<slug:name>")
async def async_site(user, name):
    return tenants.current() == name


@livepush.can_read("room:<slug:name>")
def room(user, name):
    return True


@livepush.can_read("role:<slug:name>")
def role(user, name):
    return user.groups.filter(name=name).exists()


@livepush.can_read("lobby:<slug:name>")
def lobby(user, name):
    return True


@livepush.can_read("club:<slug:name>")
def club(user, name):
    return user.groups.filter(name=name).exists()


@livepush.presence("lobby:<slug:name>")
@livepush.presence("club:<slug:name>")
def who_is_there(user, name):
    if not user.is_authenticated:
        return {"name": "Visitor"}
    if user.username.startswith("ghost") or user.first_name.startswith("ghost"):
        return None
    return {"name": user.first_name or user.username}


@livepush.can_read("alobby:<slug:name>")
async def async_lobby(user, name):
    return True


@livepush.presence("alobby:<slug:name>")
async def who_is_there_async(user, name):
    return {"name": user.username, "in": name}


@livepush.can_send("room:<slug:name>", types=("t", "chat", "said", "typing"))
def room_sender(user, name):
    return user.is_authenticated


@livepush.can_read("desk:<slug:name>")
def desk(user, name):
    return True


@livepush.can_send("desk:<slug:name>")
def desk_sender(user, name):
    return user.is_authenticated


@livepush.receive("desk:<slug:name>", "question")
def question(user, data, name):
    if not data:
        raise ValidationError({"text": "Ask something."})
    livepush.send(f"desk:{name}", "question", data, sender=user)
    return {"asked": data}


@livepush.receive("desk:<slug:name>", "aquestion")
async def aquestion(user, data, name):
    await livepush.asend(f"desk:{name}", "question", data, sender=user)
    return {"asked": data}


@livepush.notification
class Commented(livepush.NotificationType):
    key = "shop.commented"
    category = "talk"

    def title(self, ctx):
        german = (get_language() or "").startswith("de")
        if ctx.count > 1:
            return f"{ctx.count} {'Kommentare' if german else 'comments'}: {ctx.data['thing']}"
        return f"{ctx.actor} {'kommentierte' if german else 'commented on'} {ctx.data['thing']}"


@livepush.register(Order)
class OrderLive(livepush.ModelEvents):
    fields = ("status", "eta", "count")
    m2m = ("tags",)

    def groups(self, order):
        groups = [f"order:{order.pk}"]
        if order.customer_id:
            groups.append(livepush.user_group(order.customer_id))
        return groups

    def data(self, order, action):
        return {"id": order.pk, "status": order.status, "count": order.count}
