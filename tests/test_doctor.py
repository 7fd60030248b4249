"""What livepush_doctor says of this host: each problem is made, and found with its remedy."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone

from livepush import log
from livepush.doctor import clock
from livepush.doctor import database as database_checks
from livepush.doctor import layer as layer_checks
from livepush.doctor import notify as notify_checks
from livepush.doctor.check import Check, run, run_together
from livepush.doctor.facts import masked
from livepush.doctor.problems import Level, Problem
from livepush.doctor.protocol import is_token, make_token
from livepush.doctor.proxies import NAMES, REMEDIES
from livepush.doctor.site import Site
from livepush.doctor.streams import check_websocket
from livepush.doctor.web import parse_root
from livepush.management.commands.livepush_doctor import Command
from livepush.models import Event, LogHead
from livepush.streams import here
from tests.conftest import Thread, append, kind, settle
from tests.patience import PATIENCE, wait_until
from tests.scale import some
from tests.servers import faults


def doctor(*args, using="default", code=0, **settings):
    """Run the command, patiently unless it is told otherwise; return each check by name."""
    out, ended = StringIO(), 0
    args = args if "--timeout" in args else (*args, "--timeout", str(PATIENCE))
    silenced = ["livepush.W008"]  # the shop's models are on the default database, whichever has the log
    with override_settings(LIVEPUSH={"DATABASE": using, **settings}, SILENCED_SYSTEM_CHECKS=silenced):
        try:
            call_command("livepush_doctor", *args, json=True, stdout=out)
        except SystemExit as exit:
            ended = exit.code
    found = json.loads(out.getvalue())
    assert ended == code, found
    assert found["ok"] == (code == 0)
    return {check["name"]: check for check in found["checks"]}


def ids(*checks):
    return [finding["id"] for check in checks for finding in check["findings"]]


def test_a_host_that_is_set_up_well_hears_nothing(using):
    found = doctor(using=using)
    assert list(found) == ["settings", "database", "layer", "retention", "clock"]
    assert {name: (check["status"], check["findings"]) for name, check in found.items()} == dict.fromkeys(
        found, ("ok", [])
    )
    figures = found["database"]["figures"]
    assert figures["database"].lower() == kind(using)
    assert figures["round_trip_ms"] > 0
    assert figures["settle_ms"] > 0
    assert figures["waiting"] == 0


def test_the_event_of_the_test_goes_to_a_group_of_its_own_and_is_all_that_stays(using):
    doctor(using=using)
    assert list(Event.objects.using(using).values_list("group", "type", "position")) == [
        ("livepush:doctor", "probe", 1)
    ]


def test_what_people_read(transactional_db, settings):
    settings.LIVEPUSH = {"HINT": "none"}
    append("default")
    Event.objects.update(created=timezone.now() - timedelta(minutes=10))
    out = StringIO()
    call_command("livepush_doctor", stdout=out, no_color=True)
    lines = out.getvalue().split("\n")
    assert lines[0] == "ok       settings   retention 7 days, heartbeat 15 s"
    assert lines[1].startswith("warning  database   round trip ")
    assert lines[2:6] == [
        "         D004 warning: committed events waited for their positions for over a minute",
        "           seen:     1 events, the oldest for 10 minutes",
        "           expected: positions within a second or so",
        "           remedy:   see that a server with a hub runs: it settles what a killed process left",
    ]
    assert lines[6] == "ok       layer      none that reaches other processes: their events arrive within 0.25 s"
    assert lines[7].startswith("ok       retention  2 events from ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--url", "ftp://example.com"], "'ftp://example.com' is not the address of a site"),
        (["--timeout", "0"], "--timeout must be above 0"),
        (["--idle"], "--idle looks at a site: give its --url"),
    ],
)
def test_what_can_not_be_asked_for_is_said(args, message):
    with pytest.raises(CommandError, match=message):
        call_command("livepush_doctor", *args)


def test_addresses():
    assert parse_root("example.com").origin == "https://example.com"
    assert parse_root("https://example.com:443/app/")[1:5] == ("example.com", 443, "example.com", "/app")
    assert parse_root("http://[::1]:8000")[1:5] == ("::1", 8000, "[::1]:8000", "")


def test_a_name_and_password_in_the_address_travel_with_each_request():
    root = parse_root("https://ann:a%3Ab%40c@stage.example.com/app/")
    assert root[1:5] == ("stage.example.com", 443, "stage.example.com", "/app")
    assert root.headers == {"Host": "stage.example.com", "Authorization": "Basic YW5uOmE6YkBj"}


class Refuses(BaseHTTPRequestHandler):
    """Answers a handshake as something else than livepush does."""

    def do_GET(self):
        self.server.heard.append(self.headers)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 426, 429, 502, 503])
def test_what_else_answers_a_handshake_is_not_taken_for_a_stripped_upgrade(status):
    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        server.status, server.heard = status, []
        thread = Thread(server.serve_forever, 0.01)
        check = Check("websocket")
        try:
            check_websocket(check, Site(parse_root(f"http://ann:secret@127.0.0.1:{server.server_port}/"), PATIENCE))
        finally:
            server.shutdown()
            thread.join()
    expected = "D061" if status in (400, 426) else "D066"
    assert [(found.id, found.seen) for found in check.findings] == [(expected, f"status {status}")]
    assert server.heard[0]["Authorization"] == "Basic YW5uOnNlY3JldA=="


# Settings


def test_what_the_system_checks_say_is_among_the_findings(transactional_db):
    found = doctor(RETENTOIN=1)
    assert ids(found["settings"]) == ["livepush.W001"]
    assert found["settings"]["findings"][0]["remedy"] == "Did you mean 'RETENTION'?"


def test_settings_that_can_not_be_end_it(transactional_db):
    here.stop()  # an earlier test's thread for streams reads the settings too
    found = doctor(RETENTION="x", code=1)
    assert ids(*found.values()) == ["livepush.E001"]
    assert found["database"]["unchecked"] == ["Not checked: the settings have errors."]


# Database


def test_tables_that_are_not_there(using):
    with connections[using].cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET app = 'elsewhere' WHERE app = 'livepush'")
    try:
        found = doctor(using=using, code=1)
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("UPDATE django_migrations SET app = 'livepush' WHERE app = 'elsewhere'")
    assert ids(*found.values()) == ["D002"]
    assert "0001_initial" in found["database"]["findings"][0]["seen"]
    assert found["retention"]["unchecked"] == ["Not checked: see the findings of the database."]


@pytest.mark.long
def test_a_settle_that_is_held_up(concurrent):
    doctor(using=concurrent)
    with transaction.atomic(using=concurrent):
        LogHead.objects.using(concurrent).select_for_update().get()
        found = doctor("--timeout", "2", using=concurrent, code=1)
    assert ids(*found.values()) == ["D003"]


def test_events_that_nobody_settled(using):
    append(using)
    append(using)
    Event.objects.using(using).update(created=timezone.now() - timedelta(minutes=5))
    found = doctor(using=using)
    assert ids(*found.values()) == ["D004"]
    assert found["database"]["figures"]["waiting"] == 2
    assert not log.state(using).waiting, "the doctor settles for all"


def test_a_database_without_skip_locked(concurrent, monkeypatch):
    if kind(concurrent) == "mariadb":
        old = type(connections[concurrent].features)
        monkeypatch.setattr(old, "has_select_for_update_skip_locked", False)
        assert ids(*doctor(using=concurrent).values()) == ["D006"]
    else:
        assert ids(*doctor(using=concurrent).values()) == []


def test_a_transaction_that_stays_open(concurrent, monkeypatch):
    connection = connections[concurrent].copy()
    begin = {
        "postgresql": ["BEGIN ISOLATION LEVEL REPEATABLE READ"],
        "mariadb": ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"],
    }[kind(concurrent)]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + {"postgresql": "pg_backend_pid()"}.get(kind(concurrent), "CONNECTION_ID()"))
            (session,) = cursor.fetchone()
            for statement in [*begin, "SELECT count(*) FROM livepush_event"]:
                cursor.execute(statement)
        assert ids(*doctor(using=concurrent).values()) == []
        monkeypatch.setattr(database_checks, "LONG_TRANSACTION", 0)
        assert ids(*doctor(using=concurrent).values()) == ["D008"]
        wait_until(lambda: f"session {session} " in seen_by_doctor(concurrent))  # others of this server end before
    finally:
        connection.close()


def seen_by_doctor(using):
    return "".join(finding["seen"] for finding in doctor(using=using)["database"]["findings"])


def test_a_user_who_may_not_see_transactions_hears_so(concurrent, monkeypatch):
    monkeypatch.setitem(database_checks.TRANSACTIONS, connections[concurrent].vendor, "SELECT 1 FROM not_for_you")
    check = Check("database")
    database_checks.check_database(check, concurrent, PATIENCE)
    assert check.findings == []
    assert "long transactions can't be seen by this user" in check.says


def test_a_user_who_sees_only_its_own_transactions_hears_so(concurrent, monkeypatch):
    if kind(concurrent) != "postgresql":
        return  # MariaDB refuses the query, see above
    monkeypatch.setattr(database_checks, "LONG_TRANSACTION", 0)
    connection, others = connections[concurrent], connections[concurrent].copy()
    unseen = "long transactions of other users can't be seen by this user: grant it pg_read_all_stats"
    try:
        with others.cursor() as cursor:
            for statement in ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM livepush_event"):
                cursor.execute(statement)
        for role, says, found in (("pg_signal_backend", [unseen], False), ("pg_monitor", [], True)):
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {role}")
            check = Check("database")
            database_checks._check_transactions(check, connection)
            assert (check.says, check.has(Problem.LONG_TRANSACTION)) == (says, found)
    finally:
        others.close()
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")


# Layer


def layered(monkeypatch, backend, url, **more):
    from channels.layers import channel_layers

    layers = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [url], **more}}}
    monkeypatch.setattr(channel_layers, "backends", {})
    return override_settings(CHANNEL_LAYERS=layers)


@pytest.mark.skipif(kind("default") != "postgresql", reason="NOTIFY is PostgreSQL's")
def test_notify_is_measured_where_it_is_the_hint(transactional_db, monkeypatch):
    found = doctor()["layer"]
    assert found["status"] == "ok"
    assert found["figures"]["layer"] == "NOTIFY"
    assert found["figures"]["burst_came"] == 500
    assert 0 < found["figures"]["round_trip_ms"] < 1000 * PATIENCE
    assert found["figures"]["queue_used"] < 0.5
    monkeypatch.setattr(notify_checks, "QUEUE", -1)  # whatever is in the queue is too much
    assert ids(*doctor().values()) == ["D015"]


@pytest.mark.skipif(kind("default") != "postgresql", reason="NOTIFY is PostgreSQL's")
def test_a_notify_that_does_not_arrive_is_found(transactional_db, monkeypatch):
    monkeypatch.setattr(notify_checks.hints.Session, "listen", lambda self, channels: None)
    found = doctor("--timeout", "1")
    assert ids(*found.values()) == ["D014"]
    assert "NOTIFY_DATABASE" in found["layer"]["findings"][0]["remedy"]


CORE, PUBSUB = "channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"


@pytest.fixture(scope="module")
def redis():
    with faults.redis() as found:
        yield found


def test_the_pubsub_layer_loses_nothing_of_a_burst(transactional_db, redis, monkeypatch):
    with layered(monkeypatch, PUBSUB, redis.url):
        found = doctor()
    assert ids(*found.values()) == []
    assert found["layer"]["figures"]["burst_came"] == 500
    assert found["layer"]["figures"]["round_trip_ms"] > 0


def test_the_core_layer_drops_what_is_over_its_capacity(transactional_db, redis, monkeypatch):
    with layered(monkeypatch, CORE, redis.url, capacity=10):
        found = doctor()
    assert ids(*found.values()) == ["D012"]
    assert found["layer"]["figures"]["burst_came"] <= 10
    assert "RedisPubSubChannelLayer" in found["layer"]["findings"][0]["remedy"]


@pytest.mark.parametrize("backend", [CORE, PUBSUB])
def test_a_redis_that_is_not_there(transactional_db, monkeypatch, backend):
    with layered(monkeypatch, backend, "redis://127.0.0.1:1"):
        found = doctor("--timeout", "3", code=1)
    assert ids(*found.values()) == ["D011"]
    assert found["clock"]["status"] == "ok", "the other checks go on"


@pytest.mark.long
@pytest.mark.parametrize("backend", some([PUBSUB, CORE]))
def test_a_redis_that_does_not_answer(transactional_db, redis, monkeypatch, backend):
    redis.freeze()
    try:
        with layered(monkeypatch, backend, redis.url):
            found = doctor("--timeout", "3", code=1)
    finally:
        redis.thaw()
    assert ids(*found.values()) == ["D011"]


@pytest.mark.long
@pytest.mark.parametrize("backend", some([PUBSUB, CORE], 1))
def test_a_layer_that_answers_late_is_not_one_that_does_not_answer(transactional_db, redis, monkeypatch, backend):
    with faults.line(redis.port) as line, layered(monkeypatch, backend, line.url.replace("http", "redis")):
        line.delay = 0.2
        found = doctor()
    assert ids(*found.values()) == ["D013"]
    assert "a round trip of" in found["layer"]["findings"][0]["seen"]


@pytest.mark.long
@pytest.mark.parametrize("backend", some([PUBSUB, CORE]))
def test_a_layer_that_is_too_slow_for_a_burst_answers_late(transactional_db, redis, monkeypatch, backend):
    monkeypatch.setattr(layer_checks, "LATE", PATIENCE)  # beside busy neighbours a round trip takes long too
    with faults.line(redis.port) as line, layered(monkeypatch, backend, line.url.replace("http", "redis")):
        line.delay = 0.02
        found = doctor("--timeout", "6")
    assert ids(*found.values()) == ["D013"]
    assert "a burst of 500 took longer than 4.8 s" in found["layer"]["findings"][0]["seen"]


# Retention


def old(using, **age):
    append(using)
    settle(using)
    Event.objects.using(using).update(created=timezone.now() - timedelta(**age))


def test_events_that_nobody_prunes(using):
    old(using, days=8)
    found = doctor(using=using, PRUNE_INTERVAL=0)
    assert ids(*found.values()) == ["D021"]
    assert "PRUNE_INTERVAL is 0, so no hub prunes" in found["retention"]["findings"][0]["seen"]
    old(using, days=6)
    assert ids(*doctor(using=using).values()) == []


def test_pruning_more_rarely_than_the_retention(transactional_db):
    assert ids(*doctor(RETENTION=60, PRUNE_INTERVAL=300).values()) == ["D022"]


# Clock


@pytest.mark.parametrize(("off", "id", "code"), [(2, None, 0), (-20, "D031", 0), (600, "D032", 1)])
def test_a_host_whose_clock_is_off(concurrent, monkeypatch, off, id, code):
    monkeypatch.setattr(clock, "now", lambda: time.time() + off)
    found = doctor(using=concurrent, code=code)
    assert ids(*found.values()) == [id] * (id is not None)
    assert abs(found["clock"]["figures"]["database_ahead_s"] + off) < 3


# Running checks


def test_a_check_that_fails_keeps_what_it_found_and_says_why():
    def work(check):
        check.say("so far")
        check.find(Problem.DEBUG_ON, "seen")
        raise ValueError("no further.")

    found = run("x", work, 5)
    assert (found.says, [each.id for each in found.findings]) == (["so far"], ["D071"])
    assert found.unchecked == ["The rest was not checked: ValueError: no further."]


def test_a_check_that_takes_too_long_is_left_behind():
    def slow(check):
        check.say("so far")
        time.sleep(20)

    def slower(check):
        check.late = Problem.DATABASE_SILENT
        time.sleep(20)

    one, two = run_together({"one": slow, "two": slower}, 0.2)
    assert one.unchecked == ["The rest was not checked: it took longer than 0.2 s (--timeout)."]
    assert (one.status, one.says) == ("unknown", ["so far"])
    assert [each.id for each in two.findings] == ["D001"]


def test_each_problem_is_made_by_a_test():
    folder = Path(__file__).parent
    tests = (folder / "test_doctor.py").read_text() + (folder / "integration" / "test_doctor.py").read_text()
    assert [problem for problem in Problem if f'"{problem.value}"' not in tests] == []


def test_the_manual_lists_each_problem():
    rows = [f"| `{each.value}` | {each.level.value} | {each.title} | {each.remedy} |" for each in Problem]
    manual = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    assert [line for line in manual.split("\n") if line.startswith("| `D0")] == rows


def test_the_manual_lists_the_remedies_for_each_proxy():
    manual = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    rows = [f"| {', '.join(NAMES)} |".replace(", ", " | ")]
    assert "| finding " + rows[0] in manual
    listed = [line for line in manual.split("\n") if line.startswith(tuple(f"| {each.value} |" for each in Problem))]
    assert listed == [f"| {problem.value} | {' | '.join(texts)} |" for problem, texts in REMEDIES.items()]


def test_a_finding_has_the_remedy_for_each_proxy_in_a_line_of_its_own(capsys):
    check = Check("websocket")
    check.find(Problem.NO_UPGRADE, "status 426")
    Command(stdout=sys.stdout)._print(check)
    lines = capsys.readouterr().out.split("\n")
    (first,) = [number for number, line in enumerate(lines) if line.startswith("           remedy:   nginx: ")]
    assert [line.partition(": ")[0] for line in lines[first + 1 : first + 6]] == [" " * 21 + name for name in NAMES]


def test_a_command_line_is_told_without_its_passwords():
    words = ["uvicorn", "--ssl-keyfile-password", "a", "--port=1", "--keyfile-password=b", "mysite.asgi:application"]
    assert masked(words) == [
        "uvicorn",
        "--ssl-keyfile-password",
        "…",
        "--port=1",
        "--keyfile-password=…",
        "mysite.asgi:application",
    ]


def test_a_token_holds_a_minute_on_the_clock_of_the_server():
    assert is_token(make_token())
    assert not is_token(make_token(ahead=-65))
    with override_settings(SECRET_KEY="another"):
        assert not is_token((token := make_token())[:-1])
        assert is_token(token)
    assert not is_token(token)
    with override_settings(SECRET_KEY_FALLBACKS=["another"]):
        assert is_token(token), "a key that is rotated out serves on"


def test_each_problem_has_its_own_id_and_says_what_to_do():
    assert len({problem.value for problem in Problem}) == len(Problem)
    for problem in Problem:
        assert problem.level in Level
        assert problem.title
        assert problem.expected
        assert problem.remedy
