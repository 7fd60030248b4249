"""``livepush.testing.silenced``: for a project's tests that are about something else than events."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from django.test.utils import TestContextDecorator

from livepush.publish.model_signals import silent


class silenced(TestContextDecorator):  # noqa: N801 (used like a function)
    """Let no signal of a registered model send events in a block, a function (async too) or a ``TestCase`` class.

    Such a save costs no query of livepush's. ``livepush.send``, ``send_for`` and ``notify`` send as always. Other
    threads, such as a live server's, are not silenced: for them there is ``LIVEPUSH["MODEL_EVENTS"]``.
    """

    def enable(self) -> None:
        silent.set(silent.get() + 1)

    def disable(self) -> None:
        silent.set(max(0, silent.get() - 1))

    def decorate_class(self, cls: Any) -> Any:
        """Silence a class from its ``setUpClass`` on, so that ``setUpTestData`` is silenced too."""
        if not issubclass(cls, TestCase):
            return super().decorate_class(cls)  # it says what is wrong
        set_up: Any = cls.setUpClass.__func__

        def silenced_set_up(case: Any) -> None:
            self.enable()
            case.addClassCleanup(self.disable)
            set_up(case)

        cls.setUpClass = classmethod(silenced_set_up)
        return cls
