"""The admin of the inbox: compose, preview, send; delivery and state; resend; memberships."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

import livepush
from livepush import publish
from livepush.inbox import kinds
from livepush.inbox.models import Membership, Notification
from livepush.testing import capture_events
from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on
from tests.scale import some
from tests.shop.models import Order

using = inbox_on(ALIASES[0])
pytestmark = pytest.mark.django_db(transaction=True)
ADD = "admin:livepush_notification_add"
LIST = "admin:livepush_notification_changelist"
LEVEL = {"level": "info"}


@pytest.fixture
def shipped():
    """A kind that says what it is about in its own words."""

    @livepush.notification
    class Shipped(livepush.NotificationType):
        key = "test.shipped"
        category = "orders"
        level = "success"

        def title(self, ctx):
            return f"{ctx.actor} shipped {ctx.target} in {ctx.data['boxes']} boxes"

        def url(self, ctx):
            return "/orders/"

    yield Shipped
    del kinds.registry["test.shipped"]


def token_of(page):
    return re.search(r'name="token" value="([^"]+)"', page.text)[1]


def compose(client, button, **fields):
    return client.post(reverse(ADD), {**LEVEL, **fields, f"_{button}": "1"}, follow=True)


def preview_and_send(client, **fields):
    """Press Preview, then Send; return both pages."""
    preview = compose(client, "preview", **fields)
    return preview, compose(client, "send", token=token_of(preview), **fields)


def notified(using):
    rows = Notification.objects.using(using).order_by("position")
    return [(row.group, row.title) for row in rows]


def errors(page):
    return {name: list(found) for name, found in page.context["adminform"].errors.items()}


def change_page(client, row):
    return client.get(reverse("admin:livepush_notification_change", args=[row.pk]))


def shown(page):
    """Return the read-only fields of a page, by label; of an icon its name."""
    rows = re.findall(
        r'<label>([^<]*):</label>(?:(?!<label>).)*?<div class="readonly">(.*?)</div>', page.text, re.DOTALL
    )
    return {label: re.sub(r".*icon-(\w+)\.svg.*|<[^>]+>", r"\1", text).strip() for label, text in rows}


def staff_user(*permissions):
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


# Compose, preview, send


def to_everyone(ann, ben, staff):
    return {"to": "everyone"}, ["inbox:all"], "Everyone", "3 users"


def to_a_role(ann, ben, staff):
    ann.groups.add(staff)
    ben.groups.add(staff)
    return {"to": "role", "role": staff.pk}, [f"inbox:auth:{staff.pk}"], "Users in staff", "2 users"


def to_users(ann, ben, staff):
    audiences = [f"user:{ann.pk}", f"user:{ben.pk}"]
    return {"to": "users", "users": "ann, ben\nann"}, audiences, "User ann, User ben", "2 users"


def to_a_group(ann, ben, staff):
    livepush.join(ann, "order:7")
    return {"to": "group", "group": "order:7"}, ["inbox:of:order:7"], "Members of order:7", "1 user"


@pytest.mark.parametrize("recipient", [to_everyone, to_a_role, to_users, to_a_group])
def test_a_notification_is_composed_previewed_and_sent(admin_client, using, ann, ben, staff, recipient):
    fields, audiences, called, readers = recipient(ann, ben, staff)
    fields |= {"title": "Closed on Monday", "body": "All day.\r\nBoth shops.", "url": "/news/", "level": "warning"}
    preview = compose(admin_client, "preview", **fields)
    assert shown(preview)["To"] == called
    assert shown(preview)["Readers"].startswith(readers)
    assert '<p part="body">All day.\nBoth shops.</p>' in preview.text
    assert notified(using) == []
    sent = compose(admin_client, "send", token=token_of(preview), **fields)
    assert sent.redirect_chain == [(reverse(LIST), 302)]
    assert sorted(notified(using)) == sorted((audience, "Closed on Monday") for audience in audiences)
    row = Notification.objects.using(using).first()
    assert (row.body, row.url, row.level, row.key) == ("All day.\nBoth shops.", "/news/", "warning", "")


def test_the_preview_is_the_entry_of_the_list_and_a_toast(admin_client, admin_user, using):
    fields = {"to": "everyone", "title": 'Closed <on> "Monday"', "body": "All day.", "url": "/news/", "level": "error"}
    preview, _ = preview_and_send(admin_client, **fields, category="news")
    page = admin_client.get("/livepush/inbox/", headers={"Accept": "text/html"}).text
    varying = r'data-(key|id|age)="[^"]*"|datetime="[^"]*"|value="[^"]*"'
    in_list, in_preview = (
        re.sub(varying, "", re.search(r"<li .*?</li>", text, re.DOTALL)[0]) for text in (page, preview.text)
    )
    assert in_preview == in_list
    (toast,) = re.findall(r'<li part="toast" data-level="error">.*?</li>', preview.text)
    assert '<a part="toast-title" href="/news/">Closed &lt;on&gt; &quot;Monday&quot;</a>' in toast
    assert preview.text.count("<fieldset disabled>") == 2
    assert preview.text.count('<template shadowrootmode="open"><link rel="stylesheet"') == 2
    rows = [shown(preview)[label] for label in ("Level", "Category", "Address")]
    assert rows == ["Error", "news", "/news/"]


def test_back_to_editing_keeps_what_was_said(admin_client, using):
    page = compose(admin_client, "edit", to="everyone", title="Closed", collapse="news")
    assert page.context["adminform"].form["title"].value() == "Closed"
    assert errors(page) == {}
    assert notified(using) == []


def test_send_pressed_twice_sends_once(admin_client, using):
    fields = {"to": "everyone", "title": "Closed"}
    preview, _ = preview_and_send(admin_client, **fields)
    again = compose(admin_client, "send", token=token_of(preview), **fields)
    assert "It was sent already, and was not sent again." in again.text
    assert notified(using) == [("inbox:all", "Closed")]


def test_send_pressed_twice_sends_once_though_the_second_request_has_the_first_ones_session(
    admin_user, using, shipped, settings
):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client = Client()
    client.force_login(admin_user)
    fields = {"to": "everyone", "title": "Closed"}
    token = token_of(compose(client, "preview", **fields))
    livepush.notify(livepush.everyone, shipped, actor="Ann", target="3", data={"boxes": 2})
    again = reverse("admin:livepush_notification_resend", args=[Notification.objects.using(using).get().pk])
    resent = token_of(client.post(again))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    for address, more in ((reverse(ADD), {**LEVEL, **fields, "token": token}), (again, {"token": resent})):
        for _ in range(2):
            client.cookies[settings.SESSION_COOKIE_NAME] = cookie
            client.post(address, {**more, "_send": "1"})
    assert [title for _, title in notified(using)] == ["Ann shipped 3 in 2 boxes", "Closed", "Ann shipped 3 in 2 boxes"]


def test_send_without_a_preview_of_this_session_shows_one(admin_client, using):
    page = compose(admin_client, "send", to="everyone", title="Closed", token="made up")
    assert "The preview was too old" in page.text
    assert token_of(page)
    assert notified(using) == []


def test_who_sent_it_is_in_the_log_of_the_admin(admin_client, admin_user, using):
    preview_and_send(admin_client, to="everyone", title="Closed")
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_repr, entry.change_message) == (admin_user, "Closed", "Sent to: Everyone")


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, "to", "This field is required."),
        ({"to": "users"}, "users", "Say which."),
        ({"to": "users", "users": "ann, nobody, none"}, "users", "There are no such users: nobody, none"),
        ({"to": "everyone", "users": "ann"}, "users", "Leave this empty, or choose it above."),
        ({"to": "role", "role": "999"}, "role", "Select a valid choice."),
        ({"to": "group", "group": "two words"}, "group", "'two words' is not a group: expected"),
        ({"to": "group", "group": "inbox:auth:1"}, "group", "'inbox:auth:1' is an audience, not a recipient"),
        ({"to": "everyone", "title": " "}, "title", "This field is required."),
        ({"to": "everyone", "url": "javascript:alert(1)"}, "url", "url is 'javascript:alert(1)': expected a path"),
        ({"to": "everyone", "icon": "icon.png"}, "icon", "icon is 'icon.png': expected a path"),
        ({"to": "everyone", "category": "c" * 51}, "category", "Ensure this value has at most 50 characters"),
        ({"to": "everyone", "level": "loud"}, "level", "Select a valid choice. loud is not one"),
    ],
)
@pytest.mark.parametrize("button", ["preview", "send"])
def test_what_can_not_be_sent_is_said_at_its_field(admin_client, using, ann, fields, field, said, button):
    found = errors(compose(admin_client, button, **{"title": "Closed", **fields}))
    assert [(name, len(messages)) for name, messages in found.items()] == [(field, 1)]
    assert found[field][0].startswith(said)
    assert notified(using) == []


def test_what_notify_alone_finds_when_it_is_sent_is_an_error_of_the_form(admin_client, using):
    fields = {"to": "everyone", "title": "Closed", "body": "b" * 70_000}
    _, page = preview_and_send(admin_client, **fields)
    assert "over the 65536" in errors(page)["__all__"][0]
    assert notified(using) == []


def test_many_users_are_counted_and_few_are_named(admin_client, using):
    User.objects.bulk_create(User(username=f"user{number:03}") for number in range(600))
    names = "\n".join(User.objects.filter(username__startswith="user").values_list("username", flat=True))
    preview, _ = preview_and_send(admin_client, to="users", users=names, title="Closed")
    assert shown(preview)["Readers"] == "600 users, as of now"
    assert shown(preview)["To"].endswith("and 580 more")
    assert len(notified(using)) == 600


def test_a_group_without_members_is_said_to_reach_nobody(admin_client, using):
    page = compose(admin_client, "preview", to="group", group="order:7", title="Closed")
    assert shown(page)["Readers"].startswith("Nobody, as of now")


# Escaping and permissions


def test_texts_are_escaped_wherever_they_are_shown(admin_client, using, admin_user):
    bad = "<script>alert(1)</script>"
    fields = {"to": "everyone", "title": bad, "body": bad, "category": bad, "collapse": bad, "url": "/?<b>&"}
    pages = [*preview_and_send(admin_client, **fields), compose(admin_client, "edit", **fields)]
    row = Notification.objects.using(using).get()
    pages += [change_page(admin_client, row), admin_client.get(f"{reverse(ADD)}?resend={row.pk}")]
    for page in pages:
        assert page.status_code == 200
        assert escape(bad) in page.text
        assert bad not in page.text
        assert "<b>" not in page.text


def test_nothing_can_be_edited_or_deleted(admin_client, using):
    livepush.notify(livepush.everyone, "Closed")
    row = Notification.objects.using(using).get()
    for page in ("change", "delete"):
        address = reverse(f"admin:livepush_notification_{page}", args=[row.pk])
        assert admin_client.post(address, {"title": "Open", "post": "yes"}).status_code == 403
    assert notified(using) == [("inbox:all", "Closed")]


def test_who_may_only_look_can_not_compose_or_resend(client, using, shipped):
    livepush.notify(livepush.everyone, shipped, actor="Ann", data={"boxes": 2})
    row = Notification.objects.using(using).get()
    client.force_login(staff_user("view_notification"))
    resend = reverse("admin:livepush_notification_resend", args=[row.pk])
    assert change_page(client, row).status_code == 200
    assert "Resend" not in change_page(client, row).text
    assert "Compose" not in client.get(reverse(LIST)).text
    assert client.get(reverse(ADD)).status_code == 403
    assert compose(client, "preview", to="everyone", title="Closed").status_code == 403
    assert client.get(resend).status_code == 403
    assert client.post(resend, {"_send": "1"}).status_code == 403
    assert len(notified(using)) == 1


def test_who_may_only_compose_sees_nothing_that_was_sent(client, using):
    livepush.notify(livepush.everyone, "A secret")
    row = Notification.objects.using(using).get()
    client.force_login(staff_user("add_notification"))
    assert "A secret" not in client.get(f"{reverse(ADD)}?resend={row.pk}").text
    assert client.get(reverse("admin:livepush_notification_resend", args=[row.pk])).status_code == 403
    _, sent = preview_and_send(client, to="everyone", title="Closed")
    assert sent.redirect_chain == [(reverse("admin:index"), 302)]
    assert "“Closed” was sent. To: Everyone" in sent.text


def test_who_is_not_staff_is_sent_to_the_login(client, using, ann):
    client.force_login(ann)
    assert client.get(reverse(ADD)).status_code == 302
    assert client.get(reverse("admin:livepush_notification_resend", args=[1])).status_code == 302


def test_one_that_is_gone_can_not_be_sent_again(admin_client, using):
    address = reverse("admin:livepush_notification_resend", args=["999"])
    assert "There is no such notification any more." in admin_client.get(address, follow=True).text


def test_no_page_of_ours_has_inline_scripts_or_styles(admin_client, using):
    livepush.notify(livepush.everyone, "Closed", icon="/icon.png")
    row = Notification.objects.using(using).get()
    fields = {"to": "everyone", "title": "Closed", "icon": "/icon.png"}
    for page in (
        *preview_and_send(admin_client, **fields),
        change_page(admin_client, row),
        admin_client.get(reverse(ADD)),
    ):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)[^>]*>\s*\S", page.text)


# Delivery and state


def test_one_users_notification_says_what_the_user_did(admin_client, using, ann, reader):
    livepush.notify(ann, "Shipped")
    row = Notification.objects.using(using).get()

    def state():
        found = shown(change_page(admin_client, row))
        return found["Audience"], found["Seen"], found["Read"], found["Archived"]

    assert state() == ("User ann", "no", "no", "no")
    reader(ann).all("seen")
    assert state() == ("User ann", "yes", "no", "no")
    reader(ann).do("archive", "Shipped")
    assert state() == ("User ann", "yes", "yes", "yes")


def figures(client, row):
    found = shown(change_page(client, row))
    return found["Readers"], found["Read by"], found["Archived by"]


def test_of_members_marks_and_exceptions_are_counted(admin_client, using, ann, ben, reader):
    outsider = User.objects.create_user("outsider")
    members = [ann, ben, *(User.objects.create_user(name) for name in ("cem", "dan", "eve"))]
    for member in members:
        livepush.join(member, "order:7")
        livepush.notify(member, "an own one")
    livepush.notify("order:7", "Shipped")
    livepush.notify([*members, outsider], "a later one")
    row = Notification.objects.using(using).get(title="Shipped")
    assert figures(admin_client, row) == ("5", "0", "0")
    reader(ann).do("read", "Shipped")  # an exception behind no mark
    reader(ben).all("read")  # a mark
    reader(members[2]).all("read")
    reader(members[2]).do("unread", "Shipped")  # an exception before a mark
    reader(members[3]).all("archive")
    reader(members[4]).do("archive", "Shipped")
    reader(outsider).all("archive")
    assert figures(admin_client, row) == ("5", "4", "2")
    livepush.leave(ben, "order:7")
    late = User.objects.create_user("late")
    livepush.join(late, "order:7")
    livepush.notify(late, "an own one")
    reader(late).all("archive")
    assert figures(admin_client, row) == ("4", "3", "2")


def test_of_an_auth_group_and_of_everyone_newcomers_and_strangers_are_left_out(
    admin_client, using, ann, ben, staff, reader
):
    ann.groups.add(staff)
    livepush.notify(staff, "Staff")
    livepush.notify(livepush.everyone, "All")
    late = User.objects.create_user("late")
    late.groups.add(staff)
    livepush.notify([ann, ben, late], "a later one")
    for user in (ann, ben, late):
        reader(user).all("read")
    rows = {row.title: row for row in Notification.objects.using(using).all()}
    if using == "default":
        assert figures(admin_client, rows["Staff"]) == ("1", "1", "0")
        assert figures(admin_client, rows["All"]) == ("3", "2", "0")  # ann, ben and the admin
    else:
        unknown = "Not known: the database of the inbox can&#x27;t tell its readers."
        assert figures(admin_client, rows["Staff"]) == ("1", unknown, unknown)
        assert figures(admin_client, rows["All"]) == ("3", unknown, unknown)


def test_of_an_auth_group_who_came_late_and_can_not_log_in_any_more_is_left_out_once(
    admin_client, using, ann, ben, staff, reader
):
    late = User.objects.create_user("late")
    staff.user_set.add(ann, ben)
    livepush.notify(staff, "Staff")
    staff.user_set.add(late)
    row = Notification.objects.using(using).get()
    for user in (ann, ben):
        reader(user).all("read")
    assert figures(admin_client, row) == ("2", "2", "0")
    User.objects.filter(pk=late.pk).update(is_active=False)
    assert figures(admin_client, row) == ("2", "2", "0")


def test_of_an_auth_group_who_had_not_come_yet_is_no_reader_though_no_signal_told_of_it(
    admin_client, using, ann, staff, reader
):
    ann.groups.add(staff)
    livepush.notify(staff, "Staff")
    late = User.objects.create_user("late")
    User.groups.through.objects.bulk_create([User.groups.through(user=late, group=staff)])
    reader(late).all("read")
    row = Notification.objects.using(using).get()
    assert figures(admin_client, row) == ("1", "0", "0")


def test_who_and_what_is_gone_is_called_so(admin_client, using, staff):
    for audience in ("user:999", "user:99999999999999999999", "user:nobody"):
        publish.send_own(audience, "inbox.notification", {"title": "lost", "level": "info"}, using)
    livepush.notify(staff, "lost")
    staff.delete()
    page = admin_client.get(reverse(LIST))
    for called in ("User 999, who is gone", "User 99999999999999999999, who is gone", "User nobody, who is gone"):
        assert called in page.text
    assert re.search(r"Auth group \d+, which is gone", page.text)
    for row in Notification.objects.using(using).all():
        assert change_page(admin_client, row).status_code == 200


def test_a_kind_is_shown_in_its_own_words_with_what_was_sent_along(admin_client, using, ann, shipped):
    livepush.notify(ann, shipped, actor=ann, target="the order", data={"boxes": 2})
    found = shown(change_page(admin_client, Notification.objects.using(using).get()))
    assert found["Title"] == "Ann Li shipped the order in 2 boxes"
    assert (found["Kind"], found["Actors"], found["Data"]) == ("test.shipped", "Ann Li", escape('{"boxes": 2}'))


# The list


def column(page, name):
    return re.findall(rf'class="field-{name}[^"]*">(.*?)</td>', page.text)


def test_the_list_says_to_whom_and_how_many_have_read_it(admin_client, using, ann, ben, reader):
    livepush.join(ann, "order:7")
    livepush.notify("order:7", "b")
    livepush.notify(ann, "a")
    livepush.notify(livepush.everyone, "c")
    livepush.notify(ben, "d")
    reader(ann).all("read")
    page = admin_client.get(reverse(LIST))
    assert column(page, "audience") == ["User ben", "Everyone", "User ann", "Members of order:7"]
    assert column(page, "read") == ["0", "1", "1", "1"]


def test_a_hundred_readers_and_more_are_not_counted_in_the_list(admin_client, using, monkeypatch, ann, ben, reader):
    monkeypatch.setattr("livepush.inbox.admin.figures.MAX_COUNTED", 2)
    for user in (ann, ben):
        livepush.join(user, "order:7")
    livepush.notify("order:7", "a")
    for user in (ann, ben):
        reader(user).all("read")
    assert column(admin_client.get(reverse(LIST)), "read") == ["1+"]


def test_the_list_is_searched_and_filtered(admin_client, using, ann, ben, staff):
    livepush.notify(ann, "for ann", body="something blue", category="news")
    livepush.notify(livepush.everyone, "for all", level="error")
    livepush.notify(staff, "for staff")
    livepush.notify("order:7", "for members")

    def titles(**query):
        return re.findall(r">for (\w+)</a>", admin_client.get(reverse(LIST), query).text)

    assert titles() == ["members", "staff", "all", "ann"]
    assert titles(q="blue") == titles(q="ann") == titles(q=f"user:{ann.pk}") == titles(category="news") == ["ann"]
    assert titles(level__exact="error") == titles(audience="inbox:all") == ["all"]
    assert titles(audience="inbox:auth:") == ["staff"]
    assert titles(audience="inbox:of:") == ["members"]
    assert titles(audience="user:") == ["ann"]


def test_the_list_takes_as_many_queries_however_long_it_is(admin_client, using, ann, staff):
    def queries():
        connection = connections[using]
        with CaptureQueriesContext(connection) as other, CaptureQueriesContext(connections["default"]) as default:
            admin_client.get(reverse(LIST))
        return len(default), len(other)

    recipients = [ann, staff, "order:7"]
    livepush.notify(livepush.everyone, "a")
    livepush.notify(recipients, "a")
    queries()
    few = queries()
    livepush.notify([*recipients, *(User.objects.create_user(f"user{number}") for number in range(20))], "b")
    livepush.notify([Group.objects.create(name=f"group{number}") for number in range(10)], "c")
    assert queries() == few


def test_of_a_large_table_the_newest_are_paged(admin_client, using, monkeypatch):
    monkeypatch.setattr("livepush.inbox.admin.lists.NewestPaginator.max_count", 2)
    monkeypatch.setattr("livepush.inbox.admin.lists.InboxAdmin.list_per_page", 1)
    for title in ("a", "b", "c"):
        livepush.notify(livepush.everyone, title)
    pages = [admin_client.get(reverse(LIST), {"p": number}) for number in (1, 2, 3)]
    assert [re.findall(r">([a-c])</a>", page.text) for page in pages] == [["c"], ["b"], []]
    assert "The newest 2 notifications" in pages[0].text


# Resend


def resend(client, row):
    return client.get(reverse("admin:livepush_notification_resend", args=[row.pk]), follow=True)


@pytest.mark.parametrize("recipient", some([to_everyone, to_a_role, to_a_group]))
def test_a_plain_one_is_composed_anew(admin_client, using, ann, ben, staff, recipient):
    fields, audiences, *_ = recipient(ann, ben, staff)
    preview_and_send(admin_client, **fields, title="Closed", url="/news/", category="news", collapse="k")
    page = resend(admin_client, Notification.objects.using(using).get())
    held = page.context["adminform"].form.initial
    assert (held["title"], held["url"], held["category"], held["collapse"]) == ("Closed", "/news/", "news", "k")
    assert held["to"] == fields["to"]
    form = page.context["adminform"].form
    data = {field.name: form[field.name].value() or "" for field in form}
    data["role"] = getattr(data["role"], "pk", data["role"])
    preview_and_send(admin_client, **data)
    (row,) = Notification.objects.using(using).filter(group=audiences[0])
    assert row.count == 2


def test_a_users_plain_one_is_composed_anew_for_the_username(admin_client, using, ann):
    livepush.notify(ann, "Closed")
    page = resend(admin_client, Notification.objects.using(using).get())
    assert page.context["adminform"].form["users"].value() == "ann"


def test_a_kind_is_previewed_and_sent_again_with_all_that_was_sent_along(admin_client, using, ann, shipped):
    order = Order.objects.create(customer=ann)
    livepush.notify(ann, shipped, actor=ann, target=order, data={"boxes": 2})
    row = Notification.objects.using(using).get()
    page = resend(admin_client, row)
    assert f"Ann Li shipped {escape(order)} in 2 boxes" in page.text
    assert len(notified(using)) == 1
    address = reverse("admin:livepush_notification_resend", args=[row.pk])
    for _ in range(2):
        admin_client.post(address, {"_send": "1", "token": token_of(page)})
    first, second = Notification.objects.using(using).order_by("position")
    for name in ("group", "key", "title", "url", "level", "category", "actors", "context"):
        assert getattr(first, name) == getattr(second, name), name


def test_of_an_actor_who_is_gone_the_name_is_sent_again(admin_client, using, ann, ben, shipped):
    livepush.notify(ben, shipped, actor=ann, target="it", data={"boxes": 2})
    ann.delete()
    row = Notification.objects.using(using).get()
    page = resend(admin_client, row)
    admin_client.post(
        reverse("admin:livepush_notification_resend", args=[row.pk]), {"_send": "1", "token": token_of(page)}
    )
    assert notified(using)[1] == (f"user:{ben.pk}", "Ann Li shipped it in 2 boxes")


def test_a_kind_that_is_not_registered_any_more_is_composed_as_it_was_worded(admin_client, using, ann, shipped):
    livepush.notify(ann, shipped, actor=ann, target="it", data={"boxes": 2})
    kind = kinds.registry.pop("test.shipped")
    page = resend(admin_client, Notification.objects.using(using).get())
    kinds.registry["test.shipped"] = kind
    assert page.context["adminform"].form["title"].value() == "Ann Li shipped it in 2 boxes"


def test_a_kind_that_fails_or_whose_recipient_is_gone_is_not_sent_again(admin_client, using, ann, staff, shipped):
    livepush.notify([ann, staff], shipped, actor=ann, target="it", data={"boxes": 2})
    of_ann, of_staff = Notification.objects.using(using).order_by("position", "pk")
    staff.delete()
    assert "its recipient is gone" in resend(admin_client, of_staff).text
    Notification.objects.using(using).filter(pk=of_ann.pk).update(context="{}")
    with capture_events() as events:
        page = resend(admin_client, of_ann)
    assert escape("It can't be sent again: 'boxes'") in page.text
    assert events == []


# Memberships


def test_memberships_are_listed_and_found_and_not_to_be_touched(admin_client, using, ann, ben, staff):
    livepush.join(ann, "order:7")
    ben.groups.add(staff)
    url = reverse("admin:livepush_membership_changelist")
    page = admin_client.get(url)
    assert column(page, "who") == ["User ben", "User ann"]
    assert re.findall(r">(Members of order:7|Users in staff)<", page.text) == ["Users in staff", "Members of order:7"]
    for query in ("order:7", "ann", str(ann.pk)):
        assert column(admin_client.get(url, {"q": query}), "who") == ["User ann"]
    member = Membership.objects.using(using).get(reader=str(ann.pk))
    page = admin_client.get(reverse("admin:livepush_membership_change", args=[member.pk]))
    assert shown(page)["Member"] == "User ann"
    assert admin_client.get(reverse("admin:livepush_membership_add")).status_code == 403
    assert admin_client.post(reverse("admin:livepush_membership_delete", args=[member.pk])).status_code == 403
