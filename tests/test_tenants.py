"""Tenants that share one log: what one of them sends, reads and marks is none of another's business."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client, override_settings
from django.utils import timezone

import livepush
from livepush import tenants, testing
from livepush.access import rules
from livepush.bridges.publishing.models import ApiKey
from livepush.exceptions import InvalidGroup
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.inbox.reading import Inbox, Tab
from livepush.models import ChannelGroup, Event
from livepush.signals import notified
from livepush.streams.models import Stream
from livepush.tenants import active
from tests.conftest import ALIASES, kind
from tests.scale import some
from tests.shop.models import Order

pytestmark = pytest.mark.long_on("mariadb")

MIDDLEWARE = "tests.shop.subdomains.middleware"
POLL = "/livepush/poll/"


@pytest.fixture(params=ALIASES, ids=kind)
def using(request, transactional_db, settings):
    """Each database in turn, as that of a site with tenants."""
    settings.MIDDLEWARE = [MIDDLEWARE, *settings.MIDDLEWARE]
    settings.LIVEPUSH = {"DATABASE": request.param, "TENANT": "tests.shop.subdomains.Subdomains"}
    return request.param


@pytest.fixture
def ann(using):
    return User.objects.create_superuser("ann")


class Site:
    """A tenant's site, with a user who is logged in."""

    def __init__(self, name, user=None):
        self.client = Client(HTTP_HOST=f"{name}.shop.test")
        if user is not None:
            self.client.force_login(user)

    def poll(self, *groups, **query):
        return self.client.get(POLL, {"group": groups, **query})

    def position(self):
        return self.poll("board").json()["position"]

    def data(self, since, *groups):
        return [event["data"] for event in self.poll(*groups, since=since).json()["events"]]

    def get(self, path):
        return self.client.get(path)


@pytest.fixture
def acme(ann):
    return Site("acme", ann)


@pytest.fixture
def globex(ann):
    return Site("globex", ann)


def titles(user, tenant):
    with active(tenant):
        return [entry.notification.title for entry in Inbox(User.objects.get(pk=user.pk)).page(Tab.ALL).entries]


# A host of no tenant


def inner(page):
    """Return the text of a page without what differs from one request to the next."""
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"|data-position="[^"]*"', "", page.content.decode())


@pytest.mark.parametrize("path", ["/page/", "/bell/?list=1", "/both/", "/lobby/?group=lobby:a", "/streams/page/s/"])
def test_where_no_tenant_is_active_a_page_is_the_same_for_whoever_is_logged_in_as_for_others(ann, using, path):
    Stream(id="s", group="acme|board", format="text", created=timezone.now()).save(using=using)
    visitor, user = Site("www"), Site("www", ann)
    pages = [site.get(path) for site in (visitor, user)]
    assert [page.status_code for page in pages] == [200, 200]
    assert inner(pages[0]) == inner(pages[1])
    assert "livepush-bell" not in inner(pages[1])


def test_where_no_tenant_is_active_the_endpoints_refuse_what_the_pages_client_asks_for(ann):
    answer = Site("www", ann).poll("board")
    assert (answer.status_code, answer.json()["code"]) == (403, "no_tenant")


@pytest.mark.long_on("sqlite")
@pytest.mark.parametrize("page", ["notification", "membership", "channelgroup", "event", "presence", "stream"])
@pytest.mark.parametrize("query", some(["?q=ann", "", "?audience=user:", "?audience=inbox:all"]))
def test_where_no_tenant_is_active_the_admin_lists_nothing(ann, page, query):
    with active("acme"):
        livepush.notify(ann, "Hello")
        livepush.join(ann, "room:1")
    if "audience" in query and page != "notification":
        return
    answer = Site("www", ann).get(f"/admin/livepush/{page}/{query}")
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == 0


@pytest.mark.parametrize("to", [{"to": "everyone"}, {"to": "users", "users": "ann"}, {"to": "group", "group": "a:1"}])
def test_where_no_tenant_is_active_nothing_can_be_composed(ann, using, to):
    site = Site("www", ann)
    answer = site.client.post(
        "/admin/livepush/notification/add/", {"title": "Hello", "level": "info", "_preview": "1", **to}
    )
    assert answer.status_code == 200
    assert "No tenant is active" in answer.content.decode()


def test_where_no_tenant_is_active_no_api_key_can_be_made(ann, using):
    fields = {"name": "Warehouse", "groups": "board", "types": "*", "recipients": ""}
    answer = Site("www", ann).client.post("/admin/livepush/apikey/add/", fields)
    assert answer.status_code == 200
    assert "No tenant is active" in answer.content.decode()
    assert not ApiKey.objects.using(using).exists()


# Events


def test_a_tenant_gets_what_was_sent_for_it_and_under_the_groups_own_names(acme, globex):
    since = acme.position()
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.send(["board", "room:1"], "t", tenant)
    (event,) = acme.poll("room:1", "board", since=since).json()["events"]
    assert (event["group"], event["groups"], event["data"]) == ("room:1", ["room:1", "board"], "acme")
    assert "acme|" not in acme.poll("room:1", "board", "nobody:1", since=since).content.decode()
    assert globex.data(since, "board") == ["globex"]


def test_no_name_leads_to_another_tenants_group(acme, globex):
    since = acme.position()
    with active("globex"):
        livepush.send("board", "t", 1)
    for name in ("globex|board", "acme|board", "|board", "globex%7Cboard"):
        answer = acme.poll(name, since=since)
        assert answer.json()["code"] in ("bad_group", "forbidden")
        with active("acme"), pytest.raises(InvalidGroup):
            livepush.send(name, "t", 1)
    assert acme.data(since, "board") == []


@pytest.mark.parametrize("host", ["shop.test", "nobody.shop.test", "broken.shop.test"])
def test_a_client_of_no_tenant_is_refused(using, settings, host):
    settings.MIDDLEWARE.remove(MIDDLEWARE)
    answer = Client(HTTP_HOST=host).get(POLL, {"group": "board"})
    assert (answer.status_code, answer.json()["code"]) == (403, "no_tenant")


@pytest.mark.parametrize(
    "call", [lambda: livepush.send("board", "t"), lambda: livepush.notify(livepush.everyone, "Hello")]
)
def test_where_no_tenant_is_active_nothing_is_sent(using, call):
    with pytest.raises(InvalidGroup, match="No tenant is active"):
        call()
    assert not Event.objects.using(using).exists()


@pytest.mark.parametrize("name", ["", "a|b", "a b", "a/b", "x" * 64, None, 7, "é"])
def test_a_malformed_tenant_is_refused(using, name):
    with pytest.raises(InvalidGroup, match="names no tenant"), active(name or ""):
        pass


def test_the_groups_name_and_the_tenants_have_to_fit_together(using):
    with active("acme"):
        livepush.send("x" * 195, "t")
        with pytest.raises(InvalidGroup, match="expected 195 characters at most"):
            livepush.send(["board", "x" * 196], "t")


def test_no_client_reads_a_group_that_is_too_long_with_its_tenant(acme, ann):
    fits, too_long = f"room:{'x' * 190}", f"room:{'x' * 191}"
    answer = acme.poll(fits, too_long)
    assert (answer.status_code, answer.json()["refused"]) == (200, [too_long])
    assert (acme.poll(too_long).status_code, acme.poll(too_long).json()["code"]) == (403, "forbidden")
    asked = acme.client.post("/livepush/token/", {"groups": [fits, too_long]}, "application/json")
    assert asked.json()["groups"] == [fits]
    with active("acme"):
        testing.assert_may_not_send(ann, too_long, "chat")
        testing.assert_may_read(ann, fits)


def test_neither_a_stream_nor_a_membership_has_a_group_that_is_too_long_with_its_tenant(using, ann):
    with active("acme"):
        with pytest.raises(InvalidGroup, match="expected 195 characters at most"):
            livepush.streams.open("x" * 196).__enter__()
        with pytest.raises(InvalidGroup, match="expected 195 characters at most"):
            livepush.join(ann, "x" * 187)
        livepush.join(ann, "x" * 186)
    assert [len(row.group) for row in Membership.objects.using(using).all()] == [200]


def test_tenants_may_use_the_same_key(acme, globex):
    since = acme.position()
    for tenant in ("acme", "globex", "acme"):
        with active(tenant):
            livepush.send("board", "t", tenant, key="k")
    assert (acme.data(since, "board"), globex.data(since, "board")) == (["acme"], ["globex"])


def test_an_event_belongs_to_the_tenant_that_sent_it_whichever_is_active_at_the_commit(acme, globex):
    since = acme.position()
    with transaction.atomic(using=livepush.conf.get_settings().DATABASE):
        with active("acme"):
            livepush.send("board", "t", 1)
        with active("globex"):
            livepush.send("board", "t", 2)
    assert (acme.data(since, "board"), globex.data(since, "board")) == ([1], [2])


def test_an_ephemeral_event_is_announced_for_its_tenant(using, announced):
    with active("acme"):
        livepush.send("board", "t", 1, ephemeral=True)
    (batch,) = announced
    assert batch.events[0].groups == ("acme|board",)


def test_model_events_go_to_the_tenant_in_which_the_instance_is_saved(acme, globex, ann):
    since = acme.position()
    database = livepush.conf.get_settings().DATABASE
    with active("acme"), transaction.atomic(using=database):
        Order(pk=7, status="new").save(using=database)
    assert [each["id"] for each in acme.data(since, "order:7")] == [7]
    assert globex.data(since, "order:7") == []


def test_rules_are_asked_for_the_tenant_of_the_request(acme, globex, monkeypatch):
    monkeypatch.setattr(rules, "rules", list(rules.rules))
    asked = []

    @livepush.can_read("sync:<slug:name>")
    def sync(user, name):
        asked.append((user.username, tenants.current()))
        return tenants.current() == name

    @livepush.can_read("later:<slug:name>")
    async def later(user, name):
        asked.append((user.username, tenants.current()))
        return tenants.current() == name

    groups = ("sync:acme", "later:acme", "sync:globex", "later:globex")
    for site, name in ((acme, "acme"), (globex, "globex")):
        assert site.poll(*groups).json()["refused"] == [group for group in groups if not group.endswith(name)]
    assert asked == [("ann", "acme")] * 4 + [("ann", "globex")] * 4


def test_an_async_authenticator_is_asked_for_the_tenant_of_the_request(ann, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "AUTHENTICATORS": ["tests.shop.subdomains.knows_ann_in_acme"]}
    group = f"user:{ann.pk}"
    assert [Site(name).poll(group).status_code for name in ("acme", "globex")] == [200, 403]


# Tokens and rights


def bearer(tenant, token, *groups):
    client = Client(HTTP_HOST=f"{tenant}.shop.test")
    return client.get(POLL, {"group": groups}, headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("users", ["Subdomains", "OwnUsers"])
def test_a_token_of_one_tenant_is_refused_in_another(ann, settings, users):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": f"tests.shop.subdomains.{users}"}
    with active("acme"):
        token = livepush.token(ann)
    assert bearer("acme", token, f"user:{ann.pk}").status_code == 200
    refused = bearer("globex", token, f"user:{ann.pk}", "board")
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_token")


def test_a_token_from_before_there_were_tenants_is_refused(ann, settings):
    known = settings.LIVEPUSH
    settings.LIVEPUSH = {**known, "TENANT": ""}
    token = livepush.token(ann)
    settings.LIVEPUSH = known
    assert bearer("acme", token, "board").json()["code"] == "bad_token"


def test_a_token_that_a_client_asks_for_is_of_the_tenant(acme, ann):
    token = acme.client.post("/livepush/token/", {}, "application/json").json()["token"]
    assert [bearer(name, token, "board").status_code for name in ("acme", "globex")] == [200, 401]


@pytest.mark.parametrize(("users", "codes"), [("Subdomains", [401, 401]), ("OwnUsers", [401, 200])])
def test_revoke_ends_the_tokens_of_the_user_who_is_meant(ann, settings, users, codes):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": f"tests.shop.subdomains.{users}"}
    tokens = {}
    for tenant in ("acme", "globex"):
        with active(tenant):
            tokens[tenant] = livepush.token(ann)
    with active("acme"):
        livepush.revoke(ann)
    assert [bearer(tenant, token, "board").status_code for tenant, token in tokens.items()] == codes


@pytest.mark.parametrize("users", ["Subdomains", "OwnUsers"])
def test_what_tells_of_rights_has_no_tenant_in_its_group_and_names_the_tenant_that_is_meant(
    ann, settings, using, users
):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": f"tests.shop.subdomains.{users}"}
    whose = "acme" if users == "OwnUsers" else None
    Event.objects.using(using).all().delete()
    with active("acme"):
        livepush.revoke(ann, "board")
        livepush.revoke(livepush.everyone, "board")
        livepush.recheck(ann)
        ann.save()
    events = Event.objects.using(using).filter(group="livepush:rights").order_by("position")
    told = [json.loads(event.data) for event in events]
    assert [each.get("tenant") for each in told] == ["acme", "acme", whose, whose]


def test_groups_are_taken_away_for_a_tenant_alone(ann):
    for call in (lambda: livepush.revoke(ann, "board"), lambda: livepush.revoke(livepush.everyone, "board")):
        with pytest.raises(InvalidGroup, match="No tenant is active"):
            call()
    with pytest.raises(CommandError, match="No tenant is active"):
        call_command("livepush_revoke", "ann", "board")
    call_command("livepush_revoke", "ann", "board", tenant="acme", verbosity=0)


def test_the_command_sends_for_a_tenant(acme, using):
    with pytest.raises(CommandError, match="No tenant is active"):
        call_command("livepush_send", "board", "t")
    call_command("livepush_send", "board", "t", tenant="globex", verbosity=0)
    assert Event.objects.using(using).latest("position").group == "globex|board"


def test_a_user_who_is_saved_where_no_tenant_is_active_is_asked_about_in_all(ann, settings, using):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": "tests.shop.subdomains.OwnUsers"}
    ann.save()
    told = json.loads(Event.objects.using(using).filter(group="livepush:rights").latest("position").data)
    assert told == {"user": str(ann.pk), "reason": "user", "ask": True}


# The inbox


def test_notifications_stay_in_their_tenant(acme, globex, ann):
    staff = Group.objects.create(name="staff")
    ann.groups.add(staff)
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.join(ann, "room:1")
            for recipient in (ann, livepush.everyone, staff, "room:1"):
                livepush.notify(recipient, f"{tenant} to {recipient}")
    for tenant, site in (("acme", acme), ("globex", globex)):
        assert len(titles(ann, tenant)) == 4
        assert all(title.startswith(tenant) for title in titles(ann, tenant))
        listed = site.get("/livepush/inbox/entries/").json()
        assert (len(listed["entries"]), listed["unread"]) == (4, 4)


def test_the_inbox_is_the_requests_tenants_also_where_no_middleware_says_so(acme, ann, settings):
    settings.MIDDLEWARE.remove(MIDDLEWARE)
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify(ann, tenant)
    (entry,) = acme.get("/livepush/inbox/entries/").json()["entries"]
    assert entry["title"] == "acme"
    answer = Client(HTTP_HOST="nobody.shop.test").get("/livepush/inbox/entries/")
    assert (answer.status_code, answer.json()["code"]) == (403, "no_tenant")


def test_an_answer_of_the_inbox_names_the_readers_group_as_a_client_does(acme, ann):
    with active("acme"):
        livepush.notify(ann, "Hello")
    said = acme.get("/livepush/inbox/counts/").json()
    marked = acme.client.post("/livepush/inbox/seen/", {"upto": said["position"], "reader": said["reader"]}).json()
    for answer in (said, marked):
        assert (answer["reader"], answer["group"]) == (f"acme|{ann.pk}", f"user:{ann.pk}")


def test_a_mark_and_an_entry_of_one_tenant_are_none_of_another(acme, globex, ann):
    for tenant in ("globex", "acme"):  # a mark of acme, up to its entry, would pass over the one of globex
        with active(tenant):
            livepush.notify(ann, tenant)
    (entry,) = globex.get("/livepush/inbox/entries/").json()["entries"]
    assert acme.get(f"/livepush/inbox/entries/?id={entry['id']}").json()["entries"] == []
    since = acme.position()
    answer = acme.client.post("/livepush/inbox/read/", {"id": entry["id"]})
    assert answer.json()["changed"] is False
    acme.client.post("/livepush/inbox/seen/", {"upto": acme.position()})
    assert acme.get("/livepush/inbox/counts/").json()["unseen"] == 0
    assert globex.get("/livepush/inbox/counts/").json()["unseen"] == 1
    group = f"user:{ann.pk}"
    assert [each["action"] for each in acme.data(since, group)] == ["seen"]
    assert globex.data(since, group) == []


def test_a_newcomer_to_an_auth_group_sees_nothing_older_in_any_tenant(ann):
    staff = Group.objects.create(name="staff")
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify(staff, "old")
    ann.groups.add(staff)  # outside of any tenant, as all share the users
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify(staff, f"new in {tenant}")
    assert (titles(ann, "acme"), titles(ann, "globex")) == (["new in acme"], ["new in globex"])
    ann.groups.clear()
    assert titles(ann, "acme") == []


def test_who_joins_a_group_in_one_tenant_is_no_member_in_another(ann):
    with active("acme"):
        livepush.join(ann, "room:1")
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify("room:1", tenant)
    assert (titles(ann, "acme"), titles(ann, "globex")) == (["acme"], [])
    with active("globex"):
        livepush.leave(ann, "room:1")
    assert titles(ann, "acme") == ["acme"]


def test_nothing_of_a_deleted_user_is_left_in_any_tenant(using, ann):
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify(ann, "Hello")
            livepush.join(ann, "room:1")
            mark(ann, Action.ARCHIVE, upto=Inbox(ann).position.number)
    other = User.objects.create_user("other")
    with active("acme"):
        livepush.notify(other, "Hello")
    ann.delete()
    assert list(Notification.objects.using(using).values_list("group", flat=True)) == [f"acme|user:{other.pk}"]
    for model in (InboxState, Membership, NotificationState):
        assert not model.objects.using(using).exists()


def test_where_each_tenant_has_users_of_its_own_a_role_and_a_deletion_are_of_one(using, ann, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": "tests.shop.subdomains.OwnUsers"}
    staff = Group.objects.create(name="staff")
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.notify([staff, ann], "old")
    with active("acme"):
        ann.groups.add(staff)
        assert [audience.since > 0 for audience in Inbox(ann).audiences if "auth" in audience.group] == [True]
    with active("globex"):
        assert [audience.since for audience in Inbox(ann).audiences if "auth" in audience.group] == [0]
        key, _ = ann.pk, ann.delete()
    left = Notification.objects.using(using).filter(group__contains="user:").values_list("group", flat=True)
    assert list(left) == [f"acme|user:{key}"]


def test_a_role_that_is_given_where_no_tenant_is_active_is_given_all_the_same(using, ann, settings, caplog):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": "tests.shop.subdomains.OwnUsers"}
    staff = Group.objects.create(name="staff")
    ann.groups.add(staff)
    assert list(ann.groups.all()) == [staff]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "The change of an auth group's users was not noted: they may see its older notifications."
    ]


def test_receivers_are_told_of_a_notification_for_its_tenant_whoever_files_it(ann, using):
    told = []

    def hear(notification, **kwargs):
        told.append((notification.title, tenants.current()))

    notified.connect(hear)
    try:
        with active("acme"), transaction.atomic(using=using):
            livepush.notify(ann, "in acme")
            with active("globex"):
                livepush.notify(ann, "in globex")
    finally:
        notified.disconnect(hear)
    assert told == [("in acme", "acme"), ("in globex", "globex")]


# Pages


def test_the_tabs_of_two_tenants_share_no_connection_though_the_cookie_is_the_same(acme, globex):
    globex.client.cookies = acme.client.cookies
    names = {re.search('data-tabs="(.*?)"', site.get("/page/").content.decode())[1] for site in (acme, globex)}
    assert len(names) == 2
    assert "" not in names


def test_a_page_names_its_groups_as_the_project_does(acme, ann):
    with active("acme"):
        livepush.join(ann, "room:1")
    page = acme.get("/bell/").content.decode()
    groups = json.loads(re.search('data-groups="(.*?)"', page)[1].replace("&quot;", '"'))
    assert groups == [f"user:{ann.pk}", "inbox:all", "inbox:of:room:1"]


def test_the_admin_shows_a_tenant_its_own_rows(acme, globex, ann, using):
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.send("board", f"sent-in-{tenant}")
            livepush.join(ann, f"room:{tenant}")
            livepush.notify(ann, f"Told in {tenant}")
    assert ChannelGroup.objects.using(using).filter(name="acme|board").exists()
    for page in ("event", "channelgroup", "notification", "membership"):
        shown = acme.get(f"/admin/livepush/{page}/").content.decode()
        assert "acme" in shown
        assert "globex" not in shown
    row = Notification.objects.using(using).get(title="Told in globex")
    assert acme.get(f"/admin/livepush/notification/{row.pk}/change/").status_code == 302
    since = acme.position()
    group = ChannelGroup.objects.using(using).get(name="acme|board")
    acme.client.post("/admin/livepush/channelgroup/", {"action": "send_test_event", "_selected_action": group.pk})
    assert acme.data(since, "board") == [{"sent_by": "ann"}]


# Tests of a project


def test_the_helpers_for_tests_look_into_the_active_tenant(ann):
    with active("acme"), testing.capture_events() as events:
        livepush.notify(ann, "Hello")
    assert [sent.groups for sent in events] == [(f"user:{ann.pk}",)]
    with active("acme"):
        testing.assert_notified(ann, "Hello")
    with active("globex"):
        testing.assert_nothing_sent(to=ann)
        with pytest.raises(AssertionError, match="0 times, not 1"):
            testing.assert_notified(ann, "Hello")


def test_the_tail_shows_a_tenants_group(acme, using, capsys):
    since = acme.position()
    for tenant in ("acme", "globex"):
        with active(tenant):
            livepush.send("board", "t", tenant)
    call_command("livepush_tail", "acme|board", since=since, count=1)
    with active("globex"):
        call_command("livepush_tail", "board", since=since, count=1)
    assert re.findall(r"(\S+)  t  (\S+)", capsys.readouterr().out) == [
        ("acme|board", '"acme"'),
        ("globex|board", '"globex"'),
    ]
    with pytest.raises(CommandError, match="No tenant is active"):
        call_command("livepush_tail", "board", since=since, count=1)


# The setting


def test_without_tenants_nothing_is_different(db):
    assert (tenants.current(), tenants.of_users()) == (None, None)
    with active(None):
        livepush.send("board", "t")
    assert Event.objects.get().group == "board"


@pytest.mark.parametrize("path", ["tests.shop.models.Order", "tests.nowhere.Nothing", "os.sep"])
def test_a_setting_that_names_no_tenants_is_an_error(path):
    from django.core import checks

    with override_settings(LIVEPUSH={"TENANT": path}):
        (error,) = checks.run_checks(tags=["livepush"])
    assert (error.id, error.msg[:18]) == ("livepush.E013", "LIVEPUSH['TENANT']")


@pytest.mark.parametrize(
    ("own", "tenant", "ids"),
    [
        (["shop"], "", ["livepush.E015"]),
        (["shop", "livepush"], "", ["livepush.E014", "livepush.E015"]),
        (["livepush.apps.LivepushConfig"], "tests.shop.subdomains.Subdomains", ["livepush.E014"]),
        (["shop"], "tests.shop.subdomains.Subdomains", []),
    ],
)
def test_a_site_whose_tenants_have_schemas_has_to_say_so(settings, own, tenant, ids):
    from django.core import checks

    settings.TENANT_APPS = own
    settings.LIVEPUSH = {"TENANT": tenant}
    assert [message.id for message in checks.run_checks(tags=["livepush"])] == ids
