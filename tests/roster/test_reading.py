"""What those who ask learn of members: each tenant its own, a newcomer nothing older."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.template import engines
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

import livepush
from livepush import tenants, wire
from livepush.access import reasons
from livepush.access import rules as access_rules
from livepush.access.authenticating import Identity
from livepush.access.identity import Admission, Handshake
from livepush.exceptions import InvalidGroup, InvalidRule, InvalidType
from livepush.notes import OnceEach
from livepush.page import groups as page_groups
from livepush.roster import keeper, leases, reading, rules, table, views
from livepush.roster.changes import Seat
from livepush.roster.models import Presence, PresenceLease
from livepush.roster.who import member_of
from tests.conftest import events_of

TENANTS = {"TENANT": "tests.shop.subdomains.Subdomains"}


def put(group, member="7", name="Ann", process="p", turn=1, has_lease=False, using="default"):
    info = json.dumps({"name": name})
    assert table.write(using, table.Process(process, turn, has_lease), [Seat(group, member, info, 1)], [])


@pytest.fixture
def ann(transactional_db):
    return User.objects.create(pk=7, username="ann")


@override_settings(LIVEPUSH=TENANTS)
def test_each_tenant_has_its_own_members(ann):
    put("acme|lobby:a")
    with tenants.active("acme"):
        assert [member.id for member in livepush.members("lobby:a")] == ["7"]
        assert livepush.is_present(ann, "lobby:a")
    with tenants.active("globex"):
        assert livepush.members("lobby:a") == []
        assert not livepush.is_present(ann, "lobby:a")
    with pytest.raises(InvalidGroup, match="No tenant is active"):
        livepush.members("lobby:a")
    (event,) = events_of("default")
    assert event.groups == ("acme|lobby:a",)


def test_a_visitors_id_differs_between_tenants_and_tells_nothing():
    cookies = {"csrftoken": "x" * 32}
    ids = {member_of(Identity(AnonymousUser()), cookies, None, tenant) for tenant in (None, "acme", "globex")}
    assert len(ids) == 3
    assert all("xxx" not in each and len(each) == 21 for each in ids)
    assert member_of(Identity(AnonymousUser()), {}, None, None) is None
    assert member_of(Identity(AnonymousUser()), {}, "session", None) is not None


def test_a_forgotten_user_leaves_and_others_stay(ann, using):
    put("lobby:a", "7", using=using)
    put("lobby:a", "8", using=using, turn=2, has_lease=True)
    with override_settings(LIVEPUSH={"DATABASE": using}):
        assert livepush.export(ann)["presence"][0]["info"] == {"name": "Ann"}
        assert livepush.forget(ann)["presence"] == 1
        assert [member.id for member in livepush.members("lobby:a")] == ["8"]
    kinds = [event.type for event in events_of(using) if event.groups == ("lobby:a",)]
    assert kinds == ["presence.join", "presence.join", "presence.leave"]


def admitted(floor):
    return Admission(Identity(None), ("lobby:a",), (), frozenset(), None, {} if floor is None else {"lobby:a": floor})


def test_a_newcomer_learns_nothing_from_before_the_membership(transactional_db):
    put("lobby:a")
    members = reading.snapshot("lobby:a").members
    now = datetime.now(UTC)
    later, tomorrow = (wire.timestamp(now + timedelta(seconds=each)) for each in (-0.0, 86_400))
    assert views._visible(members, admitted(None), 1)[0]["since"] == members[0].since
    assert views._visible(members, admitted(wire.Floor(time=later)), 1)[0]["since"] == max(later, members[0].since)
    assert views._visible(members, admitted(wire.Floor(1)), 1)[0]["since"] is None
    for floor in (wire.Floor(2), wire.Floor(time=tomorrow)):
        with pytest.raises(wire.WireError, match="may not be read yet"):
            views._visible(members, admitted(floor), 1)


def test_a_dead_processes_members_are_not_there_and_whoever_asks_clears_them_away_after_a_lease(
    transactional_db, monkeypatch
):
    put("lobby:a")
    PresenceLease.objects.update(ends=table.now("default") - 1)
    assert livepush.members("lobby:a") == []
    for seconds in (1000.0, 1014.9):
        monkeypatch.setattr(leases, "monotonic", lambda: seconds)
        assert len(reading.snapshot("lobby:a").members) == 1  # nobody was told of its leave
    monkeypatch.setattr(leases, "monotonic", lambda: 1015.0)
    assert reading.snapshot("lobby:a").members == []
    assert [event.type for event in events_of("default")] == ["presence.join", "presence.leave"]


def test_after_an_outage_nobody_is_missing_as_soon_as_one_process_has_its_lease_again(ann, using):
    put("lobby:a", "7", using=using)
    put("lobby:b", "8", process="q", using=using)
    with override_settings(LIVEPUSH={"DATABASE": using}):
        PresenceLease.objects.using(using).update(ends=table.now(using) - 60_000)
        assert (livepush.members("lobby:a"), livepush.is_present(ann, "lobby:a")) == ([], False)
        assert reading.groups_with_members() == []
        assert table.renew(using, "q")
        assert reading.groups_with_members() == ["lobby:a", "lobby:b"]
        assert [member.id for member in livepush.members("lobby:a")] == ["7"]
        assert livepush.is_present(ann, "lobby:a")


async def test_async_code_asks_too(transactional_db):
    assert await livepush.amembers("lobby:a") == []
    assert not await livepush.ais_present(7, "lobby:a")
    await sync_to_async(connections.close_all)()


def test_presence_types_are_livepushs_own(transactional_db):
    with pytest.raises(InvalidType, match=r"names that begin with 'presence\.' are livepush's own"):
        livepush.send("lobby:a", "presence.join", {})


def test_the_command_lists_members(transactional_db, capsys):
    put("lobby:a")
    call_command("livepush_members", "lobby:a")
    assert capsys.readouterr().out.startswith("7\tAnn\t1\t")
    call_command("livepush_members", "lobby:a", "--json")
    assert json.loads(capsys.readouterr().out)["info"] == {"name": "Ann"}


NO_RULE = "No rule of presence has a pattern for 'nopres:a', so nobody is ever there."


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "livepush"]


def test_the_command_says_that_no_rule_of_presence_has_a_pattern(transactional_db, capsys):
    call_command("livepush_members", "nopres:a")
    assert capsys.readouterr().err == f"0 in nopres:a\n{NO_RULE}\n"
    call_command("livepush_members", "lobby:a")
    assert capsys.readouterr().err == "0 in lobby:a\n"


@pytest.mark.parametrize("debug", [True, False])
async def test_whoever_asks_for_members_without_a_rule_is_told_once_under_debug(
    transactional_db, settings, caplog, monkeypatch, debug
):
    settings.DEBUG = debug
    monkeypatch.setattr(rules, "_told", OnceEach(100))
    assert await livepush.amembers("nopres:a") == []
    assert not await livepush.ais_present(7, "nopres:a")
    assert not await livepush.ais_present(7, "lobby:a")
    await sync_to_async(connections.close_all)()
    assert said(caplog) == [NO_RULE] * debug


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_admin_lists_members(admin_client, transactional_db, settings, use_tz):
    put("lobby:a")
    Presence.objects.update(since=0)
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Kolkata"
    answer = admin_client.get("/admin/livepush/presence/")
    assert b"lobby:a" in answer.content
    assert "Jan. 1, 1970, 5:30 a.m." in answer.text
    row = Presence.objects.get()
    assert admin_client.get(f"/admin/livepush/presence/{row.pk}/change/").status_code == 200


# Rules


@pytest.fixture
def registry(monkeypatch):
    found = []
    monkeypatch.setattr(rules, "registry", found)
    return found


def test_a_rule_that_can_not_work_says_what_to_do(registry):
    with pytest.raises(InvalidRule, match=r"has no pattern: write @livepush.presence"):
        livepush.presence(lambda user: None)
    with pytest.raises(InvalidRule, match="does not fit its pattern"):
        livepush.presence("lobby:<slug:name>")(lambda user: None)
    livepush.presence("lobby:<slug:name>")(lambda user, name: None)

    def another(user, name):
        return None

    with pytest.raises(InvalidRule, match="has a presence rule already"):
        livepush.presence("lobby:<slug:name>")(another)


ANSWERS = {
    "nothing": (None, None),
    "a dict": ({"name": "Ann"}, '{"name":"Ann"}'),
    "no dict": (True, None),
    "too large": ({"name": "x" * 2100}, None),
    "not JSON": ({"name": object()}, None),
    "NUL": ({"name": "\0"}, None),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_a_rule_says_what_others_see_or_its_member_is_invisible(registry, what):
    said, expected = ANSWERS[what]
    livepush.presence("lobby:<slug:name>")(lambda user, name, request: said)
    view = Handshake({}, "localhost", None, "/")
    assert rules.ask([rules.Question("acme|lobby:a", AnonymousUser(), view, None)]) == [expected]


def test_a_rule_that_raises_hides_its_member_alone(registry, caplog):
    def rule(user, name):
        if name == "bad":
            raise RuntimeError("oops")
        return {"name": name}

    livepush.presence("lobby:<slug:name>")(rule)
    questions = [rules.Question(f"lobby:{name}", AnonymousUser(), None, None) for name in ("bad", "good")]
    assert rules.ask(questions) == [None, '{"name":"good"}']
    assert "so its member is invisible" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
def test_a_rule_whose_connection_was_lost_is_asked_again_at_once(registry, is_async):
    lost = [OperationalError("the server closed the connection")]

    def rule(user, name):
        if lost:
            raise lost.pop()
        return {"name": name}

    async def async_rule(user, name):
        return rule(user, name)

    livepush.presence("lobby:<slug:name>")(async_rule if is_async else rule)
    assert rules.ask([rules.Question("lobby:a", AnonymousUser(), None, None)]) == ['{"name":"a"}']


def test_without_rules_a_client_costs_nothing(registry, transactional_db):
    with CaptureQueriesContext(connection) as queries:
        keeper.follow(None, None, True)  # it looks at nothing
    assert len(queries) == 0


# The tag


def render(user, group="lobby:a", more="1"):
    request = RequestFactory().get("/")
    request.user = user
    template = engines["django"].from_string("{% load livepush %}{% livepush_presence group " + more + " %}")
    return template.render({"group": group}, request)


def test_the_tag_lists_who_is_there_to_those_who_may_read(ann):
    put("lobby:a", "7", "Ann <b> Lee")
    put("lobby:a", "8", "Bob", turn=2, has_lease=True)
    html = render(ann)
    assert "Ann &lt;b&gt; Lee" in html
    assert "<li>+1</li>" in html
    assert "<b>2</b>" in html
    assert html.count("<script defer") == 2
    assert render(ann, "club:staff") == ""
    assert "livepush-presence" in render(AnonymousUser())
    assert " data-names>" not in html
    assert '<livepush-presence data-group="lobby:a" data-max="8" data-names>' in render(ann, more="names=True")


@pytest.mark.parametrize(("name", "shown", "initials"), [(None, "", "?"), (7, "7", "7"), ("", "", "?")])
def test_a_name_that_is_no_text_is_shown_as_text(ann, capsys, name, shown, initials):
    put("lobby:a", "7", name)
    html = render(ann)
    assert f'title="{shown}"' in html
    assert f">{initials}</b>" in html
    call_command("livepush_members", "lobby:a")
    assert capsys.readouterr().out.startswith(f"7\t{shown}\t")


@pytest.mark.parametrize("group", ["", None, AnonymousUser()])
def test_the_tag_shows_nothing_without_a_group(ann, group):
    assert render(ann, group) == ""


def test_the_tag_says_under_debug_why_it_is_empty(ann, settings, caplog, monkeypatch):
    settings.DEBUG = True
    for module in (rules, reasons, page_groups):
        monkeypatch.setattr(module, "_told", OnceEach(100))
    monkeypatch.setattr(access_rules, "rules", list(access_rules.rules))
    livepush.can_read("nopres:<slug:name>")(lambda user, name: True)
    for group in ("nopres:a", "lobbi:a", "", "lobby:a"):
        render(ann, group)
    assert said(caplog) == [
        NO_RULE,
        "No rule of can_read has a pattern for 'lobbi:a', so nobody may read it.",
        "{% livepush_presence %} in a template is given '', and leaves it out: its variable may be missing in the "
        "context.",
    ]
