"""A site of django-tenants, with a schema for each tenant, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration import clients
from tests.patience import PATIENCE
from tests.servers.databases import ENV
from tests.servers.fresh import ROOT, Database, _query
from tests.servers.processes import free_port

pytestmark = pytest.mark.long
PACKAGES = ("django-tenants>=3.10", "psycopg[binary]>=3.2.2", "uvicorn>=0.40", "websockets>=15")
TENANTS = ("acme", "globex")
READY = "/livepush/poll/?group=board"


class Teller:
    """The process that makes the tenants, and does what it is told for one of them."""

    def __init__(self, python: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "tests.projects.schemas.teller", *TENANTS],
            cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            self._read()  # the tenants are made
        except BaseException:
            self.close()
            raise

    def __call__(self, tenant: str, name: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, {**arguments, "tenant": tenant}]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()


@dataclass
class Site:
    database: Database
    tell: Teller
    asgi: str
    wsgi: str
    log: Path

    @staticmethod
    def headers(tenant: str, cookie: str = "") -> dict[str, str]:
        return {"Host": f"{tenant}.localhost", **({"Cookie": cookie} if cookie else {})}

    def position(self) -> str:
        return str(self.tell("acme", "position"))


@contextlib.contextmanager
def served(words: list[Any], env: dict[str, str], port: int, log: Path) -> Iterator[str]:
    with log.open("a") as output:
        process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while not answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(url: str) -> bool:
    try:
        request = urllib.request.Request(f"{url}{READY}", headers=Site.headers("acme"))
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def python(python_with: Callable[..., Path]) -> Path:
    return python_with("django-tenants", *PACKAGES)


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    """The environment of the site's processes, with an empty database."""
    name = f"livepush_schemas_{os.getpid()}"
    _query("postgresql", "postgres", f"CREATE DATABASE {name}")
    yield {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.projects.schemas.settings",
        "SCHEMAS_DATABASE": name,
        "SCHEMAS_HOST": json.loads(os.environ[ENV])["postgresql"]["HOST"],
    }
    _query("postgresql", "postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def site(python: Path, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    log = tmp_path_factory.mktemp("schemas") / "log"
    tell = Teller(python, env)
    ports = free_port(), free_port()
    asgi = [python, "-m", "uvicorn", "--port", str(ports[0]), "tests.asgi:application"]
    wsgi = [python, "-m", "tests.servers.wsgi", str(ports[1])]
    try:
        with served(asgi, env, ports[0], log) as first, served(wsgi, env, ports[1], log) as second:
            yield Site(Database("postgresql", env["SCHEMAS_DATABASE"]), tell, first, second, log)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        tell.close()


@pytest.fixture(scope="module")
def cookies(site: Site) -> dict[str, str]:
    """The sessions of the users with the primary key 1, one in each tenant."""
    return {
        "acme": site.tell("acme", "session", username="ann"),
        "globex": site.tell("globex", "session", username="bob"),
    }


@contextlib.asynccontextmanager
async def socket_of(site: Site, tenant: str, groups: str | list[str], cookie: str = "", **query: object) -> Any:
    address = clients.address(f"ws://{tenant}.localhost", "ws", groups, **query)
    port = int(site.asgi.rpartition(":")[2])
    async with clients.connected(address, port, {"Cookie": cookie} if cookie else {}) as socket:
        yield socket


async def poll(
    site: Site, tenant: str, groups: str | list[str], cookie: str = "", url: str = "", **query: object
) -> Any:
    async with clients.http() as client:
        address = clients.address(url or site.asgi, "poll", groups, **query)
        return await client.get(address, headers=site.headers(tenant, cookie))


async def test_users_with_one_primary_key_read_their_own_groups(site: Site, cookies: dict[str, str]) -> None:
    start = site.position()
    async with (
        clients.sse(site.asgi, "user:1", headers=site.headers("acme", cookies["acme"])) as acme,
        socket_of(site, "globex", "user:1", cookies["globex"]) as globex,
    ):
        assert (await acme.fields())["event"] == (await clients.frame(globex))["type"] == "livepush.hello"
        for tenant in ("globex", "acme"):
            site.tell(tenant, "send", groups="user:1", type="told", data=tenant)
        assert (await acme.fields())["data"] == '"acme"'
        assert (await clients.frame(globex))["data"] == "globex"
    for url in (site.asgi, site.wsgi):
        for tenant in TENANTS:
            found = await poll(site, tenant, "user:1", cookies[tenant], url, since=start, wait=10)
            assert [(event["group"], event["data"]) for event in found.json()["events"]] == [("user:1", tenant)]
            other = cookies["globex" if tenant == "acme" else "acme"]
            assert (await poll(site, tenant, "user:1", other, url)).status_code == 403  # a session of another schema


async def test_rules_ask_the_schema_of_their_tenant_also_where_many_are_asked_at_once(site: Site) -> None:
    for number in range(3):
        kept = site.tell("acme", "write", text=f"note {number}")
    groups = [f"note:{kept}", f"later:{kept}"]

    async def granted(tenant: str) -> Any:
        return (await poll(site, tenant, ["board", *groups])).json()["refused"]

    asked = [*TENANTS] * 30
    found = await asyncio.gather(*(granted(tenant) for tenant in asked))
    assert found == [[] if tenant == "acme" else groups for tenant in asked]
    for tenant in TENANTS:
        assert (await poll(site, tenant, ["board", *groups], url=site.wsgi)).json()["refused"] == (
            [] if tenant == "acme" else groups
        )


async def test_a_saved_instance_sends_to_its_tenant(site: Site) -> None:
    async with (
        clients.sse(site.asgi, "board", headers=site.headers("globex")) as globex,
        socket_of(site, "acme", "board") as acme,
    ):
        await globex.fields()
        await clients.frame(acme)
        since = site.position()
        key = site.tell("acme", "write", text="saved")
        group = f"note:{key}"
        found = (await poll(site, "acme", group, since=since, wait=10)).json()["events"]
        assert [(event["group"], event["type"], event["data"]["text"]) for event in found] == [
            (group, "note.created", "saved")
        ]
        await acme.send(json.dumps({"command": "subscribe", "groups": [group], "since": since, "ref": 1}))
        assert (await clients.frame(acme))["groups"] == [group]
        assert (await clients.frame(acme))["data"]["text"] == "saved"
        site.tell("globex", "send", groups="board", type="t", data="the next")
        assert (await globex.fields())["data"] == '"the next"'


async def test_the_inbox_and_the_receivers_are_of_the_tenant(site: Site, cookies: dict[str, str]) -> None:
    for tenant in TENANTS:
        site.tell(tenant, "notify", to="inbox:all", title=f"Hello, {tenant}")
    for tenant, other in (("acme", "globex"), ("globex", "acme")):
        async with clients.http() as client:
            headers = site.headers(tenant, cookies[tenant])
            for url in (site.asgi, site.wsgi):
                listed = (await client.get(f"{url}/livepush/inbox/entries/", headers=headers)).json()
                assert [entry["title"] for entry in listed["entries"]] == [f"Hello, {tenant}"]
            page = (await client.get(f"{site.asgi}/page/", headers=headers)).text
            assert "[&quot;user:1&quot;, &quot;inbox:all&quot;]" in page
            assert other not in page
        notes = site.tell(tenant, "notes")
        assert f"notified: Hello, {tenant}" in notes
        assert f"notified: Hello, {other}" not in notes


async def test_a_lost_connection_leaves_no_rule_in_another_schema(site: Site) -> None:
    key = site.tell("acme", "write", text="still there")
    site.database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle'"
        " AND application_name = '' AND backend_type = 'client backend'"
    )
    for _ in range(3):
        for tenant in TENANTS:
            answer = (await poll(site, tenant, ["board", f"note:{key}"])).json()
            assert answer["refused"] == ([] if tenant == "acme" else [f"note:{key}"])


async def test_where_no_tenant_has_the_domain_nobody_gets_in(site: Site) -> None:
    answer = await poll(site, "nobody", "board")
    assert (answer.status_code, answer.json()["code"]) == (403, "no_tenant")


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, set()),
        ({"SCHEMAS_LIVEPUSH": "{}"}, {"livepush.E015"}),
        ({"SCHEMAS_TENANT_APPS": '["livepush"]'}, {"livepush.E014"}),
    ],
    ids=["as the manual says", "without the hook", "a log for each tenant"],
)
def test_the_checks_know_the_site(
    python: Path, env: dict[str, str], site: Site, more: dict[str, str], found: set[str]
) -> None:
    words = [python, "-W", "ignore", "-m", "django", "check"]
    answer = subprocess.run(words, cwd=ROOT, env={**env, **more}, capture_output=True, text=True, check=False)
    assert {word.strip("():") for word in answer.stderr.split() if word.startswith("(livepush.")} == found
    assert (answer.returncode != 0) == bool(found)


def test_the_schemas_are_migrated_again_without_a_complaint(python: Path, env: dict[str, str], site: Site) -> None:
    words = [python, "-W", "ignore", "-m", "django", "migrate_schemas", "-v", "0"]
    subprocess.run(words, cwd=ROOT, env=env, check=True)
    tables = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'livepush_event'"
    assert site.database.query(tables) == [("public",)]
