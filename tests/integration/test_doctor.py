"""livepush_doctor looks at real servers behind a real nginx: each problem is made, and found with its remedy."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import livepush
from livepush.doctor import examination, web
from livepush.doctor.check import Check, run
from livepush.doctor.server import check_server
from livepush.doctor.site import Site, check_site
from livepush.doctor.static_files import check_script
from livepush.doctor.web import parse_root
from tests.docs_blocks import PAGES, blocks
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

LIMIT = 30.0
STATIC = Path(livepush.__file__).parent / "static"
GRACE = {"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "5"}


class Outcome(NamedTuple):
    """What a run of the command said."""

    code: int
    checks: dict[str, dict[str, Any]]

    @property
    def ids(self) -> list[str]:
        return [finding["id"] for check in self.checks.values() for finding in check["findings"]]

    def finding(self, id: str) -> dict[str, str]:
        """Return the one finding with an id."""
        (found,) = [each for check in self.checks.values() for each in check["findings"] if each["id"] == id]
        return found


def doctor(database: Database, *arguments: str, env: dict[str, str] | None = None) -> Outcome:
    """Run the command as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "livepush_doctor", "--json", *arguments],
        env={**database.env, **(env or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    return Outcome(done.returncode, {check["name"]: check for check in found["checks"]})


def look(url: str, limit: float = LIMIT, idle: bool = False) -> dict[str, Check]:
    """Look at a site from this process, which knows its key but not its log."""
    site = Site(parse_root(url), limit)
    return {check.name: check for check in examination.examine_site(site, None, limit, idle)}


def look_inside(url: str) -> dict[str, Check]:
    """Look at the process behind a site alone."""
    site = Site(parse_root(url), LIMIT)
    found = [
        run("site", partial(check_site, site=site), LIMIT),
        run("server", partial(check_server, site=site, head=None, patience=LIMIT), LIMIT),
    ]
    return {check.name: check for check in found}


def ids(checks: dict[str, Check]) -> list[str]:
    return [finding.id for check in checks.values() for finding in check.findings]


def seen(checks: dict[str, Check], id: str) -> str:
    (text,) = [finding.seen for check in checks.values() for finding in check.findings if finding.id == id]
    return text


def settings_module(folder: Path, **values: Any) -> dict[str, str]:
    """Return the environment of a process with other settings."""
    lines = ["from tests.settings import *", *(f"{name} = {value!r}" for name, value in values.items())]
    (folder / "other_settings.py").write_text("\n".join(lines) + "\n")
    return {"DJANGO_SETTINGS_MODULE": "other_settings", "PYTHONPATH": f"{ROOT}:{folder}"}


@pytest.fixture(scope="module")
def own(databases: Databases) -> Iterator[Database]:
    """The module's database."""
    with databases.fresh("postgresql") as found:
        yield found


@pytest.fixture(scope="module")
def uvicorn(own: Database) -> Iterator[processes.Server]:
    with processes.server("uvicorn", own, {"HEARTBEAT": 2}, env=GRACE) as found:
        yield found


@pytest.fixture(scope="module")
def daphne(own: Database) -> Iterator[processes.Server]:
    with processes.server("daphne", own) as found:
        yield found


# Behind nginx


def stock(upstream: int, more: str = "", http: str = "") -> str:
    """Return a server block that does no more than pass on, but for ``more``; ``%(port)s`` is its port."""
    location = f"location / {{ proxy_pass http://127.0.0.1:{upstream}; {more} }}"
    return f"server {{ listen 127.0.0.1:%(port)s; {http} {location} }}"


HOST = "proxy_set_header Host $http_host;"
UPGRADE = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
PLAIN = f"{HOST} {UPGRADE}"
"""All that a stream and a WebSocket need of a proxy."""
GZIP = "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;"

Behind = Callable[[str], str]


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    """Starts nginx with a server block; returns its address."""
    with contextlib.ExitStack() as stack:

        def start(block: str, scheme: str = "http") -> str:
            port = free_port()
            stack.enter_context(nginx(tmp_path, block % {"port": port}, [port]))
            return f"{scheme}://127.0.0.1:{port}/"

        yield start


@pytest.fixture(params=some(["uvicorn", "daphne"]))
def server(request: pytest.FixtureRequest) -> processes.Server:
    found: processes.Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.long
def test_a_stock_proxy_strips_the_upgrade_and_changes_the_host(server: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(server.port)))
    assert ids(found) == ["D046", "D061"]
    assert found["stream"].status == "ok", "X-Accel-Buffering is heeded"
    assert seen(found, "D061") == "status 426"
    assert f"127.0.0.1:{server.port} arrived" in seen(found, "D046")


HALVES = ["proxy_set_header Upgrade $http_upgrade;", 'proxy_set_header Connection "upgrade";']


@pytest.mark.long
@pytest.mark.parametrize("left_out", some(HALVES))
def test_a_proxy_that_passes_half_of_the_upgrade(server: processes.Server, behind: Behind, left_out: str) -> None:
    assert left_out in PLAIN
    found = look(behind(stock(server.port, PLAIN.replace(left_out, ""))))
    assert ids(found) == ["D061"]


@pytest.mark.long
def test_a_proxy_that_does_not_heed_x_accel_buffering(server: processes.Server, behind: Behind) -> None:
    """nginx holds back what it gets over HTTP/1.0, its default; what comes in chunks, over 1.1, it passes on."""
    found = look(behind(stock(server.port, f"{HOST} proxy_ignore_headers X-Accel-Buffering;")))
    assert ids(found) == ["D051", "D061"]
    assert seen(found, "D051").startswith("3 frames sent within 2 s came within ")


@pytest.mark.long
def test_a_proxy_that_compresses(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(uvicorn.port, f"{PLAIN} proxy_hide_header Content-Encoding;", GZIP)))
    assert ids(found) == ["D052"]
    assert seen(found, "D052") == "Content-Encoding: gzip"


@pytest.mark.long
def test_what_livepush_sends_keeps_nginx_from_compressing(uvicorn: processes.Server, behind: Behind) -> None:
    assert ids(look(behind(stock(uvicorn.port, PLAIN, GZIP)))) == []


@pytest.mark.long
def test_a_proxy_that_hides_headers(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(uvicorn.port, f"{PLAIN} proxy_hide_header Cache-Control;")))
    assert ids(found) == ["D053"]
    assert seen(found, "D053") == "Cache-Control: none, Content-Type: text/event-stream"


@pytest.mark.long
def test_a_proxy_that_cuts_streams(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(uvicorn.port, f"{PLAIN} proxy_read_timeout 300ms;")))
    assert "D054" in ids(found)
    assert seen(found, "D054").startswith("1 of 3 frames, then: ")


@pytest.mark.long
def test_a_proxy_that_does_not_let_streams_through(uvicorn: processes.Server, behind: Behind) -> None:
    block = stock(uvicorn.port, PLAIN).replace("location /", "if ($arg_ask = stream) { return 502; } location /")
    found = look(behind(block))
    assert ids(found) == ["D054"]
    assert seen(found, "D054") == "status 502"


@pytest.mark.long
def test_a_proxy_that_cuts_quiet_streams(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(uvicorn.port, f"{PLAIN} proxy_read_timeout 2s;")), idle=True)
    assert ids(found) == ["D055"]
    assert found["stream"].status == "ok"


@pytest.mark.long
def test_a_proxy_that_asks_for_another_host(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind(stock(uvicorn.port, f"{UPGRADE} proxy_set_header Host elsewhere.example;")))
    assert ids(found) == ["D045"]
    assert found["stream"].unchecked == ["Not checked: see the findings of the site."]


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A certificate that this process trusts, as nginx's directives."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    day = datetime.timedelta(days=1)
    signed = (
        builder.not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(address, False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(signed.public_bytes(pem))
    plain = serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return f"ssl_certificate {tmp_path}/cert.pem; ssl_certificate_key {tmp_path}/key.pem;"


def written(language: str) -> list[str]:
    """Return the configurations in a language that docs/deploying.md shows."""
    (page,) = [page for page in PAGES if page.name == "deploying.md"]
    return [block.text for block in blocks(page) if block.language == language]


def documented(upstream: int, certificate: str) -> str:
    """Return the configuration of docs/deploying.md for these ports."""
    text, *_ = written("nginx")
    for before, after in (
        ("listen 443 ssl http2;", f"listen 127.0.0.1:%(port)s ssl http2; {certificate}"),
        ("server_name example.com;", ""),
        ("alias /srv/mysite/static/;", f"alias {STATIC}/;"),
        ("ssl_certificate /etc/ssl/example.com.pem;", ""),
        ("ssl_certificate_key /etc/ssl/example.com.key;", ""),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")


@pytest.mark.long
def test_the_documented_proxy_is_all_right(
    own: Database, uvicorn: processes.Server, behind: Any, certificate: str
) -> None:
    url = behind(documented(uvicorn.port, certificate), "https")
    found = doctor(own, "--url", url, "--idle")
    assert (found.code, found.ids) == (0, [])
    assert {name: check["status"] for name, check in found.checks.items()} == dict.fromkeys(
        (
            "settings", "database", "layer", "retention", "site", "script", "server", "stream", "websocket", "idle",
            "clock",
        ),
        "ok",
    )  # fmt: skip
    assert found.checks["script"]["figures"] == {"script": f"{url}static/livepush/livepush.js"}
    assert found.checks["site"]["figures"]["http2"] is True
    assert found.checks["server"]["figures"]["request"] == {
        "host": url[len("https://") : -1],
        "origin": "ok",
        "secure": True,
    }
    assert found.checks["server"]["figures"]["server"] == "uvicorn"


def test_https_that_arrives_as_http_and_without_http2(uvicorn: processes.Server, behind: Any, certificate: str) -> None:
    block = stock(uvicorn.port, PLAIN).replace("%(port)s;", f"%(port)s ssl; {certificate}")
    found = look_inside(behind(block, "https"))
    assert ids(found) == ["D048", "D047"]


def test_a_certificate_that_nobody_trusts(
    uvicorn: processes.Server, behind: Any, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = behind(documented(uvicorn.port, certificate), "https")
    monkeypatch.delenv("SSL_CERT_FILE")
    found = look(url)
    assert ids(found) == ["D041"]
    assert "certificate verify failed" in seen(found, "D041")


# The way there


def test_a_server_that_is_down(own: Database) -> None:
    found = doctor(own, "--url", f"http://127.0.0.1:{free_port()}/")
    assert (found.code, found.ids) == (1, ["D041"])
    assert "ConnectionRefusedError" in found.finding("D041")["seen"]
    assert found.checks["database"]["status"] == "ok"
    assert found.checks["clock"]["unchecked"] == ["The server's clock was not compared: see the findings of the site."]


def test_a_site_without_https_that_is_named_without_its_scheme(uvicorn: processes.Server) -> None:
    found = look(f"127.0.0.1:{uvicorn.port}")
    assert ids(found) == ["D041"]
    said = seen(found, "D041")
    assert said.startswith("SSLError: ")
    assert f", at https://127.0.0.1:{uvicorn.port}; a --url without a scheme means https: " in said
    assert said.endswith(f"if the site speaks http, write --url http://127.0.0.1:{uvicorn.port}/")


def test_a_server_that_does_not_answer(uvicorn: processes.Server) -> None:
    with faults.line(uvicorn.port) as line:
        line.stall()
        found = look(line.url, limit=1.0)
    assert ids(found) == ["D041"]


def test_a_wrong_url(uvicorn: processes.Server) -> None:
    found = look(f"{uvicorn.url}/nowhere/")
    assert ids(found) == ["D042"]
    assert seen(found, "D042") == "/livepush/sse/ answers 404 (text/html)"


class Static(BaseHTTPRequestHandler):
    """Another host with static files, each as ``kinds`` says: a status and a type, or where it leads."""

    kinds: ClassVar[dict[str, tuple[int, str]]] = {
        "/good/": (200, "text/javascript; charset=utf-8"),
        "/moved/": (301, "/good/livepush/livepush.js"),
        "/missing/": (404, "text/html"),
        "/page/": (200, "text/html"),
    }

    def do_GET(self) -> None:
        status, more = next(
            (kind for start, kind in self.kinds.items() if self.path.startswith(start)), (404, "text/html")
        )
        self.send_response(status)
        self.send_header("Location" if status == 301 else "Content-Type", more)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class Guarded(Static):
    """A host that wants a name and a password for everything, as nginx's ``auth_basic`` does."""

    def do_GET(self) -> None:
        if self.headers["Authorization"] == "Basic YW5uOng=":  # ann:x
            super().do_GET()
        else:
            self.send_error(401)


@contextlib.contextmanager
def host_of(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a host with static files; yield its name and port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The address of another host with static files."""
    with host_of(Static) as host:
        yield f"http://{host}"


def script(url: str) -> Check:
    """Look at the client's script of a site alone."""
    site = Site(parse_root(url), LIMIT)
    return run("script", partial(check_script, site=site), LIMIT)


@pytest.mark.long
def test_a_server_without_static_files(uvicorn: processes.Server, settings: Any) -> None:
    settings.STATIC_URL = "/nowhere/"
    found = look(uvicorn.url)
    assert ids(found) == ["D057"]
    assert seen(found, "D057") == f"{uvicorn.url}/nowhere/livepush/livepush.js answers 404 (text/html)"
    assert "collectstatic" in found["script"].findings[0].remedy


@pytest.mark.parametrize(
    ("folder", "said"),
    [("good", ""), ("moved", ""), ("missing", "answers 404 (text/html)"), ("page", "answers 200 (text/html)")],
)
def test_static_files_of_another_host(
    uvicorn: processes.Server, elsewhere: str, settings: Any, folder: str, said: str
) -> None:
    settings.STATIC_URL = f"{elsewhere}/{folder}/"
    found = script(uvicorn.url)
    address = f"{elsewhere}/{folder}/livepush/livepush.js"
    assert [each.seen for each in found.findings] == ([f"{address} {said}"] if said else [])
    assert found.status == ("error" if said else "ok")


def test_static_files_of_another_host_that_this_one_does_not_reach(uvicorn: processes.Server, settings: Any) -> None:
    settings.STATIC_URL = f"http://127.0.0.1:{free_port()}/"
    found = script(uvicorn.url)
    assert (found.status, found.findings) == ("unknown", [])
    assert "livepush.js gives ConnectionRefusedError" in found.unchecked[0]


def test_static_files_whose_address_is_not_known_here(uvicorn: processes.Server, settings: Any) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
    settings.STATIC_ROOT = "/nowhere"
    found = script(uvicorn.url)
    assert (found.status, found.findings) == ("unknown", [])
    assert "Missing staticfiles manifest entry for 'livepush/livepush.js'" in found.unchecked[0]


def test_static_files_below_the_path_of_a_site(elsewhere: str) -> None:
    found = script(f"{elsewhere}/good/")
    assert found.status == "ok", found.unchecked
    assert "; " in script(f"{elsewhere}/missing/").findings[0].seen


def test_static_files_behind_a_password(settings: Any) -> None:
    settings.STATIC_URL = "/good/"
    with host_of(Guarded) as host:
        assert script(f"http://ann:x@{host}/").status == "ok"
        assert script(f"http://ann:wrong@{host}/").findings[0].seen.endswith("answers 401 (text/html)")


def test_no_other_host_of_static_files_learns_the_sites_password(settings: Any) -> None:
    seen: list[str | None] = []

    class Noting(Static):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            super().do_GET()

    with host_of(Noting) as other:

        class Leading(Guarded):
            kinds: ClassVar[dict[str, tuple[int, str]]] = {"/away/": (301, f"http://{other}/good/livepush/livepush.js")}

        with host_of(Leading) as host:
            for address in ("/away/", f"http://{other}/good/"):
                settings.STATIC_URL = address
                assert script(f"http://ann:x@{host}/").status == "ok"
    assert seen == [None, None]


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "id", "said"),
    some(
        [
            (
                {"HANDSHAKE": ["tests.shop.gates.office"]},
                "D049",
                "answers 403 (application/json) with the code refused",
            ),
            ({"HANDSHAKE": ["tests.shop.gates.maintenance"]}, "D050", "says bye"),
            ({"AUTHENTICATORS": ["tests.nope"]}, "D050", "says bye"),
        ]
    ),
)
def test_a_site_that_refuses_this_command_is_looked_into_all_the_same(
    own: Database, settings: dict[str, Any], id: str, said: str
) -> None:
    with processes.server("uvicorn", own, settings, env=GRACE, may_fail=True) as server:
        found = look(server.url)
    assert ids(found) == [id]
    assert seen(found, id) == f"/livepush/sse/ {said}"
    assert [check for name in ("stream", "websocket") for check in found[name].unchecked] == []


@pytest.mark.long
def test_a_url_that_leads_elsewhere(uvicorn: processes.Server, behind: Behind) -> None:
    found = look(behind("server { listen 127.0.0.1:%(port)s; return 301 https://example.com$request_uri; }"))
    assert seen(found, "D042") == "/livepush/sse/ answers 301 and leads to https://example.com/livepush/sse/"


@pytest.mark.long
def test_a_server_with_another_secret_key(own: Database, uvicorn: processes.Server, tmp_path: Path) -> None:
    env = settings_module(tmp_path, SECRET_KEY="another")
    found = doctor(own, "--url", uvicorn.url, env=env)
    assert (found.code, found.ids) == (1, ["D043"])
    assert found.finding("D043")["seen"] == "/livepush/sse/ answers 400 (application/json) to the token"
    assert "SECRET_KEY" in found.finding("D043")["expected"]
    assert found.checks["stream"]["unchecked"] == ["Not checked: see the findings of the server."]


def test_wsgi(own: Database) -> None:
    with processes.server(processes.WSGI, own) as server:
        assert ids(look(server.url)) == ["D044"]


@pytest.mark.long
def test_a_websocket_that_opens_and_says_nothing(uvicorn: processes.Server) -> None:
    with mute(uvicorn.port) as port:
        found = look(f"http://127.0.0.1:{port}", limit=4.0)
    assert "D063" in ids(found)
    assert found["stream"].status == "ok"


class mute:  # noqa: N801
    """A proxy that lets a WebSocket's handshake through, and nothing after it."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._server = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self._server.getsockname()[1])

    def __exit__(self, *args: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            request = client.recv(65_536)
            server.sendall(request)
            opened = b"Upgrade: websocket" in request
            while piece := server.recv(65_536):
                head, mark, _ = piece.partition(b"\r\n\r\n")
                client.sendall(head + mark if opened else piece)
                if opened:
                    client.recv(1)  # wait for the client to give up
                    client.recv(65_536)
                    return


# The process behind


@pytest.mark.long
def test_a_server_with_debug_without_websockets_and_without_a_limit(own: Database, tmp_path: Path) -> None:
    env = {"UVICORN_WS": "none", **settings_module(tmp_path, DEBUG=True)}
    with processes.server("uvicorn", own, env=env, may_fail=True) as server:
        found = look(server.url)
    assert ids(found) == ["D071", "D074", "D062"]
    assert seen(found, "D062") == "status 426, though the upgrade reached the server"


def test_a_server_that_may_open_few_files(uvicorn: processes.Server) -> None:
    before = resource.prlimit(uvicorn.pid, resource.RLIMIT_NOFILE, (1024, 20_000))
    try:
        found = look_inside(uvicorn.url)
    finally:
        resource.prlimit(uvicorn.pid, resource.RLIMIT_NOFILE, before)
    assert ids(found) == ["D072"]
    assert seen(found, "D072").startswith("a limit of 1024, ")


LIMITS: dict[str, tuple[dict[str, int], list[str], list[str]]] = {
    "uvicorn": ({"MAX_EVENT_BYTES": 100_000}, ["--ws-max-size", "50000"], ["D064"]),
    "daphne": ({"MAX_EVENT_BYTES": 2_000_000}, [], ["D064"]),
    "daphne with many groups": ({"MAX_GROUPS": 1000}, [], ["D079"]),
}


@pytest.mark.long
@pytest.mark.parametrize("kind", some(list(LIMITS)))
def test_a_limit_of_the_server_that_is_lower_than_livepushs(kind: str, own: Database) -> None:
    settings, options, wanted = LIMITS[kind]
    with processes.server(kind.partition(" ")[0], own, settings, options=options, may_fail=True) as server:
        found = look(server.url)
        assert [each for each in ids(found) if each in ("D064", "D079")] == wanted


@pytest.mark.long
def test_a_server_that_compresses_websockets_because_something_wraps_its_channels(own: Database) -> None:
    with processes.server("uvicorn", own, application="tests.servers.wrapped:both") as server:
        assert "D065" in ids(look(server.url))


@pytest.mark.long
def test_other_servers_as_documented(own: Database) -> None:
    cases: list[tuple[str, list[str], list[str]]] = [
        ("hypercorn", [], []),
        ("granian", [], []),
        ("gunicorn", [], ["D079"]),
        ("gunicorn", ["--limit-request-line", "8190"], []),
    ]
    for kind, options, expected in cases:
        with processes.server(kind, own, options=options) as server:
            found = look(server.url)
            assert (kind, ids(found)) == (kind, expected)
            assert found["server"].figures["server"] == kind


@pytest.mark.long
def test_a_server_with_another_database(own: Database, uvicorn: processes.Server, database: Database) -> None:
    found = doctor(database, "--url", uvicorn.url)
    assert (found.code, found.ids) == (1, ["D075"])


@pytest.mark.long
def test_a_server_whose_hub_stands_still(own: Database) -> None:
    with faults.line(socket_of(own)) as line:
        through = own.through(HOST="127.0.0.1", PORT=line.port)
        with processes.server("uvicorn", through, {"DATABASE_TIMEOUT": 60}, env=GRACE, may_fail=True) as server:
            look_inside(server.url)  # its hub starts
            line.stall()
            found = doctor(own, "--url", server.url, "--timeout", "6")
            line.refuse()
    assert (found.code, found.ids) == (1, ["D076"])


def test_a_server_that_can_not_read_the_log(own: Database) -> None:
    with faults.line(socket_of(own)) as line:
        through = own.through(HOST="127.0.0.1", PORT=line.port)
        line.refuse()
        with processes.server("uvicorn", through, env=GRACE, may_fail=True) as server:
            found = look_inside(server.url)
    assert ids(found) == ["D077"]
    assert "OperationalError" in seen(found, "D077")


def socket_of(database: Database) -> str:
    options = json.loads(database.env["LIVEPUSH_TEST_DATABASES"])[database.kind]
    return f"{options['HOST']}/.s.PGSQL.5432"


@pytest.mark.long
def test_a_server_that_was_not_restarted(uvicorn: processes.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livepush, "__version__", "0.0.9")
    assert ids(look_inside(uvicorn.url)) == ["D078"]


def test_who_has_no_token_is_answered_as_usual(uvicorn: processes.Server, daphne: processes.Server) -> None:
    tokens = ("", "x", "doctor:1uxQ9a:AAAA", "%FF")
    for server in (uvicorn, daphne):
        root = parse_root(server.url)
        for path in ("sse/", "ws/"):
            usual = web.get(root, f"/livepush/{path}", LIMIT)
            for token in tokens:
                found = web.get(root, f"/livepush/{path}?doctor={token}&ask=stream", LIMIT)
                if token != "%FF":  # which is no UTF-8
                    assert (found.status, found.body) == (usual.status, usual.body)
                assert sorted(found.headers.keys()) == sorted(usual.headers.keys())
        for token in tokens:
            with (
                web.websocket(root, f"/livepush/ws/?doctor={token}", LIMIT) as refused,
                pytest.raises(EOFError, match="4400"),
            ):
                refused.receive()


def only(upstream: int, path: str, allowed: str, rest: str = "") -> str:
    """Return a server block with directives for one path alone; the rest is passed on with others."""
    exact = f"location {path} {{ proxy_pass http://127.0.0.1:{upstream}; {allowed} }}"
    return stock(upstream, f"{HOST} {rest}").replace("location /", f"{exact} location /", 1)


@pytest.mark.long
def test_a_proxy_that_upgrades_the_websockets_address_alone(server: processes.Server, behind: Behind) -> None:
    found = look(behind(only(server.port, "= /livepush/ws/", PLAIN)))
    assert ids(found) == []
    assert found["websocket"].status == "ok"


@pytest.mark.long
def test_a_proxy_that_upgrades_all_but_the_websockets_address(server: processes.Server, behind: Behind) -> None:
    found = look(behind(only(server.port, "= /livepush/ws/", HOST, UPGRADE)))
    assert ids(found) == ["D061"]
    assert seen(found, "D061") == "status 426"


@pytest.mark.long
def test_a_proxy_that_holds_back_all_but_streams(server: processes.Server, behind: Behind) -> None:
    rest = f"{UPGRADE} proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;"
    assert ids(look(behind(only(server.port, "= /livepush/sse/", f"{PLAIN} proxy_buffering off;", rest)))) == []


@pytest.mark.long
def test_a_proxy_that_holds_back_streams_alone(uvicorn: processes.Server, behind: Behind) -> None:
    allowed = f"{HOST} proxy_ignore_headers X-Accel-Buffering;"
    assert ids(look(behind(only(uvicorn.port, "= /livepush/sse/", allowed, UPGRADE)))) == ["D051"]


@pytest.mark.long
def test_a_proxy_that_passes_on_streams_and_websockets_and_no_more(uvicorn: processes.Server, behind: Behind) -> None:
    """What the doctor needs is there, and polls are not."""
    block = stock(uvicorn.port, PLAIN).replace(
        "location /", "location / { return 404; } location ~ ^/livepush/(sse|ws)/$"
    )
    found = look(behind(block))
    assert ids(found) == ["D056", "D057"]
    assert seen(found, "D056") == "/livepush/poll/ answers 404 (text/html)"


# The host's side, as a process of its own


@pytest.mark.long
def test_a_database_that_refuses(own: Database) -> None:
    found = doctor(own.through(HOST="127.0.0.1", PORT=free_port()), "--timeout", "20")
    assert (found.code, found.ids) == (1, ["D001"])
    assert "OperationalError" in found.finding("D001")["seen"]
    assert [name for name, check in found.checks.items() if check["unchecked"]] == ["layer", "retention", "clock"]


@pytest.mark.long
def test_a_database_that_does_not_answer(own: Database) -> None:
    with faults.line(socket_of(own)) as line:
        line.stall()
        found = doctor(own.through(HOST="127.0.0.1", PORT=line.port), "--timeout", "2")
    assert (found.code, found.ids) == (1, ["D001"])
    assert found.finding("D001")["seen"] == "nothing came within 2 s (--timeout)"


@pytest.mark.long
def test_a_database_far_away(own: Database) -> None:
    with faults.line(socket_of(own)) as line:
        line.delay = 0.012
        found = doctor(own.through(HOST="127.0.0.1", PORT=line.port), "--timeout", "60")
    assert (found.code, found.ids) == (0, ["D005"])


@pytest.mark.long
def test_sqlite_with_its_defaults_and_not_migrated(tmp_path: Path) -> None:
    found = doctor(Database("sqlite", str(tmp_path / "empty.sqlite3")).through(OPTIONS={}))
    assert (found.code, found.ids) == (1, ["D007", "D002"])
    assert found.finding("D007")["seen"] == "journal_mode DELETE and transaction_mode DEFERRED"
    assert found.finding("D002")["seen"].startswith("not applied: 0001_initial")
