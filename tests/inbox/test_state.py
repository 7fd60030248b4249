"""Seen, read, archived: marks and exceptions, counts, undo."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError, connections
from django.test import override_settings
from django.utils import timezone

import livepush
from livepush.exceptions import InvalidMark
from livepush.inbox import marking
from livepush.inbox.categories import categories
from livepush.inbox.marking import Action, amark, mark
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.inbox.reading import Inbox, Tab
from livepush.inbox.recipients import audience_of_members
from livepush.models import Event
from tests.conftest import ALIASES, Thread, kind
from tests.inbox.conftest import fill
from tests.scale import EXAMPLES, some

pytestmark = pytest.mark.long_on("sqlite")


@pytest.fixture
def mine(using, ann, reader):
    """Ann's inbox with entries from three audiences: a, b, c, d, in this order."""
    livepush.join(ann, "order:7")
    for title, recipient in (("a", ann), ("b", "order:7"), ("c", livepush.everyone), ("d", ann)):
        livepush.notify(recipient, title)
    return reader(ann)


def states(using):
    """Return the data of the events that tell of changes."""
    return [event.data for event in Event.objects.using(using).filter(type="inbox.state").order_by("position")]


def test_who_only_looks_writes_nothing(using, mine):
    assert mine.titles() == ["d", "c", "b", "a"]
    assert mine.counts() == (4, 4)
    assert not InboxState.objects.using(using).exists()
    assert not NotificationState.objects.using(using).exists()


@pytest.mark.long_on("mariadb")
def test_seen_empties_the_badge_and_leaves_all_unread(mine):
    mine.all("seen")
    assert mine.counts() == (0, 4)
    assert [entry.seen for entry in mine.inbox.page().entries] == [True] * 4


def test_what_comes_after_is_not_seen(using, ann, mine):
    mine.all("seen")
    livepush.notify(ann, "e")
    assert mine.counts() == (1, 5)


@pytest.mark.long_on("mariadb")
def test_one_is_read_and_so_seen(mine):
    mine.do("read", "c")
    assert mine.counts() == (3, 3)
    assert mine.titles("unread") == ["d", "b", "a"]
    assert mine.titles() == ["d", "c", "b", "a"]


def test_up_to_here_and_all(mine):
    mine.upto("read", "b")
    assert (mine.titles("unread"), mine.counts()) == (["d", "c"], (2, 2))
    mine.all("read")
    assert (mine.titles("unread"), mine.counts()) == ([], (0, 0))


@pytest.mark.long_on("mariadb")
def test_one_that_was_read_can_be_unread_again_and_all_covers_it(mine):
    mine.all("read")
    mine.do("unread", "b")
    assert (mine.titles("unread"), mine.counts()) == (["b"], (0, 1))
    mine.all("read")
    assert (mine.titles("unread"), mine.counts()) == ([], (0, 0))


@pytest.mark.long_on("mariadb")
def test_what_is_archived_is_out_of_the_list_and_read(mine):
    mine.do("archive", "b", "d")
    assert (mine.titles(), mine.titles("archived"), mine.counts()) == (["c", "a"], ["d", "b"], (2, 2))
    mine.do("unarchive", "b")
    assert (mine.titles(), mine.titles("archived"), mine.counts()) == (["c", "b", "a"], ["d"], (2, 2))


def test_all_are_archived_and_one_is_taken_back(using, ann, mine):
    mine.all("archive")
    assert (mine.titles(), mine.titles("archived"), mine.counts()) == ([], ["d", "c", "b", "a"], (0, 0))
    mine.do("unarchive", "c")
    livepush.notify(ann, "e")
    mine.do("archive", "e")
    assert (mine.titles(), mine.titles("archived")) == (["c"], ["e", "d", "b", "a"])


@pytest.mark.long_on("mariadb")
def test_another_reader_has_a_state_of_its_own(using, ben, mine, reader):
    mine.all("archive")
    assert reader(ben).titles() == ["c"]
    assert reader(ben).counts() == (1, 1)


@pytest.mark.long_on("mariadb")
def test_the_entries_of_others_and_those_that_are_gone_are_left_alone(using, ben, mine):
    number = mine.number("a")
    assert not mark(ben, Action.READ, [number, 999_999]).changed
    assert mine.counts() == (4, 4)


@pytest.mark.long_on("mariadb")
@pytest.mark.parametrize("action", ["seen", "read", "archive"])
def test_the_same_again_changes_nothing_and_tells_nobody(using, mine, action):
    first = mine.all(action)
    assert (first.changed, len(states(using))) == (True, 1)
    again = mine.all(action)
    assert (again.changed, again.version, len(states(using))) == (False, first.version, 1)


@pytest.mark.long_on("mariadb")
@pytest.mark.parametrize("action", ["read", "archive"])
def test_one_again_changes_nothing_and_tells_nobody(using, mine, action):
    number = mine.number("b")
    assert mark(mine.user, Action(action), [number]).changed
    assert not mark(mine.user, Action(action), [number, number]).changed
    assert len(states(using)) == 1


def test_a_change_tells_all_tabs_the_counts_where_they_stand(using, ann, mine):
    import json

    outcome = mine.do("read", "b")
    epoch = mine.inbox.position.epoch
    assert [json.loads(data) for data in states(using)] == [
        {
            "action": "read", "ids": [f"{epoch}-{mine.number('b')}"], "upto": None,
            "unseen": 3, "unread": 3, "version": 1, "position": str(outcome.position),
        }
    ]  # fmt: skip
    assert Event.objects.using(using).get(type="inbox.state").group == f"user:{ann.pk}"


def everything(mine):
    return {tab: [(e.number, e.seen, e.read, e.archived) for e in mine.inbox.page(Tab(tab)).entries] for tab in Tab}


@pytest.mark.long_on("mariadb")
@pytest.mark.parametrize(
    "change",
    some(
        [
            lambda mine: mine.do("read", "a", "b"),
            lambda mine: mine.do("unread", "c"),
            lambda mine: mine.do("archive", "d", "c"),
            lambda mine: mine.do("unarchive", "b"),
            lambda mine: mine.upto("read", "c"),
            lambda mine: mine.all("read"),
            lambda mine: mine.upto("archive", "c"),
            lambda mine: mine.all("archive"),
        ],
        4,
    ),
)
def test_the_last_change_is_undone_whatever_it_was(mine, change):
    mine.upto("read", "c")
    mine.do("unread", "a")
    mine.do("archive", "b")
    before = (everything(mine), mine.counts())
    outcome = change(mine)
    assert outcome.changed
    assert (everything(mine), mine.counts()) != before
    undone = mine.undo(outcome)
    assert undone.changed
    assert (everything(mine), mine.counts()) == before
    assert not mine.undo(outcome).changed, "twice is once"
    assert not mine.undo(undone).changed, "what was undone stays so"


@pytest.mark.long_on("mariadb")
def test_that_more_was_seen_leaves_the_last_change_to_be_undone(ann, mine):
    mine.do("read", "a")
    outcome = mine.all("archive")
    livepush.notify(ann, "e")
    mine.all("seen")
    assert mine.undo(outcome).changed
    assert (mine.titles(), mine.counts()) == (["e", "d", "c", "b", "a"], (0, 4))
    assert not mine.undo(mine.all("seen")).changed


def test_a_change_before_the_last_is_not_undone(mine):
    first = mine.do("read", "a")
    mine.do("read", "b")
    assert not mine.undo(first).changed
    assert mine.titles("unread") == ["d", "c"]


@pytest.mark.long
def test_counts_stop_at_a_hundred(using, ann, reader):
    for number in range(120):
        livepush.notify(ann, str(number))
    assert reader(ann).counts() == (100, 100)


@pytest.mark.long_on("mariadb")
def test_pages_follow_each_other_without_holes_or_repeats(using, ann, reader):
    livepush.join(ann, "order:7")
    for number in range(50):
        livepush.notify(ann if number % 3 else "order:7", str(number))
    mine, found = reader(ann), []
    mine.do("archive", "44", "45")
    page = mine.inbox.page(limit=7)
    while True:
        found += [entry.notification.title for entry in page.entries]
        if page.next is None:
            break
        page = mine.inbox.page(limit=7, before=page.next.number)
    assert found == [str(number) for number in reversed(range(50)) if number not in (44, 45)]


@pytest.mark.long_on("mariadb")
def test_categories_filter_each_tab(using, ann, reader):
    mine = reader(ann)
    for title, category in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")):
        livepush.notify(ann, title, category=category)
    mine.do("read", "c")
    mine.do("archive", "d")
    assert mine.titles(category="x") == ["c", "a"]
    assert mine.titles("unread", category="x") == ["a"]
    assert mine.titles("archived", category="x") == ["d"]
    assert mine.titles("archived", category="y") == []


@pytest.fixture
def sorted_mine(using, ann, reader):
    """Ann's inbox with entries of two categories from two audiences: x1, y2, x3, y4, x5; x3 is read, x1 archived."""
    mine = reader(ann)
    for number, category in enumerate("xyxyx", 1):
        livepush.notify([ann, livepush.everyone][number % 2], f"{category}{number}", category=category)
    mine.do("archive", "x1")
    mine.do("unread", "x1")
    mine.do("read", "x3")
    return mine


@pytest.mark.long_on("mariadb")
@pytest.mark.parametrize(
    ("action", "last", "more", "unread", "listed", "archived"),
    some(
        [
            ("read", "x5", {"category": "x"}, ["y4", "y2", "x1"], ["x5", "y4", "x3", "y2"], ["x1"]),
            ("read", "y4", {"category": "x"}, None, ["x5", "y4", "x3", "y2"], ["x1"]),
            ("read", "x5", {"category": "x", "tab": Tab.UNREAD}, ["y4", "y2"], ["x5", "y4", "x3", "y2"], ["x1"]),
            ("read", "y4", {"tab": Tab.UNREAD}, ["x5"], ["x5", "y4", "x3", "y2"], ["x1"]),
            ("archive", "x5", {"category": "x"}, ["y4", "y2", "x1"], ["y4", "y2"], ["x5", "x3", "x1"]),
            ("archive", "y4", {"category": "x"}, ["x5", "y4", "y2", "x1"], ["x5", "y4", "y2"], ["x3", "x1"]),
            ("archive", "x5", {"category": "x", "tab": Tab.UNREAD}, ["y4", "y2"], ["y4", "x3", "y2"], ["x5", "x1"]),
            ("archive", "y4", {"tab": Tab.UNREAD}, ["x5"], ["x5", "x3"], ["y4", "y2", "x1"]),
            ("archive", "x5", {"category": "z"}, None, ["x5", "y4", "x3", "y2"], ["x1"]),
        ],
        4,
    ),
)
def test_a_mark_up_to_here_is_of_what_is_listed_alone(sorted_mine, action, last, more, unread, listed, archived):
    mine = sorted_mine
    before = (everything(mine), mine.counts())
    was_unread = mine.titles("unread")
    outcome = mine.upto(action, last, **more)
    assert outcome.changed is (unread is not None)
    assert mine.titles("unread") == (was_unread if unread is None else unread)
    assert (mine.titles(), mine.titles("archived")) == (listed, archived)
    assert not mine.upto(action, last, **more).changed
    if outcome.changed:
        mine.undo(outcome)
    assert (everything(mine), mine.counts()) == before


@pytest.mark.long_on("mariadb")
def test_a_mark_of_a_category_tells_what_it_was(using, sorted_mine):
    import json

    outcome = sorted_mine.upto("archive", "x5", category="x", tab=Tab.UNREAD)
    told = json.loads(states(using)[-1])
    assert told == {
        "action": "archive", "ids": None, "upto": f"{outcome.position.epoch}-{sorted_mine.number('x5')}",
        "category": "x", "tab": "unread", "unseen": 2, "unread": 2, "version": 4, "position": str(outcome.position),
    }  # fmt: skip


def test_entries_that_are_named_are_marked_whatever_the_category(using, ann, sorted_mine):
    import json

    numbers = [sorted_mine.number("y2")]
    assert mark(ann, Action.READ, numbers, category="x", tab=Tab.ARCHIVED).changed
    assert "category" not in json.loads(states(using)[-1])
    assert sorted_mine.titles("unread") == ["x5", "y4", "x1"]


@pytest.mark.parametrize(
    ("action", "more", "message"),
    [
        (Action.SEEN, {"category": "x"}, "leave the category out"),
        (Action.READ, {"tab": Tab.ARCHIVED}, "name the entries instead"),
        (Action.ARCHIVE, {"tab": Tab.ARCHIVED, "category": "x"}, "name the entries instead"),
    ],
)
def test_a_mark_that_makes_no_sense_is_refused(using, ann, action, more, message):
    with pytest.raises(InvalidMark, match=message):
        mark(ann, action, upto=5, **more)
    assert not InboxState.objects.using(using).exists()


@pytest.mark.long
@pytest.mark.parametrize("number", some([2_200, 11_000]))
def test_thousands_of_entries_of_a_category_are_marked_in_one_step(using, ann, reader, number):
    mine = reader(ann)
    fill(using, mine, number, lambda number: "x" if number % 11 else "y")
    mine.do("read", str(number - 1))
    began = time.perf_counter()
    outcome = mark(ann, Action.ARCHIVE, upto=mine.inbox.position.number, category="x")
    took = time.perf_counter() - began
    assert mine.titles(category="x") == []
    assert mine.titles("archived", limit=3) == [str(number - each) for each in (1, 2, 3)]
    assert mine.titles(limit=3) == [str(number - each) for each in (11, 22, 33)]
    assert mine.undo(outcome).changed
    assert mine.titles("unread", limit=3) == [str(number - each) for each in (2, 3, 4)]
    assert NotificationState.objects.using(using).count() == 1
    assert took < 20, "seconds; under one, undisturbed"


@pytest.mark.long
def test_many_read_one_by_one_become_a_mark(using, ann, reader, monkeypatch):
    monkeypatch.setattr(marking, "MOVE_MARK_ABOVE", 5)
    mine = reader(ann)
    for number in range(30):
        livepush.notify(ann, str(number))
    for number in range(30):
        if number not in (3, 11):
            mine.do("read", str(number))
    assert mine.titles("unread") == ["11", "3"]
    assert mine.counts() == (2, 2)
    assert NotificationState.objects.using(using).count() < 10
    outcome = mine.all("read")
    assert mine.counts() == (0, 0)
    mine.undo(outcome)
    assert mine.titles("unread") == ["11", "3"]


@pytest.mark.long_on("mariadb")
def test_however_many_were_read_at_once_become_a_mark(using, ann, reader, monkeypatch):
    monkeypatch.setattr(marking, "MOVE_MARK_ABOVE", 5)
    monkeypatch.setattr(marking, "MAX_PASSED", 10)
    for number in range(60):
        livepush.notify(ann, str(number))
    mine = reader(ann)
    mine.do("read", *(str(number) for number in range(60) if number not in (3, 40)))
    mine.do("unread", "50")
    assert NotificationState.objects.using(using).filter(read=True).count() <= 5
    assert mine.titles("unread") == ["50", "40", "3"]


def test_marks_of_two_tabs_at_once_are_both_there_and_told_in_order(using, ann, reader):
    import json

    for number in range(8):
        livepush.notify(ann, str(number))
    mine = reader(ann)
    numbers = [mine.number(str(number)) for number in range(8)]
    threads = [Thread(mark, ann, Action.READ, [number]) for number in numbers]
    for thread in threads:
        thread.join()
    told = [json.loads(data) for data in states(using)]
    assert [state["version"] for state in told] == list(range(1, 9))
    assert [state["unread"] for state in told] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert mine.counts() == (0, 0)


@pytest.mark.long_on("mariadb")
def test_many_readers_mark_at_once_and_none_waits_for_another_for_ever(using, reader):
    users = [User.objects.create(username=f"user{number}") for number in range(6)]
    for _ in range(4):
        livepush.notify(users, "x")
    numbers = {user: [entry.number for entry in reader(user).inbox.page().entries] for user in users}

    def work(user):
        for number in numbers[user]:
            mark(user, Action.ARCHIVE, [number])
        mark(user, Action.READ, upto=numbers[user][0])

    for thread in [Thread(work, user) for user in users]:
        thread.join()
    assert [reader(user).titles("archived") for user in users] == [["x"] * 4] * 6


class Model:
    """What a reader's inbox should be, as plain sets."""

    def __init__(self):
        self.entries, self.seen, self.read, self.archived = [], set(), set(), set()
        self.category = {}

    def listed(self, tab, category):
        shown = {"all": set(self.entries) - self.archived, "unread": set(self.entries) - self.read}
        shown["archived"] = self.archived
        return {entry for entry in shown[tab] if category in ("", self.category[entry])}

    def do(self, action, chosen, upto, category="", tab="all"):
        by_mark = upto is not None and not category and (tab == "all" or action != "archive")
        everything = set(self.entries) if by_mark else self.listed(tab, category)
        some = set(chosen) if upto is None else {entry for entry in everything if entry <= upto}
        if action == "seen" and upto is not None:
            self.seen |= some
        if action in ("read", "archive"):
            self.read |= some
            self.seen |= some if by_mark else set()
        if action == "archive":
            self.archived |= some
        if action == "unread":
            self.read -= some
        if action == "unarchive":
            self.archived -= some

    @property
    def counts(self):
        unread = [entry for entry in self.entries if entry not in self.read]
        return sum(entry not in self.seen for entry in unread), len(unread)


@pytest.mark.long_on("mariadb", "sqlite")
@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_any_course_of_changes_comes_to_what_plain_sets_say(using, ann, monkeypatch, seed):
    monkeypatch.setattr(marking, "MOVE_MARK_ABOVE", 3)
    monkeypatch.setattr(marking, "MAX_PASSED", 12)
    dice, model, history = random.Random(seed), Model(), []
    livepush.join(ann, "order:7")
    for _ in range(70):
        action = dice.choice(
            ["notify", "notify", "seen", "read", "read", "read", "unread", "archive", "unarchive", "undo"]
        )
        if action == "notify" or not model.entries:
            category = dice.choice(["", "x", "y"])
            livepush.notify(dice.choice([ann, "order:7", livepush.everyone]), "x", category=category)
            model.entries.append(Inbox(ann).page(limit=1).entries[0].number)
            model.category[model.entries[-1]] = category
            continue
        if action == "undo":
            if history:
                outcome, before = history.pop()
                history.clear()
                mark(ann, Action.UNDO, version=outcome.version)
                model.seen, model.read, model.archived = before
        else:
            before = set(model.seen), set(model.read), set(model.archived)
            wide = action == "seen" or (action in ("read", "archive") and dice.random() < 0.4)
            upto = dice.choice(model.entries) if wide else None
            chosen = [] if wide else dice.sample(model.entries, min(len(model.entries), dice.randint(1, 3)))
            tab = dice.choice(["all", "unread"]) if wide else "all"
            category = dice.choice(["", "x", "y"]) if wide and action != "seen" else ""
            outcome = mark(ann, Action(action), chosen, upto=upto, category=category, tab=Tab(tab))
            if outcome.changed and action != "seen":
                history[:] = [(outcome, before)]
            elif outcome.changed and history:
                history.clear()
            model.do(action, chosen, upto, category, tab)
        inbox = Inbox(User.objects.get(pk=ann.pk))
        assert tuple(inbox.counts()) == model.counts
        for tab in Tab:
            for category in ("", "x"):
                found = [e.number for e in inbox.page(tab, category, limit=100).entries]
                assert found == sorted(model.listed(tab, category), reverse=True)


@pytest.mark.parametrize("alias", [alias for alias in ALIASES if kind(alias) == "postgresql"])
@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_all_can_be_marked_on_connections_that_bind_on_the_server(alias, monkeypatch):
    def work():
        connection = connections[alias]
        options = {**connection.settings_dict["OPTIONS"], "server_side_binding": True}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
        connection.features.__dict__.pop("uses_server_side_binding", None)
        ann = User.objects.create_user("ann")
        for title in ("1", "2", "3"):
            livepush.notify(ann, title, category="x")
        for action in (Action.SEEN, Action.READ, Action.ARCHIVE):
            mark(ann, action, upto=2)
        inbox = Inbox(ann)
        for tab in Tab:
            for category in ("", "x"):
                inbox.page(tab, category)
        pages = [len(inbox.page(tab).entries) for tab in (Tab.ALL, Tab.ARCHIVED)]
        return tuple(inbox.counts()), pages, categories(inbox)

    with override_settings(LIVEPUSH={"DATABASE": alias}):
        assert Thread(work).join() == ((1, 1), [1, 2], ["x"])


@pytest.mark.long
def test_a_reader_of_very_many_groups_has_an_inbox(using, ann, reader):
    livepush.send("a", "t", using=using)
    audiences = [audience_of_members(f"room:{number}") for number in range(1_500)]
    Membership.objects.using(using).bulk_create(
        [Membership(group=audience, reader=str(ann.pk), joined=1) for audience in audiences], batch_size=500
    )
    now = timezone.now()
    old = Notification(position=1, group=audiences[7], title="Before", first=now, created=now)
    old.save(using=using)
    livepush.notify("room:7", "One")
    livepush.notify(ann, "Two")
    reader(ann).all("read")
    reader(ann).do("unread", "One")
    NotificationState.objects.using(using).create(reader=str(ann.pk), position=1, read=False)
    livepush.notify("room:1499", "Three")
    mine = reader(ann)
    assert mine.counts() == (1, 2)
    assert (mine.titles(), mine.titles("unread")) == (["Three", "Two", "One"], ["Three", "One"])
    assert categories(mine.inbox) == []


@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "postgresql"], indirect=True)
def test_marking_from_async_code_replaces_a_connection_that_was_lost(using, ann, mine):
    number = mine.number("a")

    async def cut_and_mark():
        await sync_to_async(lambda: connections[using].cursor().close())()
        await sync_to_async(lambda: connections[using].connection.close())()
        with pytest.raises(DatabaseError):
            await amark(ann, Action.READ, [number])
        outcome = await amark(ann, Action.READ, [number])
        await sync_to_async(connections.close_all)()
        return outcome

    assert Thread(asyncio.run, cut_and_mark()).join().changed


def test_a_mark_right_after_its_user_was_forgotten_is_made(ann, mine, monkeypatch):
    monkeypatch.setattr(marking, "_make_row", lambda inbox: None)
    assert mine.do("read", "a")
    assert mine.counts() == (3, 3)
