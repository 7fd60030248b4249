"""Who is there in a group, over real servers: joins, leaves, reloads, rights that end, processes that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from tests.integration import clients
from tests.integration.test_rights import READERS, Site, Stream, filled, site
from tests.patience import eventually
from tests.scale import some
from tests.servers.fresh import Databases

GRACE = 1.0
LEASE = 3.0
SETTINGS = {"PRESENCE_GRACE": GRACE, "PRESENCE_LEASE": LEASE, "DRAIN": 0.5}


@pytest.fixture(scope="module", params=some(["uvicorn", "daphne"]))
def shop(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    with site(databases, request.param, settings=SETTINGS) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A user of the test's own, and the last part of its group's name."""
    return f"u{abs(hash(request.node.nodeid)) % 10**12}"


@contextlib.asynccontextmanager
async def reading(
    url: str, group: str, cookie: str | None = None, transport: str = "sse", groups: Sequence[str] = ()
) -> AsyncIterator[Stream]:
    """Read a group for as long as the block runs."""
    headers = {"Cookie": cookie} if cookie else {}
    stream = Stream()
    async with filled(stream, READERS[transport](url, [group, *groups], headers, stream)):
        yield stream


async def ask(url: str, group: str, cookie: str = "") -> httpx.Response:
    async with clients.http() as client:
        return await client.get(clients.address(url, "presence", group), headers={"Cookie": cookie} if cookie else {})


async def names(url: str, group: str, cookie: str = "") -> list[str]:
    answer = (await ask(url, group, cookie)).raise_for_status().json()
    return [member["info"]["name"] for member in answer["members"]]


async def post(url: str, body: Any, cookie: str = "", **headers: str) -> httpx.Response:
    """Post to the presence endpoint as a page of the site would."""
    secret = "s" * 32
    given = {"Cookie": "; ".join(filter(None, [cookie, f"csrftoken={secret}"])), "X-CSRFToken": secret, **headers}
    async with clients.http() as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.post(f"{url}/livepush/presence/", content=content, headers=given)


def told(stream: Stream) -> list[tuple[str, list[Any]]]:
    """Return what a stream was told of members: the event, and the names or ids in it."""
    return [
        (
            each["type"].removeprefix("presence."),
            [member.get("info", {}).get("name", member["id"]) for member in each["data"]["members"]],
        )
        for each in stream.envelopes
        if each["type"].startswith("presence.")
    ]


async def pk_of(shop: Site, name: str) -> str:
    [(pk,)] = shop.database.query(f"SELECT id FROM auth_user WHERE username = '{name}'")
    return str(pk)


@pytest.mark.parametrize("transport", some(list(READERS), 1))
async def test_a_reader_is_a_member_until_the_grace_after_its_end(shop: Site, name: str, transport: str) -> None:
    group = f"lobby:{name}"
    cookie = await shop.do("session", username=name)
    pk = await pk_of(shop, name)
    ghost = await shop.do("session", username=f"ghost-{name}")
    async with reading(shop.server.url, group, ghost) as watching:
        async with reading(shop.server.url, group, cookie, transport):
            await watching.until(lambda: told(watching))
            answer = (await ask(shop.server.url, group)).json()
            (member,) = answer["members"]
            assert member["id"] == pk
            assert (member["info"], member["state"], member["connections"]) == ({"name": name}, {}, 1)
            assert await shop.do("is_present", username=name, group=group)
        await watching.until(lambda: len(told(watching)) > 1)
        assert told(watching) == [("join", [name]), ("leave", [pk])]
        assert await shop.do("members", group=group) == []
        assert not await shop.do("is_present", username=f"ghost-{name}", group=group)


@pytest.mark.long
async def test_tabs_and_devices_are_one_member(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookies = [await shop.do("session", username=name) for _ in range(2)]
    ghost = await shop.do("session", username=f"ghost-{name}")

    async def connections() -> list[int]:
        return [member["connections"] for member in await shop.do("members", group=group)]

    async def are(*expected: int) -> None:
        async def holds() -> bool:
            return await connections() == [*expected]

        await eventually(holds)

    async with reading(url, group, ghost) as watching:
        async with reading(url, group, cookies[0]):
            await are(1)
            async with reading(url, group, cookies[1], "websocket"), reading(url, group, cookies[0]):
                await are(3)
            await are(1)
        await watching.until(lambda: len(told(watching)) > 1)
        assert told(watching) == [("join", [name]), ("leave", [await pk_of(shop, name)])]


async def test_a_reload_is_no_leave(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookie = await shop.do("session", username=name)
    other = await shop.do("session", username=f"other-{name}")
    async with reading(url, group, other) as watching:
        await watching.until(lambda: told(watching))
        for _ in range(4):
            async with reading(url, group, cookie):
                pass
        async with reading(url, group, cookie):
            await watching.until(lambda: len(told(watching)) > 1)
        await watching.until(lambda: len(told(watching)) > 2)
        pk = await pk_of(shop, name)
        assert told(watching) == [("join", [f"other-{name}"]), ("join", [name]), ("leave", [pk])]


async def test_an_invisible_member_leaves_no_trace(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    ghost = await shop.do("session", username=f"ghost-{name}")
    cookie = await shop.do("session", username=name)
    async with reading(url, group, cookie) as watching:
        await watching.until(lambda: told(watching))
        for transport in READERS:
            async with reading(url, group, ghost, transport):
                assert await names(url, group, ghost) == [name]
        answer = await post(url, {"group": group, "state": {"away": True}}, ghost)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_present")
        await asyncio.sleep(2 * GRACE)  # nothing is what must come
        assert told(watching) == [("join", [name])]
    pk = await pk_of(shop, f"ghost-{name}")
    assert shop.database.query(f"SELECT 1 FROM livepush_presence WHERE member = '{pk}'") == []
    told_of = f"type LIKE 'presence.%' AND (data LIKE '%ghost%' OR data LIKE '%\"{pk}\"%')"
    assert shop.database.query(f"SELECT 1 FROM livepush_event WHERE {told_of}") == []


async def test_an_async_rule_says_what_others_see(shop: Site, name: str) -> None:
    group = f"alobby:{name}"
    cookie = await shop.do("session", username=name)
    async with reading(shop.server.url, group, cookie) as stream:
        await stream.until(lambda: told(stream))
        (member,) = (await ask(shop.server.url, group)).json()["members"]
        assert member["info"] == {"name": name, "in": name}


async def test_a_group_without_a_rule_has_no_members_and_writes_nothing(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    async with reading(shop.server.url, f"room:{name}", cookie) as stream:
        await shop.send(f"room:{name}", "event")
        await stream.until(lambda: "event" in stream.types)
        assert await names(shop.server.url, f"room:{name}") == []
    assert shop.database.query(f"SELECT 1 FROM livepush_event WHERE data LIKE '%{name}%'") == []


async def test_visitors_are_known_by_a_cookie_that_their_id_does_not_tell(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    here = "csrftoken=" + "a" * 32
    async with (
        reading(url, group) as nobody,
        reading(url, group, here),
        reading(url, group, here),
        reading(url, group, "csrftoken=" + "b" * 32),
    ):

        async def are_two() -> bool:
            members = (await ask(url, group)).json()["members"]
            return sorted(member["connections"] for member in members) == [1, 2]

        await eventually(are_two)
        members = (await ask(url, group)).json()["members"]
        assert all(member["id"].startswith("~") and len(member["id"]) == 21 for member in members)
        assert "aaaa" not in json.dumps(members)
        assert sum(len(who) for _, who in told(nobody)) == 2


async def test_a_page_gets_the_cookie_with_the_snapshot(shop: Site, name: str) -> None:
    answer = await ask(shop.server.url, f"lobby:{name}")
    assert "csrftoken" in answer.cookies
    assert answer.headers["cache-control"] == "private, no-store, no-transform"
    assert answer.json() == {"position": answer.json()["position"], "members": []}


# What a member says of itself


async def test_a_state_is_shown_to_others_and_gone_with_the_member(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookie = await shop.do("session", username=name)
    other = await shop.do("session", username=f"other-{name}")
    async with reading(url, group, other) as watching:
        await watching.until(lambda: told(watching))
        async with reading(url, group, cookie):
            await watching.until(lambda: ("join", [name]) in told(watching))
            answer = await post(url, {"group": group, "state": {"away": True}}, cookie)
            assert answer.json() == {"id": await pk_of(shop, name)}
            await watching.until(lambda: told(watching)[-1][0] == "update")
            assert watching.envelopes[-1]["data"]["members"][0]["state"] == {"away": True}
            await post(url, {"group": group, "state": {"away": True}}, cookie)  # says nothing new
        await watching.until(lambda: told(watching)[-1][0] == "leave")
        async with reading(url, group, cookie):
            await watching.until(lambda: told(watching)[-1][0] == "join")
            assert watching.envelopes[-1]["data"]["members"][0]["state"] == {}
        assert [kind for kind, _ in told(watching)] == ["join", "join", "update", "leave", "join"]


async def test_another_name_is_shown_at_once(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookie = await shop.do("session", username=name)
    async with reading(url, group, cookie) as stream:
        await stream.until(lambda: told(stream))
        await shop.do("rename", username=name, first_name="Ann")
        await stream.until(lambda: len(told(stream)) > 1)
        assert told(stream) == [("join", [name]), ("update", ["Ann"])]
        assert await names(url, group) == ["Ann"]


BAD: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "bad_body"),
    "a list": ([], 400, "bad_body"),
    "a state that is no object": ({"group": "GROUP", "state": [1]}, 400, "bad_body"),
    "no state": ({"group": "GROUP"}, 400, "bad_body"),
    "NUL": ({"group": "GROUP", "state": {"a": "\0"}}, 400, "bad_body"),
    "NaN": (b'{"group": "GROUP", "state": {"a": NaN}}', 400, "bad_body"),
    "half a surrogate": (b'{"group": "GROUP", "state": {"a": "\\ud800"}}', 400, "bad_body"),
    "a nest": (b'{"group": "GROUP", "state": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}", 413, "too_large"),
    "a giant state": ({"group": "GROUP", "state": {"a": "x" * 1100}}, 413, "too_large"),
    "a giant body": (b"x" * 9000, 413, "too_large"),
    "a malformed group": ({"group": "no group", "state": {}}, 400, "bad_group"),
    "a foreign group": ({"group": "club:staff", "state": {}}, 409, "not_present"),
    "livepush's own group": ({"group": "livepush:rights", "state": {}}, 409, "not_present"),
}


@pytest.mark.parametrize("what", some(list(BAD), 5))
async def test_a_bad_state_is_refused_and_changes_nothing(shop: Site, name: str, what: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    body, status, code = BAD[what]
    text = (body if isinstance(body, bytes) else json.dumps(body).encode()).replace(b"GROUP", group.encode())
    cookie = await shop.do("session", username=name)
    async with reading(url, group, cookie) as stream:
        await stream.until(lambda: told(stream))
        answer = await post(url, text, cookie)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert [member["state"] for member in await shop.do("members", group=group)] == [{}]


async def test_a_state_comes_from_the_sites_own_pages_only(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookie = await shop.do("session", username=name)
    async with reading(url, group, cookie) as stream:
        await stream.until(lambda: told(stream))
        stale = {"X-CSRFToken": "x" * 32}
        for headers, code in ((stale, "csrf"), ({"Origin": "https://elsewhere.example"}, "bad_origin")):
            answer = await post(url, {"group": group, "state": {"away": True}}, cookie, **headers)
            assert (answer.status_code, answer.json()["code"]) == (403, code)
        own = await post(url, {"group": group, "state": {"by": "page"}}, cookie, Origin=url, **stale)
        assert own.status_code == 200
        token = await shop.do("token", username=name, groups=[group])
        by_token = {"Authorization": f"Bearer {token}", "Cookie": "", "X-CSRFToken": ""}
        assert (await post(url, {"group": group, "state": {"by": "token"}}, **by_token)).status_code == 200
        other = await shop.do("token", username=name, groups=["board"])
        answer = await post(url, {"group": group, "state": {}}, **{**by_token, "Authorization": f"Bearer {other}"})
        assert (answer.status_code, answer.json()["code"]) == (409, "not_present")
        assert [member["state"] for member in await shop.do("members", group=group)] == [{"by": "token"}]


@pytest.mark.long
async def test_a_flood_of_states_is_stopped_and_others_are_not(shop: Site, name: str) -> None:
    group, url = f"lobby:{name}", shop.server.url
    cookie = await shop.do("session", username=name)
    other = await shop.do("session", username=f"other-{name}")
    async with reading(url, group, cookie) as stream, reading(url, group, other):
        await stream.until(lambda: {each for _, who in told(stream) for each in who} == {name, f"other-{name}"})
        answers = await asyncio.gather(*(post(url, {"group": group, "state": {"n": n}}, cookie) for n in range(80)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
        assert (await post(url, {"group": group, "state": {"n": 1}}, other)).status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("group=club:staff", 403, "forbidden"),
        ("group=nowhere", 403, "forbidden"),
        ("", 400, "no_group"),
        ("group=no%20group", 400, "bad_group"),
        ("group=lobby:a&group=lobby:b", 400, "too_many_groups"),
        ("group=livepush:rights", 403, "forbidden"),
    ],
)
async def test_who_may_not_read_a_group_does_not_learn_who_is_there(
    shop: Site, query: str, status: int, code: str
) -> None:
    async with clients.http() as client:
        answer = await client.get(f"{shop.server.url}/livepush/presence/?{query}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert (await client.delete(f"{shop.server.url}/livepush/presence/?{query}")).status_code == 405


async def test_no_client_sends_presence_events(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    headers = {"Cookie": cookie}
    async with clients.websocket(shop.server.url, f"room:{name}", headers=headers) as socket:
        await clients.frame(socket)
        command = {"command": "send", "ref": "1", "group": f"room:{name}", "type": "presence.leave", "data": {}}
        await socket.send(json.dumps(command))
        answer = await clients.frame(socket)
        assert (answer["ok"], answer["code"]) == (False, "bad_event")
        assert "livepush's own" in answer["message"]


async def test_whoever_unsubscribes_leaves_at_once(patient: Site, name: str) -> None:
    group, url = f"lobby:{name}", patient.server.url
    cookie = await patient.do("session", username=name)
    ghost = await patient.do("session", username=f"ghost-{name}")
    async with (
        reading(url, group, ghost) as watching,
        clients.websocket(url, ["board"], headers={"Cookie": cookie}) as socket,
    ):
        await socket.send(json.dumps({"command": "subscribe", "ref": "1", "groups": [group]}))
        await watching.until(lambda: told(watching) == [("join", [name])])
        await socket.send(json.dumps({"command": "unsubscribe", "ref": "2", "groups": [group]}))
        await watching.until(lambda: len(told(watching)) == 2)


# Rights that end


@pytest.fixture(scope="module")
def patient(databases: Databases) -> Iterator[Site]:
    """A site whose grace is longer than any test waits: what leaves there, leaves at once."""
    with site(databases, settings={"PRESENCE_GRACE": 1000.0}) as found:
        yield found


def by(what: str, **more: Any) -> Callable[[Site, str, str], Any]:
    return lambda shop, name, cookie: shop.do("change", username=name, what=what, **more)


ENDINGS: dict[str, Callable[[Site, str, str], Any]] = {
    "a logout": lambda shop, name, cookie: shop.do("end_session", cookie=cookie, how="logout"),
    "an inactive user": by("inactive"),
    "a deleted user": by("deleted"),
    "a lost role": by("role taken", role="staff"),
    "revoke": lambda shop, name, cookie: shop.do("revoke", username=name),
    "revoke of the group": lambda shop, name, cookie: shop.do("revoke", username=name, groups="club:staff"),
}


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "gone a moment ago"])
@pytest.mark.parametrize("ending", some(list(ENDINGS), 2))
async def test_whose_right_ends_leaves_at_once(patient: Site, name: str, ending: str, is_connected: bool) -> None:
    group, url = "club:staff", patient.server.url
    cookie = await patient.do("session", username=name)
    ghost = await patient.do("session", username=f"ghost-{name}")
    for each in (name, f"ghost-{name}"):
        await patient.do("change", username=each, what="role given", role="staff")
    pk = await pk_of(patient, name)
    async with reading(url, group, ghost) as watching, contextlib.AsyncExitStack() as stack:
        own = await stack.enter_async_context(reading(url, group, cookie))
        await own.until(lambda: ("join", [name]) in told(own))
        if not is_connected:
            await stack.aclose()
            await eventually(lambda: patient.server.holds() == 1)
        begun = time.monotonic()
        await ENDINGS[ending](patient, name, cookie)
        await watching.until(lambda: ("leave", [pk]) in told(watching))
        print(f"left after {time.monotonic() - begun:.2f} s")
        assert not await patient.do("members", group=group)


async def test_a_logout_is_a_leave_and_shows_nobody_instead(patient: Site, name: str) -> None:
    group, url = "club:staff", patient.server.url
    users = [name, f"ghost-{name}", f"ghost-off-{name}", f"last-{name}"]
    cookies = [
        await patient.do("session", username=each) + f"; csrftoken={'c' * 31}{n}" for n, each in enumerate(users)
    ]
    for each in users:
        await patient.do("change", username=each, what="role given", role="staff")
    pks = [await pk_of(patient, each) for each in users]
    async with reading(url, group, cookies[1]) as watching:
        async with reading(url, group, cookies[0]) as own, reading(url, group, cookies[2]) as unseen:
            await watching.until(lambda: told(watching))
            await unseen.until(lambda: unseen.types)
            for cookie, stream in ((cookies[2], unseen), (cookies[0], own)):
                await patient.do("end_session", cookie=cookie.partition(";")[0], how="logout")
                await stream.until(lambda stream=stream: stream.end)
        async with reading(url, group, cookies[3]):
            await watching.until(lambda: ("join", [f"last-{name}"]) in told(watching))
        assert told(watching) == [("join", [name]), ("leave", [pks[0]]), ("join", [f"last-{name}"])]


async def test_who_logs_out_of_a_group_for_everybody_stays_as_a_visitor(patient: Site, name: str) -> None:
    group, url = f"lobby:{name}", patient.server.url
    cookie = await patient.do("session", username=name)
    ghost = await patient.do("session", username=f"ghost-{name}")
    async with reading(url, group, ghost) as watching, reading(url, group, f"{cookie}; csrftoken={'c' * 32}"):
        await watching.until(lambda: told(watching))
        await patient.do("end_session", cookie=cookie, how="logout")
        await watching.until(lambda: len(told(watching)) == 3)
        assert told(watching)[0] == ("join", [name])
        assert sorted(told(watching)[1:]) == [("join", ["Visitor"]), ("leave", [await pk_of(patient, name)])]


@pytest.mark.long
async def test_a_forgotten_user_leaves_and_comes_back_if_still_there(patient: Site, name: str) -> None:
    group, url = f"lobby:{name}", patient.server.url
    cookie = await patient.do("session", username=name)
    async with reading(url, group, cookie) as stream:
        await stream.until(lambda: told(stream))
        assert (await patient.do("forget", username=name))["presence"] == 1
        await stream.until(lambda: len(told(stream)) == 3)
        assert [kind for kind, _ in told(stream)] == ["join", "leave", "join"]
