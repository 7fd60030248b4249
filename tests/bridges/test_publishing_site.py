"""Publishing to a running site: over real servers, from several processes, to clients that are connected."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from io import StringIO
from itertools import pairwise

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from livepush import process, tenants
from livepush.bridges.publishing import authorizing, endpoint, keys
from livepush.bridges.publishing.models import ApiKey
from tests.conftest import ALIASES, events_of
from tests.integration import clients
from tests.patience import PATIENCE
from tests.scale import FULL, some
from tests.servers import processes
from tests.servers.warm import ROOT

EVENT = {"group": "board", "type": "status", "data": 1}


async def publish(server, key, body, **headers):
    """Publish to a server; return the answer."""
    async with clients.http() as client:
        named = {"Authorization": f"Bearer {key}", **headers}
        return await client.post(f"{server.url}/livepush/publish/", json=body, headers=named)


@pytest.mark.parametrize("kind", some(["uvicorn", processes.WSGI, "daphne"]))
async def test_what_is_published_reaches_a_client_of_another_process(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database) as live,
        processes.server(kind, database) as server,
    ):
        key = elsewhere.do("key", groups=["board"])
        async with clients.sse(live.url, "board") as stream:
            await stream.until(event="livepush.hello")
            answer = await publish(server, key, [EVENT, {**EVENT, "data": 2}])
            found = [await stream.until(event="status") for _ in range(2)]
        assert answer.status_code == 200, answer.text
        assert answer.json()["positions"] == [each["id"] for each in found]
        assert [each["data"] for each in found] == ["1", "2"]


@pytest.mark.long
async def test_a_request_that_two_processes_get_at_once_takes_effect_once(databases):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database) as one,
        processes.server(processes.WSGI, database) as other,
    ):
        key = elsewhere.do("key", groups=["board"])
        for number in range(20):
            headers = {"Idempotency-Key": str(number)}
            sent = (publish(each, key, [EVENT] * 3, **headers) for each in (one, other, one, other))
            answers = await asyncio.gather(*sent)
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers)[0] == ""
        assert len(elsewhere.rows(["board"])) == 60


@pytest.mark.long
async def test_a_publisher_that_tries_again_when_its_server_was_killed_loses_and_repeats_nothing(databases, figures):
    kills, count = (15, 500) if FULL else (3, 100)
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, may_fail=True) as server,
    ):
        key = elsewhere.do("key", groups=["board"])
        killed = asyncio.Event()

        async def post(number):
            while True:
                try:
                    body = [{**EVENT, "data": [number, part]} for part in range(3)]
                    answer = await publish(server, key, body, **{"Idempotency-Key": str(number)})
                    if answer.status_code == 200:
                        return answer.json()["positions"]
                except httpx.TransportError:
                    await killed.wait()

        async def kill():
            for number in range(kills):
                while len(positions) < count * (number + 1) // (kills + 2):
                    await asyncio.sleep(0.01)
                killed.clear()
                server.kill()
                await asyncio.to_thread(server.start)
                killed.set()

        positions = {}

        async def write(first):
            for number in range(first, count, 4):
                positions[number] = await post(number)

        await asyncio.gather(kill(), *(write(first) for first in range(4)))
        rows = elsewhere.rows(["board"])
        stored = [(number, part) for number, part in (row["data"] for row in rows)]
        found = Counter(stored)
        expected = {(number, part) for number in range(count) for part in range(3)}
        lost, repeated = len(expected - found.keys()), found.total() - len(found)
        of_each = [[event for event in stored if event[0] % 4 == first] for first in range(4)]
        out_of_order = sum(after < before for events in of_each for before, after in pairwise(events))
        figures(kills=kills, requests=count, lost=lost, repeated=repeated, out_of_order=out_of_order)
        assert (lost, repeated, out_of_order, found.keys()) == (0, 0, 0, expected)
        assert {row["id"]: row["data"][0] for row in rows} == {
            position: number for number, found in positions.items() for position in found
        }


async def test_while_the_database_is_away_a_publisher_is_told_to_come_back(databases):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database.through(PORT="1"), may_fail=True) as server,
    ):
        key = elsewhere.do("key", groups=["board"])
        answer = await publish(server, key, EVENT)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_a_site_that_uses_no_bridge_imports_no_more_than_their_tables_and_admin():
    code = """
import sys, django
django.setup()
from django.test import Client
import tests.asgi, tests.urls, livepush.urls
found = {name for name in sys.modules if name.startswith("livepush.bridges")}
models = {f"livepush.bridges{name}" for name in ("", ".lazily", ".patterns", ".publishing")}
models |= {f"livepush.bridges.metrics{name}" for name in ("", ".models", ".admin")}
models |= {"livepush.bridges.pusher", "livepush.bridges.pusher.models"}
models |= {f"livepush.bridges.relays{name}" for name in ("", ".models", ".admin", ".forgetting")}
admin = {f"livepush.bridges.publishing.{name}" for name in ("models", "admin", "keys")}
assert found == models | admin, sorted(found)
assert not {"cloudevents", "prometheus_client", "django_eventstream", "faststream"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=100)


@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
async def test_a_large_body_is_read_of_nobody_without_a_key(databases, length):
    with databases.fresh("sqlite") as database, processes.server("uvicorn", database) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /livepush/publish/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer lpk_{'a' * 10}_{'b' * 43}\r\n"
        writer.write(head.encode() + length + b"\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")  # though nothing of the body has come
        writer.close()


# Tenants


@pytest.fixture(params=[ALIASES[0]])
def site(request, transactional_db, settings):
    """A site with tenants."""
    authorizing.forget()
    settings.LIVEPUSH = {"DATABASE": request.param, "TENANT": "tests.shop.subdomains.Subdomains"}
    with tenants.active("acme"):
        return keys.create_key("acme", groups=["board"], recipients=["everyone"])


def post(key, tenant, body=EVENT, path="publish/"):
    headers = {"authorization": f"Bearer {key}", "host": f"{tenant}.shop.test"}
    return Client().post(f"/livepush/{path}", json.dumps(body), content_type="application/json", headers=headers)


def test_a_key_is_good_for_its_tenants_site_alone(site):
    answer = post(site, "acme")
    (event,) = events_of(ALIASES[0])
    assert event.groups == ("acme|board",)
    assert answer.json()["positions"][0].endswith(f"-{event.number}")
    assert post(site, "globex").json()["code"] == "bad_api_key"
    assert post(site, "nowhere").json()["code"] == "no_tenant"
    assert post(site, "acme", {"recipients": ["everyone"], "title": "Hi"}, "publish/notify/").status_code == 200
    assert [event.groups for event in events_of(ALIASES[0])][1:] == [("acme|inbox:all",)]


def test_a_tenant_can_not_touch_another_ones_key(site):
    prefix = ApiKey.objects.get().prefix
    with tenants.active("globex"), pytest.raises(keys.InvalidApiKey):
        keys.revoke_key(prefix)


# The admin and the command


def run(*args, **options):
    out = StringIO()
    call_command("livepush_key", *args, stdout=out, stderr=StringIO(), no_color=True, **options)
    return out.getvalue().strip()


@pytest.mark.django_db(transaction=True)
def test_the_command_makes_lists_rotates_and_revokes_keys():
    key = run("create", "Warehouse", "--group", "order:*", "--group", "board", "--type", "status", "--expires", "90d")
    prefix = keys.find(key).prefix
    assert run("list").startswith(f"{prefix} Warehouse; groups order:*,board; types status; expires 2")
    rotated = run("rotate", prefix, "--grace", "0s")
    assert (keys.find(key), keys.find(rotated).name) == (None, "Warehouse")
    assert run("revoke", prefix) == f"The key {prefix} works no more."
    assert keys.find(rotated) is None
    assert "revoked 2" in run("list")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create",), "Say which key"),
        (("create", "x"), "could do nothing"),
        (("create", "x", "--group", "ä"), "is not a pattern"),
        (("create", "x", "--group", "a", "--expires", "soon"), "is not a time"),
        (("rotate", "nope"), "There is no key"),
    ],
)
def test_the_command_says_what_is_wrong(args, message):
    with pytest.raises(CommandError, match=message):
        run(*args)


@pytest.mark.django_db(transaction=True)
def test_the_admin_shows_a_key_once(admin_client):
    fields = {"name": "Warehouse", "groups": "order:*, board", "types": "*", "recipients": ""}
    answer = admin_client.post(reverse("admin:livepush_apikey_add"), fields, follow=True)
    row = ApiKey.objects.get()
    (key,) = [word.rstrip(".") for word in answer.text.split() if word.startswith(f"lpk_{row.prefix}_")]
    assert keys.find(key) == row
    assert row.groups == "order:*\nboard"
    listed = admin_client.get(reverse("admin:livepush_apikey_changelist")).text
    assert row.prefix in listed
    assert key.split("_", 2)[2] not in listed
    bad = admin_client.post(reverse("admin:livepush_apikey_change", args=[row.pk]), {**fields, "groups": "ä"})
    assert "is not a pattern" in bad.text
    for action in ("rotate", "revoke"):
        data = {"action": action, "_selected_action": [row.pk]}
        admin_client.post(reverse("admin:livepush_apikey_changelist"), data)
    assert keys.find(key) is None


@pytest.mark.django_db(transaction=True)
def test_the_admin_rotates_no_key_that_has_ended(admin_client):
    keys.create_key("Warehouse", groups=["board"])
    ApiKey.objects.update(expires=timezone.now())
    data = {"action": "rotate", "_selected_action": [ApiKey.objects.get().pk]}
    answer = admin_client.post(reverse("admin:livepush_apikey_changelist"), data, follow=True)
    assert "has ended" in answer.text
    assert "lpk_" not in answer.text


@pytest.mark.parametrize("serve", [endpoint.publish, endpoint.notify])
async def test_a_query_that_is_no_utf8_is_refused_in_order(serve, caplog):
    """Some servers let such bytes pass. A publisher that is told to come back would do so for ever."""
    told = []

    async def send(message):
        told.append(message)

    scope = {"type": "http", "method": "POST", "path": "/livepush/publish/", "query_string": b"x=\xff", "headers": []}
    await serve(scope, None, send)
    await process.stop()
    assert (told[0]["status"], json.loads(told[1]["body"])["code"]) == (400, "bad_query")
    assert not [record for record in caplog.records if record.exc_info]
