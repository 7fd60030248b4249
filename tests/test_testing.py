"""capture_events, in a TestCase and out of one."""

from __future__ import annotations

from django.db import transaction
from django.test import TestCase, TransactionTestCase

import livepush
from livepush.testing import capture_events


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


class InATestCase(Checks, TestCase):
    def test_callbacks_that_are_run_are_counted_once(self):
        with capture_events() as events, self.captureOnCommitCallbacks(execute=True):
            livepush.send("a", "one")
        self.assertEqual(events.types(), ["one"])


class InATransactionTestCase(Checks, TransactionTestCase):
    pass
