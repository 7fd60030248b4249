"""The keeper of one hub's members: what it writes, and whom it clears away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.test import override_settings

import livepush
from livepush import process
from livepush.access.authenticating import Identity
from livepush.access.identity import Handshake
from livepush.hub import Waiter
from livepush.rights import Grant
from livepush.roster import rules
from livepush.roster.keeper import Keeper
from livepush.roster.models import Presence
from tests.conftest import Thread


@pytest.fixture
def lobby(monkeypatch):
    """One presence rule, and jobs in threads of their own."""

    async def in_thread(work, level=0):
        return Thread(work).join()

    monkeypatch.setattr(process, "in_thread", in_thread)
    monkeypatch.setattr(rules, "registry", [])
    livepush.presence("lobby:<slug:name>")(lambda user, name: {"name": user.username})


class Loop:
    """A loop that notes what is to be called later."""

    def __init__(self):
        self.later = []

    def call_later(self, seconds, *call):
        self.later.append((seconds, *call))


@pytest.fixture
def keeper(lobby):
    router = SimpleNamespace(followers=[])
    hub = SimpleNamespace(router=router, keep=lambda work: work.close(), loop=Loop(), draining=False)
    return Keeper(hub)


def client(number, *groups):
    user = SimpleNamespace(pk=number, username=f"u{number}", is_authenticated=True)
    waiter = Waiter(list(groups))
    return Grant(Identity(user), Handshake({}, "localhost", None, "/"), waiter, waiter.revoke, "acme")


def members(using):
    return sorted(Presence.objects.using(using).values_list("member", flat=True), key=int)


async def test_a_member_that_the_database_refuses_holds_up_no_other(concurrent, request):
    with override_settings(LIVEPUSH={"DATABASE": concurrent, "TENANT": "tests.shop.subdomains.Subdomains"}):
        keeper = request.getfixturevalue("keeper")
        for number in range(20):
            group = f"acme|lobby:{'x' * 200}" if number in (3, 19) else "acme|lobby:a"
            keeper.follow(client(number, group), True)
        await keeper._write()
        expected = [str(number) for number in range(20) if number not in (3, 19)]
        assert Thread(members, concurrent).join() == expected
        keeper.follow(client(20, "acme|lobby:a"), True)
        await keeper._write()
        assert Thread(members, concurrent).join() == [*expected, "20"]
        assert [seconds for seconds, *_ in keeper._hub.loop.later] == [30.0, 30.0]
