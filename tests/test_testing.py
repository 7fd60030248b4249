"""capture_events, the assertions and the pytest fixture: in a TestCase and out of one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase

import livepush
from livepush.exceptions import InvalidGroup
from livepush.inbox import kinds
from livepush.inbox.reading import Inbox
from livepush.testing import (
    Recording,
    aassert_nothing_sent,
    aassert_notified,
    assert_nothing_sent,
    assert_notified,
    capture_events,
    stop_all,
)
from tests.conftest import events_of
from tests.shop.models import Clerk, Driver, ExpressOrder, Order


class Checks:
    def test_what_a_block_sends_is_captured_in_order(self):
        livepush.send("a", "before")
        with capture_events() as events:
            livepush.send("a", "one", {"n": 1})
            livepush.send(["a", "b"], "two", ephemeral=True)
        livepush.send("a", "after")
        self.assertEqual(events.types(), ["one", "two"])
        self.assertEqual(events[0].payload, {"n": 1})
        self.assertEqual([sent.type for sent in events.to("b")], ["two"])

    def test_what_is_rolled_back_is_not(self):
        with capture_events() as events, transaction.atomic():
            livepush.send("a", "kept")
            try:
                with transaction.atomic():
                    livepush.send("a", "gone")
                    raise RuntimeError
            except RuntimeError:
                pass
        self.assertEqual(events.types(), ["kept"])

    def test_blocks_may_be_nested(self):
        with capture_events() as outer:
            livepush.send("a", "one")
            with capture_events() as inner:
                livepush.send("a", "two")
        self.assertEqual(inner.types(), ["two"])
        self.assertEqual(outer.types(), ["one", "two"])

    def test_a_recording_is_current_whenever_it_is_looked_at(self):
        livepush.send("a", "before")
        with Recording() as events, transaction.atomic():
            self.assertEqual(events, [])
            livepush.send("a", "one", {"n": 1})
            self.assertEqual(events.types(), ["one"])
            with transaction.atomic():
                livepush.send("b", "gone")
                self.assertEqual(events.types(), ["one", "gone"])
                transaction.set_rollback(True)
            self.assertEqual(events.types(), ["one"])
            livepush.send("b", "two", ephemeral=True)
        self.assertEqual((events[0].payload, events[1].ephemeral, len(events)), ({"n": 1}, True, 2))
        self.assertEqual([sent.type for sent in events[1:]], ["two"])
        self.assertEqual(events.to("b"), [events[1]])
        self.assertEqual(repr(events), repr(list(events)))

    def test_a_user_is_notified_in_each_way(self):
        ann, ben = User.objects.create(username="ann"), User.objects.create(username="ben")
        staff = Group.objects.create()
        ann.groups.add(staff)
        livepush.join(ann, "order:7")
        for recipient in (ann, staff, "order:7", livepush.everyone):
            livepush.notify(recipient, "Hello", data={"to": str(recipient)})
        said = assert_notified(ann, "Hello", 4)
        self.assertEqual([each["data"]["to"] for each in said], [str(ann), str(staff), "order:7", "inbox:all"])
        self.assertEqual(said[0], {"title": "Hello", "level": "info", "data": {"to": "ann"}})
        assert_notified(ben, "Hello")

    def test_a_kind_goes_by_its_key_and_not_by_its_title(self):
        ann = User.objects.create(username="ann")
        with _kind() as shipped:
            livepush.notify(ann, shipped, data={"code": "A7"})
        self.assertEqual(assert_notified(ann, "test.shipped"), assert_notified(ann, shipped))
        self.assertEqual(assert_notified(ann, shipped)[0]["title"], "Shipped A7")
        assert_notified(ann, "Shipped A7", 0)

    def test_several_of_one_collapse_key_each_count(self):
        ann = User.objects.create(username="ann")
        for _ in range(3):
            livepush.notify(ann, "Again", collapse="again")
        assert_notified(ann, "Again", 3)

    def test_another_count_fails_and_says_what_was_sent_to_whom(self):
        ann, ben = User.objects.create(pk=71, username="ann"), User.objects.create(pk=72, username="ben")
        livepush.notify(ben, "Hello")
        with _kind() as shipped:
            livepush.notify(livepush.everyone, shipped, data={"code": "A7"})
        with pytest.raises(AssertionError) as raised:
            assert_notified(ann, "Hello")
        self.assertEqual(
            str(raised.value),
            "user:71 was notified of 'Hello' 0 times, not 1. Notifications in this test:\n"
            "  'Hello' to user:72\n"
            "  'test.shipped' to inbox:all",
        )
        with self.assertRaisesMessage(AssertionError, "user:72 was notified of 'Hello' 1 times, not 2."):
            assert_notified(ben, "Hello", 2)
        with self.assertRaisesMessage(AssertionError, "not 0."):
            assert_notified(ben, "Hello", 0)

    def test_nothing_notified_says_so_and_long_lists_are_cut(self):
        ann = User.objects.create(pk=71, username="ann")
        with self.assertRaisesMessage(AssertionError, "Notifications in this test: none."):
            assert_notified(ann, "Hello")
        for number in range(25):
            livepush.notify(ann, str(number))
        with pytest.raises(AssertionError, match=r"  '19' to user:71\n  … and 5 more$"):
            assert_notified(ann, "Hello")

    def test_a_notification_that_was_rolled_back_does_not_count(self):
        ann = User.objects.create(username="ann")
        with transaction.atomic():
            livepush.notify(ann, "Kept")
            with transaction.atomic():
                livepush.notify(ann, "Gone")
                assert_notified(ann, "Gone")
                transaction.set_rollback(True)
            assert_notified(ann, "Gone", 0)
            assert_notified(ann, "Kept")
        assert_notified(ann, "Kept")

    def test_who_left_has_not_been_notified(self):
        ann = User.objects.create(username="ann")
        livepush.join(ann, "order:7")
        livepush.notify("order:7", "Hello")
        livepush.leave(ann, "order:7")
        assert_notified(ann, "Hello", 0)

    def test_nobody_can_not_have_been_notified(self):
        with pytest.raises(InvalidGroup):
            assert_notified(User(), "Hello")

    def test_nothing_sent_passes_and_something_is_listed(self):
        assert_nothing_sent()
        livepush.send(["a", "b"], "status", {"status": "shipped"})
        with pytest.raises(AssertionError) as raised:
            assert_nothing_sent()
        self.assertEqual(
            str(raised.value),
            "Expected that nothing was sent in this test:\n"
            '  \'status\' to a: {"status":"shipped"}\n'
            '  \'status\' to b: {"status":"shipped"}',
        )

    def test_an_ephemeral_event_counts_up_to_the_commit(self):
        with transaction.atomic():
            livepush.send("a", "typing", {"who": "x" * 300}, ephemeral=True)
            with pytest.raises(AssertionError, match=r"'typing' to a: .{200}…$"):
                assert_nothing_sent("a")
            assert_nothing_sent("b")

    def test_what_was_sent_and_rolled_back_is_nothing(self):
        with transaction.atomic():
            livepush.send("a", "gone")
            livepush.send("a", "gone", ephemeral=True)
            transaction.set_rollback(True)
        assert_nothing_sent()

    def test_nothing_to_a_group_is_nothing_to_its_members_either(self):
        order = Order.objects.create()
        livepush.send("order:0", "status")
        livepush.send(f"order:{order.pk}0", "status")
        assert_nothing_sent(Order(pk=order.pk + 5))
        livepush.notify(order, "Late")
        with self.assertRaisesMessage(AssertionError, f"sent to order:{order.pk} in this test"):
            assert_nothing_sent(order)

    def test_nothing_to_a_user_is_nothing_into_the_inbox_either(self):
        ann, ben = User.objects.create(username="ann"), User.objects.create(username="ben")
        staff = Group.objects.create()
        ann.groups.add(staff)
        livepush.send("board", "status")
        livepush.send(ben, "mail")
        livepush.notify(ben, "Hello")
        assert_nothing_sent(ann)
        livepush.notify(staff, "Hello")
        assert_nothing_sent(f"user:{ann.pk}")
        for to, group in ((ann, f"inbox:auth:{staff.pk}"), (staff, f"inbox:auth:{staff.pk}"), (ben, f"user:{ben.pk}")):
            with self.assertRaisesMessage(AssertionError, f"'inbox.notification' to {group}: "):
                assert_nothing_sent(to)
        livepush.send(ann, "mail", ephemeral=False)
        with self.assertRaisesMessage(AssertionError, f"'mail' to user:{ann.pk}: null"):
            assert_nothing_sent(f"user:{ann.pk}")

    def test_a_proxy_or_a_child_is_asked_of_as_the_row_that_it_is(self):
        driver, child = Driver.objects.create(username="dan", licence="A7"), ExpressOrder.objects.create()
        clerk = Clerk.objects.get(pk=driver.id)
        assert_nothing_sent(driver)
        livepush.notify(livepush.everyone, "Hello")
        assert_notified(clerk, "Hello")
        for user in (clerk, driver):
            with self.assertRaisesMessage(AssertionError, "'inbox.notification' to inbox:all: "):
                assert_nothing_sent(user)
        with capture_events() as events:
            livepush.send(f"order:{child.pk}", "status")
        self.assertEqual(events.to(child), list(events))


class _kind:  # noqa: N801
    """A kind of notification that is registered in a block."""

    def __enter__(self):
        class Shipped(livepush.NotificationType):
            key = "test.shipped"

            def title(self, ctx):
                return f"Shipped {ctx.data['code']}"

        return livepush.notification(Shipped)

    def __exit__(self, *error):
        del kinds.registry["test.shipped"]


class InAnAsyncTestCase(TestCase):
    """The test's own code runs in another thread than the database's: it has other connections."""

    async def test_a_block_captures_what_async_code_sends(self):
        await livepush.asend("a", "before")
        with capture_events() as events:
            await livepush.asend("a", "one", {"n": 1})
            await sync_to_async(livepush.send)(["a", "b"], "two", ephemeral=True)
            await sync_to_async(self._roll_back)()
            await self.async_client.get("/send-async/")
        await livepush.asend("a", "after")
        self.assertEqual(events.types(), ["one", "two", "from-async"])
        self.assertEqual([sent.type for sent in events.to("b")], ["two"])

    def _roll_back(self):
        with transaction.atomic():
            livepush.send("a", "gone")
            transaction.set_rollback(True)

    async def test_a_recording_is_current(self):
        with Recording() as events:
            self.assertEqual(events, [])
            await livepush.asend("a", "one")
            self.assertEqual(events.types(), ["one"])

    async def test_the_assertions_have_async_twins(self):
        ann = await User.objects.acreate(username="ann")
        await aassert_nothing_sent()
        await livepush.anotify(ann, "Hello")
        said = await aassert_notified(ann, "Hello")
        self.assertEqual(said, [{"title": "Hello", "level": "info"}])
        with self.assertRaisesMessage(AssertionError, "sent to user:"):
            await aassert_nothing_sent(ann)
        with self.assertRaisesMessage(AssertionError, "not 2."):
            await aassert_notified(ann, "Hello", count=2)

    async def test_the_assertions_themselves_name_their_twins(self):
        with self.assertRaisesMessage(SynchronousOnlyOperation, "await aassert_nothing_sent"):
            assert_nothing_sent()
        with self.assertRaisesMessage(SynchronousOnlyOperation, "await aassert_notified"):
            assert_notified(User(pk=1), "Hello")


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_the_assertions_work_where_playwright_has_left_its_loop_running(monkeypatch):
    sync_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_api.sync_playwright():
        asyncio.get_running_loop()
        assert_nothing_sent()
        ann = User.objects.create(username="ann")
        livepush.notify(ann, "Hello")
        assert [said["title"] for said in assert_notified(ann, "Hello")] == ["Hello"]
        with pytest.raises(AssertionError, match="Expected that nothing was sent"):
            assert_nothing_sent(ann)
        stop_all()
        connections.close_all()  # Django keeps another one where a loop runs


@pytest.mark.parametrize(
    "read",
    [
        len, bool, list, lambda events: events == [], lambda events: events != [], lambda events: events[0],
        lambda events: "a" in events, lambda events: events.types(), lambda events: events.to("a"),
    ],
)  # fmt: skip
def test_what_is_captured_is_not_read_before_the_block_has_ended(db, read):
    with capture_events() as events:
        livepush.send("a", "one")
        with pytest.raises(RuntimeError, match="read it after the block"):
            read(events)
        assert repr(events) == "<the events of a block that has not ended>"
    assert events.types() == ["one"]
    assert repr(events) == repr(list(events))


class InATestCase(Checks, TestCase):
    def test_callbacks_are_run_within_the_tests_own_transaction(self):
        ann = User.objects.create(username="ann")
        with self.assertNoLogs("livepush"), transaction.atomic():
            with self.captureOnCommitCallbacks(execute=True):
                livepush.notify(ann, "Hello")
                livepush.send("a", "one")
            self.assertEqual([event.type for event in events_of("default", ["a"])], ["one"])
            self.assertEqual([entry.notification.title for entry in Inbox(ann).page().entries], ["Hello"])

    def test_an_inbox_that_is_read_in_a_block_has_what_was_sent_before_it(self):
        """As outside of a test, where that was committed: so does what a command of the project reads."""
        ann = User.objects.create(username="ann")
        with transaction.atomic():
            livepush.notify(ann, "Hello")
        for _ in range(2):
            with self.assertNoLogs("livepush"), transaction.atomic(), transaction.atomic():
                self.assertEqual([entry.notification.title for entry in Inbox(ann).page().entries], ["Hello"])
                self.assertEqual(Inbox(ann).counts(), (1, 1))

    def test_an_inbox_that_is_read_in_a_block_lacks_what_was_sent_in_it(self):
        ann = User.objects.create(username="ann")
        with transaction.atomic():
            with transaction.atomic():
                livepush.notify(ann, "Hello")
            self.assertEqual(Inbox(ann).counts(), (0, 0))
        self.assertEqual(Inbox(ann).counts(), (1, 1))

    def test_an_inbox_that_is_read_in_a_block_that_is_rolled_back_is_the_same_afterwards(self):
        ann = User.objects.create(username="ann")
        livepush.notify(ann, "Hello")
        for _ in range(2):
            with suppress(ZeroDivisionError), transaction.atomic():
                self.assertEqual(Inbox(ann).counts(), (1, 1))
                _ = 1 / 0
        livepush.notify(ann, "Again")
        self.assertEqual([entry.notification.title for entry in Inbox(ann).page().entries], ["Again", "Hello"])

    def test_callbacks_that_are_run_are_counted_once(self):
        with capture_events() as events, self.captureOnCommitCallbacks(execute=True):
            livepush.send("a", "one")
        self.assertEqual(events.types(), ["one"])

    def test_a_recording_counts_callbacks_that_are_run_once(self):
        with Recording() as events:
            with self.captureOnCommitCallbacks(execute=True):
                livepush.send("a", "one")
            self.assertEqual(events.types(), ["one"])

    def test_a_notification_counts_once_its_callbacks_have_run(self):
        ann = User.objects.create(username="ann")
        with self.captureOnCommitCallbacks(execute=True):
            livepush.notify(ann, "Hello")
        assert_notified(ann, "Hello")


class InATransactionTestCase(Checks, TransactionTestCase):
    def test_callbacks_that_are_run_before_the_commit_settle_nothing_until_it(self):
        with self.assertNoLogs("livepush"), capture_events() as events, transaction.atomic():
            with TestCase.captureOnCommitCallbacks(execute=True):
                livepush.send("a", "one")
            self.assertEqual(events_of("default"), ())
        self.assertEqual([event.type for event in events_of("default")], ["one"])
        self.assertEqual(events.types(), ["one"])

    def test_newcomers_have_not_been_notified_of_what_is_older(self):
        ann, staff = User.objects.create(username="ann"), Group.objects.create()
        for recipient in ("order:7", staff):
            livepush.notify(recipient, "Old")
        livepush.join(ann, "order:7")
        ann.groups.add(staff)
        livepush.notify("order:7", "New")
        assert_notified(ann, "Old", 0)
        assert_notified(ann, "New")


class WithoutADatabase(SimpleTestCase):
    def test_a_request_logs_nothing(self):
        with self.assertNoLogs("livepush", "DEBUG"):
            self.assertEqual(self.client.get("/ready/").status_code, 200)


class WithDataOfTheClass(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.user = User.objects.create(username="ann")
        livepush.notify(cls.user, "Hello")

    def test_what_it_sent_counts(self):
        assert_notified(self.user, "Hello")
        with pytest.raises(AssertionError):
            assert_nothing_sent()


# pytest's fixture, and pytest's databases


IN_A_TRANSACTION, NOT_IN_ONE = (pytest.param(marks=pytest.mark.django_db(transaction=each)) for each in (False, True))


@pytest.mark.parametrize((), [IN_A_TRANSACTION, NOT_IN_ONE], ids=["db", "transactional_db"])
def test_the_fixture_says_what_was_sent_since_the_test_began(livepush_events):
    assert livepush_events == []
    livepush.send("a", "one")
    with transaction.atomic():
        livepush.send("b", "two", ephemeral=True)
        assert livepush_events.types() == ["one", "two"]
    assert [sent.groups for sent in livepush_events] == [("a",), ("b",)]
    with pytest.raises(RuntimeError), transaction.atomic():
        livepush.send("a", "gone")
        raise RuntimeError
    assert livepush_events.types() == ["one", "two"]


def test_a_test_has_nothing_of_the_one_before(db, livepush_events):
    assert livepush_events == []
    assert_nothing_sent()


def test_the_assertions_work_with_pytests_database(db):
    user = User.objects.create(username="ann")
    livepush.notify(user, "Hello")
    assert assert_notified(user, "Hello") == [{"title": "Hello", "level": "info"}]
    with pytest.raises(AssertionError):
        assert_nothing_sent(user)


@pytest.mark.long
def test_the_plugin_leaves_projects_without_django_alone(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('livepush')\n"
        "    assert 'livepush.pytest_plugin' in sys.modules\n"
        "    assert not [name for name in sys.modules if name.startswith('livepush.') and 'plugin' not in name]\n"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("LIVEPUSH", "DJANGO", "PYTEST"))}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider",
         "-p", "no:django", "-p", "no:asyncio", "-p", "no:schemathesis", str(tmp_path)],
        cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
