"""A real Pushpin holds the clients of a WSGI site. Nothing is lost, whatever happens between the two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

import livepush
from livepush import checks, log, server_checks
from livepush.bridges.grip.config import edge
from livepush.bridges.grip.holds import Hold
from livepush.bridges.grip.items import items_of
from livepush.models import ChannelGroup, LogHead
from livepush.wire import Batch, Event, Floor, Format
from tests.bridges.edge import Site, audit_kills, holds, running
from tests.integration import clients
from tests.patience import PATIENCE, eventually, wait_until
from tests.servers.fresh import Databases
from tests.servers.pushpin import KEY

HERE = {"CONTROL_URI": "http://127.0.0.1:9", "KEY": KEY}
TIME = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with running(databases, CHECK=3600) as found:
        yield found


async def types(stream: clients.SSE, count: int) -> list[str]:
    """Return the types of a stream's next events; comments and messages of livepush's own are left out."""
    found: list[str] = []
    while len(found) < count:
        block = (await stream.block()).decode()
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        name = json.loads(fields["data"])["type"] if fields.get("data", "").startswith('{"id"') else fields.get("event")
        if name and not name.startswith("livepush."):
            found.append(name)
    return found


# Streams


async def test_a_stream_of_one_group_gets_its_events_from_the_proxy_byte_for_byte(site):
    async with clients.sse(site.url, "board") as stream:
        assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (await stream.fields())["event"] == "livepush.hello"
        site.shop.send("board", "first", {"n": 1})
        site.shop.send("order:1", "other")
        site.shop.send("board", "second", "a")
        epoch, _, number = site.shop.position().partition("-")
        assert await stream.block() == f'id: {epoch}-{int(number) - 2}\nevent: first\ndata: {{"n":1}}\n\n'.encode()
        assert await stream.block() == f'id: {epoch}-{number}\nevent: second\ndata: "a"\n\n'.encode()


async def test_a_stream_of_several_groups_gets_everything_once_and_in_order(site):
    async with clients.sse(site.url, ["board", "order:1", "order:2"], format="envelope") as stream:
        assert json.loads((await stream.fields())["data"])["type"] == "livepush.hello"
        for number in range(20):
            site.shop.send(["board", "order:1"] if number % 3 else f"order:{number % 2 + 1}", f"n{number}")
        assert await types(stream, 20) == [f"n{number}" for number in range(20)]


async def test_a_stream_goes_on_at_the_last_event_that_its_client_has(site):
    start = site.shop.position()
    for number in range(3):
        site.shop.send("order:7", f"n{number}")
    async with clients.sse(site.url, "order:7", headers={"Last-Event-ID": start}) as stream:
        assert await types(stream, 3) == ["n0", "n1", "n2"]
        site.shop.send("order:7", "live")
        assert await types(stream, 1) == ["live"]


@pytest.mark.long
async def test_a_long_replay_comes_in_several_answers(site):
    start = site.shop.position()
    site.shop.do("send_many", groups="order:8", type="many", count=1200)
    async with clients.sse(site.url, "order:8", since=start) as stream:
        await types(stream, 1200)
        site.shop.send("order:8", "live")
        assert await types(stream, 1) == ["live"]


async def test_an_event_that_the_proxy_never_heard_of_comes_before_the_next_one(site):
    async with clients.sse(site.url, "order:9") as stream, clients.sse(site.url, ["order:9", "order:10"]) as wide:
        await stream.block(), await wide.block()
        site.shop.send("order:9", "told")
        assert await types(stream, 1) == await types(wide, 1) == ["told"]
        site.silent.send("order:9", "silent")
        site.shop.send("order:9", "told-again")
        assert await types(stream, 2) == await types(wide, 2) == ["silent", "told-again"]


@pytest.mark.long
async def test_clients_that_come_while_events_are_sent_miss_none(site):
    """The proxy is asked for nothing in between: it notices by the ids that something came before it held a stream."""
    followed: list[tuple[int, list[str]]] = []
    everything = [*(f"n{number}" for number in range(60)), "end"]

    async def follow(groups: list[str], start: str) -> None:
        got: list[str] = []
        async with clients.sse(site.url, groups, since=start, format="envelope") as stream:
            while "end" not in got:
                got += await types(stream, 1)
        followed.append((len(groups), got))

    async def follow_polls(start: str) -> None:
        got: list[str] = []
        while "end" not in got:
            answer = await poll(site, ["order:12"], since=start, wait=20)
            start = answer["position"]
            got += [event["type"] for event in answer["events"]]
        followed.append((0, got))

    def send(site: Site) -> None:
        for number in range(60):
            site.shop.send(["order:12", "board"] if number % 2 else "order:12", f"n{number}")
        site.shop.send("order:12", "end")

    start = site.shop.position()
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(send, site))
        for _ in range(6):
            tasks.create_task(follow(["order:12"], start))
            tasks.create_task(follow(["order:12", "board"], start))
            tasks.create_task(follow_polls(start))
    assert len(followed) == 18
    assert [(count, got) for count, got in followed if got != everything] == []  # 0 groups: polls


async def test_a_large_event_comes_once(site):
    async with clients.sse(site.url, "order:13") as stream:
        await stream.block()
        site.shop.send("order:13", "small")
        site.shop.send("order:13", "large", "x" * 300_000)
        site.shop.send("order:13", "small-again")
        assert await types(stream, 3) == ["small", "large", "small-again"]


async def test_two_processes_that_send_at_once_bring_one_order(site):
    start = site.shop.position()
    async with (
        clients.sse(site.url, "order:14", since=start) as stream,
        clients.sse(site.url, ["order:14", "board"], since=start) as wide,
    ):
        sending = [asyncio.to_thread(each.do, "send_each", groups="order:14", type=name, count=30)
                   for each, name in ((site.shop, "a"), (site.silent, "b"))]  # fmt: skip
        await asyncio.gather(*sending)
        site.shop.send("order:14", "end")
        expected = [row["type"] for row in site.shop.rows(["order:14"])]
        assert len(expected) == 61
        assert await types(stream, 61) == await types(wide, 61) == expected


@pytest.mark.long
async def test_clients_lose_nothing_when_the_proxy_is_killed(databases):
    with running(databases) as site:
        async with clients.sse(site.url, "board") as stream:
            await stream.block()
            site.shop.send("board", "before")
            last = (await stream.fields())["id"]
            site.pushpin.kill()
            with contextlib.suppress(httpx.HTTPError):
                await stream.rest()
        site.shop.send("board", "while-it-was-away")
        site.pushpin.start()
        await asyncio.to_thread(wait_until, lambda: holds(site.pushpin))
        site.shop.send("board", "after")
        async with clients.sse(site.url, "board", headers={"Last-Event-ID": last}) as stream:
            assert await types(stream, 2) == ["while-it-was-away", "after"]


@pytest.mark.long
async def test_nothing_is_lost_repeated_or_out_of_order_when_the_proxy_is_killed_again_and_again(databases, figures):
    async def follow(site: Site, groups: list[str], last: str) -> list[str]:
        got: list[str] = []
        while "end" not in got:
            with contextlib.suppress(httpx.HTTPError, StopAsyncIteration, TimeoutError):
                async with contextlib.AsyncExitStack() as stack:
                    headers = {"Last-Event-ID": last}
                    async with asyncio.timeout(4):  # as livepush's client does: a starting Pushpin may never answer
                        stream = await stack.enter_async_context(clients.sse(site.url, groups, headers=headers))
                        await stream.block()
                    while stream.response.status_code == 200 and "end" not in got:
                        block = (await stream.block()).decode()
                        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
                        last = fields.get("id", last)
                        if not fields.get("event", "livepush.").startswith("livepush."):
                            got.append(fields["event"])
            await asyncio.sleep(0)
        return got

    await audit_kills(databases, figures, follow)


async def test_a_lost_history_is_told(site):
    async with clients.sse(site.url, "board", headers={"Last-Event-ID": "x-5"}) as stream:
        assert (await stream.fields())["event"] == "livepush.hello"
        assert (await stream.fields())["event"] == "livepush.reset"
        site.shop.send("board", "live")
        assert await types(stream, 1) == ["live"]


# Polls


async def test_a_poll_is_held_until_there_is_an_event(site):
    start = site.shop.position()
    polls = [asyncio.create_task(poll(site, ["board", "order:3"], since=start, wait=30)) for _ in range(3)]
    await held(site, "/livepush/poll/", 3)
    site.shop.send(["board", "order:3"], "held")
    for answer in await asyncio.gather(*polls):
        assert [event["type"] for event in answer["events"]] == ["held"]
        assert answer["position"] == site.shop.position()


@pytest.mark.long
async def test_a_poll_without_events_ends_with_its_wait(site):
    start = site.shop.position()
    assert await poll(site, ["order:4"], since=start, wait=5) == {
        "events": [], "position": start, "reset": False, "refused": [],
    }  # fmt: skip
    assert (await poll(site, ["order:4"], wait=30))["position"] == start


# Rights


async def test_what_may_not_be_read_is_refused(site):
    async with clients.http() as client:
        for endpoint in ("sse", "poll"):
            answer = await client.get(clients.address(site.url, endpoint, "role:staff", wait=5))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("how", ["role taken", "logout"])
async def test_rights_that_end_close_the_stream_and_the_client_is_refused(site, how):
    name = f"reader of {how}".replace(" ", "-")
    cookie = site.shop.session(name)
    site.shop.do("change", username=name, what="role given", role="crew")
    headers = {"Cookie": cookie}
    async with clients.sse(site.url, "role:crew", headers=headers) as stream:
        await stream.block()
        site.shop.send("role:crew", "seen")
        assert await types(stream, 1) == ["seen"]
        if how == "logout":
            site.shop.do("end_session", cookie=cookie, how="logout")
        else:
            site.shop.do("change", username=name, what="role taken", role="crew")
        await stream.rest()
    site.shop.send("role:crew", "not-for-that-user")
    async with clients.http() as client:
        answer = await client.get(clients.address(site.url, "sse", "role:crew"), headers=headers)
    assert answer.status_code == 403


async def test_a_newcomer_gets_nothing_older_that_a_long_transaction_brings_late(site):
    site.shop.do("begin")
    site.shop.send("inbox:all", "older")
    headers = {"Cookie": site.silent.session("newcomer")}
    async with clients.sse(site.url, "inbox:all", headers=headers) as stream:
        await stream.block()
        site.shop.do("commit")
        site.shop.send("inbox:all", "later")
        assert await types(stream, 1) == ["later"]


async def test_a_user_who_is_forgotten_and_deleted_is_shown_out_and_nothing_more_comes(site):
    headers = {"Cookie": site.shop.session("leaver")}
    name = f"user:{site.shop.do('pk', username='leaver')}"
    async with clients.sse(site.url, name, headers=headers) as stream:
        await stream.block()
        site.shop.send(name, "seen")
        assert await types(stream, 1) == ["seen"]
        site.shop.do("forget", username="leaver")
        site.shop.do("change", username="leaver", what="deleted")
        assert b"event: seen" not in await stream.rest()
    async with clients.http() as client:
        answer = await client.get(clients.address(site.url, "sse", name, since="a-1"), headers=headers)
    assert answer.status_code == 403


@pytest.mark.long
async def test_the_proxy_asks_now_and_then_and_sends_the_client_back_when_its_rules_are_due(databases):
    with running(databases, {"RECHECK": 5.0}, CHECK=1) as site:
        async with clients.sse(site.url, "board") as stream:
            await stream.block()
            site.silent.send("board", "silent")
            assert await types(stream, 1) == ["silent"]
            said = (await stream.rest()).decode()
    assert 'event: livepush.bye\ndata: {"type":"livepush.bye","retry":' in said
    assert '"reason":"recheck"' in said


# Requests


def claims(**more: object) -> dict[str, object]:
    return {"iss": "pushpin", "exp": 4_000_000_000, **more}


@pytest.fixture
def here(settings, transactional_db):
    settings.LIVEPUSH = {"GRIP": HERE}
    return Client()


SIGNATURES = {
    "none": "",
    "nonsense": "nonsense",
    "of another key": jwt.encode(claims(), "another key, which has 32 bytes or more too"),
    "expired": jwt.encode(claims(exp=1), KEY),
    "without end": jwt.encode({"iss": "pushpin"}, KEY),
    "unsigned": jwt.encode(claims(), "", algorithm="none"),
}


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
@pytest.mark.parametrize("endpoint", ["sse", "poll"])
def test_a_request_that_the_proxy_did_not_sign_is_refused(here, endpoint, signature):
    answer = here.get(f"/livepush/{endpoint}/?group=board", headers={"Grip-Sig": signature})
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature")
    assert not [name for name in answer.headers if name.startswith("Grip")]


def test_without_a_proxy_everything_is_as_it_was(here):
    assert here.get("/livepush/sse/?group=board").json()["code"] == "needs_asgi"
    answer = here.get("/livepush/poll/?group=board&wait=5")
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("Grip")]


@pytest.mark.parametrize("token", ["nonsense", "e30:1:2"])
def test_a_link_that_the_site_did_not_make_is_refused(here, token):
    signed = {"Grip-Sig": jwt.encode(claims(), KEY)}
    answer = here.get(f"/livepush/sse/?grip={token}&since=a-1", headers=signed)
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_link")


def test_to_ask_for_what_was_missed_takes_two_queries_if_nothing_was(here, django_assert_num_queries):
    signed = {"Grip-Sig": jwt.encode(claims(), KEY)}
    answer = here.get("/livepush/sse/?group=board", headers=signed)
    link = answer["Grip-Link"].partition(">")[0].removeprefix("<")
    with django_assert_num_queries(2):
        again = here.get(f"/livepush/sse/{link}", headers=signed)
    assert (again.content, again["Grip-Hold"], again["Grip-Link"]) == (b"", "stream", answer["Grip-Link"])


def test_after_a_lost_history_no_floor_of_the_old_one_hides_an_event(here):
    signed = {"Grip-Sig": jwt.encode(claims(), KEY)}
    livepush.send("board", "first")
    floors = {"board": Floor(1000)}
    hold = Hold(groups=("board",), format=Format.SSE, user=None, session="", until=time.time() + 100, floors=floors)
    LogHead.objects.update(position=900, epoch="anew")
    reset = here.get(f"/livepush/sse/?{urlencode({'grip': hold.token(), 'since': 'old-1000'})}", headers=signed)
    assert b"livepush.reset" in reset.content
    livepush.send("board", "later")
    link = reset["Grip-Link"].partition(">")[0].removeprefix("<")
    assert here.get(f"/livepush/sse/{link}", headers=signed).content.startswith(b"id: anew-901\nevent: later\n")


def test_the_proxy_asks_when_the_rules_are_due_if_that_is_sooner(here, settings):
    settings.LIVEPUSH = {"GRIP": {**HERE, "CHECK": 3600}, "RECHECK": 10.0}
    answer = here.get("/livepush/sse/?group=board", headers={"Grip-Sig": jwt.encode(claims(), KEY)})
    assert answer["Grip-Link"].rpartition("timeout=")[2] in ("9", "10")


def test_a_stream_is_held_at_the_last_event_of_a_group_whose_row_is_not_made_yet(here):
    livepush.send("board", "first")
    ChannelGroup.objects.all().delete()
    answer = here.get("/livepush/sse/?group=board", headers={"Grip-Sig": jwt.encode(claims(), KEY)})
    assert answer["Grip-Channel"].endswith(f"sse:board; prev-id={log.state('default').position}")


def test_groups_are_no_fields_of_a_form(here, settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1
    answer = here.get("/livepush/sse/?group=board&group=board:2", headers={"Grip-Sig": jwt.encode(claims(), KEY)})
    assert (answer.status_code, answer["Grip-Hold"]) == (200, "stream")


def test_more_groups_than_the_proxy_can_follow_are_refused(here):
    groups = "&".join(f"group=order:{number}" for number in range(20))
    answer = here.get(f"/livepush/sse/?{groups}", headers={"Grip-Sig": jwt.encode(claims(), KEY)})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_groups")
    assert "connection_subscription_max" in answer.json()["message"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KEY": KEY}, "CONTROL_URI"),
        ({"CONTROL_URI": "localhost:5561", "KEY": KEY}, "expected an address such as"),
        ({"CONTROL_URI": "http://localhost:5561"}, "sig_key"),
        ({"CONTROL_URI": "http://localhost:5561", "KEY": "base64:?"}, "is not base64"),
        ({**HERE, "KEY": "changeme"}, "has 8 bytes: expected 32 or more"),
        ({**HERE, "CHECK": 0}, "1 or more"),
        ({**HERE, "PREFIX": 5}, "expected a text"),
        ({**HERE, "KEYS": "k"}, "'KEYS', which nothing reads"),
    ],
)
def test_a_setting_that_makes_no_sense_says_what_was_expected(settings, given, says):
    settings.LIVEPUSH = {"GRIP": given}
    with pytest.raises(ImproperlyConfigured, match=says):
        edge()


def test_the_checks_say_what_is_wrong_and_a_site_with_a_proxy_needs_no_asgi(settings):
    settings.LIVEPUSH, settings.ASGI_APPLICATION = {"GRIP": {**HERE, "KEY": ""}}, None
    (problem,) = checks.check_settings(None)
    assert (problem.id, "sig_key" in problem.msg) == ("livepush.E023", True)
    assert server_checks.check_asgi(None) == []


# Items


def test_each_item_names_the_one_before_it():
    batch = Batch("e", (Event(5, ("a", "b"), "t", "1", TIME), Event(6, ("a",), "t", "2", TIME)))
    found = [item for item in items_of(batch, {"a": 3}, "p-") if item["channel"] in ("p-sse:a", "p-hint:b")]
    assert found == [
        {"channel": "p-sse:a", "formats": {"http-stream": {"content": "id: e-5\nevent: t\ndata: 1\n\n"}},
         "id": "e-5", "prev-id": "e-3"},
        {"channel": "p-hint:b", "formats": {"http-stream": {"action": "hint"}, "http-response": {"action": "hint"},
                                            "ws-message": {"type": "ping", "content": ""}},
         "id": "e-5", "prev-id": "e-0"},
        {"channel": "p-sse:a", "formats": {"http-stream": {"content": "id: e-6\nevent: t\ndata: 2\n\n"}},
         "id": "e-6", "prev-id": "e-5"},
    ]  # fmt: skip


def test_what_the_proxy_can_not_take_becomes_a_hint():
    batch = Batch("e", (Event(5, ("a",), "t", json.dumps("x" * 300_000), TIME),))
    found = {item["channel"]: item["formats"]["http-stream"] for item in items_of(batch, {}, "p-")}
    assert {"p-sse:a", "p-hint:a"} <= set(found)
    assert list(found.values()) == [{"action": "hint"}] * len(found)


def test_the_last_number_of_a_group_is_the_last_one_up_to_another(using):
    for group in ("a", "b", "a", "c"):
        log.append(log.Content((group,), "t", "1"), None, using)
    list(log.settle(using))  # the rows of the groups may be made later, or not at all
    head = log.state(using).position.number
    assert log.last_numbers(using, ["a", "b", "d"], head - 1) == {"a": head - 1, "b": head - 2}
    assert log.last_numbers(using, ["a"], head - 2) == {"a": head - 3}
    assert log.last_numbers(using, [], head) == {}


# Helpers


async def poll(site: Site, groups: list[str], **query: object) -> dict[str, object]:
    async with clients.http() as client:
        answer = await client.get(clients.address(site.url, "poll", groups, **query))
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def held(site: Site, path: str, count: int) -> None:
    """Wait until the proxy holds some requests."""
    await eventually(lambda: site.pushpin.log().count("accepting 1 requests") >= count, PATIENCE)
