"""What manage.py check says."""

from __future__ import annotations

import re

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from livepush import checks as livepush_checks
from livepush.access import rules
from livepush.conf import Settings, get_settings


def found():
    return {message.id: message for message in checks.run_checks(tags=["livepush"])}


def test_a_project_that_is_set_up_well_hears_nothing():
    assert found() == {}


@pytest.mark.parametrize(
    ("override", "id", "message", "hint"),
    [
        ({"LIVEPUSH": {"RETENTOIN": 1}}, "livepush.W001", "nothing reads: 'RETENTOIN'", "Did you mean 'RETENTION'?"),
        ({"LIVEPUSH": {"RETENTION": "1"}}, "livepush.E001", r"LIVEPUSH\['RETENTION'\] is '1'", "docs/settings.md"),
        ({"LIVEPUSH": {"HEARTBEAT": 0}}, "livepush.E001", "is 0: expected something like 15.0", "docs"),
        ({"LIVEPUSH": []}, "livepush.E001", "LIVEPUSH must be a dict, not list", "docs"),
        ({"LIVEPUSH": {"DATABASE": "nope"}}, "livepush.E002", "which DATABASES does not have", "Choose one of"),
        ({"ASGI_APPLICATION": None}, "livepush.W002", "ASGI_APPLICATION is not set", "livepush.asgi"),
        (
            {"CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}},
            "livepush.W005",
            "reaches no other process",
            "RedisPubSubChannelLayer",
        ),
        (
            {"CHANNEL_LAYERS": {"other": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}},
            "livepush.W004",
            "which CHANNEL_LAYERS does not have",
            "Choose one of",
        ),
        ({"ROOT_URLCONF": "tests.nowhere"}, "livepush.E003", "livepush has no address", "livepush.urls"),
        (
            {"MIDDLEWARE": ["django.middleware.gzip.GZipMiddleware"], "ASGI_APPLICATION": None},
            "livepush.W006",
            "GZipMiddleware is on",
            "text/event-stream",
        ),
    ],
)
def test_what_is_missing_or_risky_is_said_with_its_remedy(override, id, message, hint):
    with override_settings(**override):
        warning = found()[id]
    assert re.search(message, warning.msg)
    assert hint in warning.hint


def test_a_runserver_that_speaks_wsgi_is_warned_of_in_development():
    with override_settings(DEBUG=True):
        assert "livepush.W003" in found()
    with override_settings(DEBUG=False):
        assert "livepush.W003" not in found()


def test_a_project_without_rules_is_warned_of(monkeypatch):
    monkeypatch.setattr(livepush_checks, "rules", rules.rules[:1])
    assert "No rule admits anyone" in found()["livepush.W007"].msg


def test_settings_have_defaults_and_take_timedeltas():
    from datetime import timedelta

    with override_settings(LIVEPUSH={"RETENTION": timedelta(days=1), "MAX_GROUPS": 5}):
        assert get_settings() == Settings(RETENTION=86_400.0, MAX_GROUPS=5)
    assert get_settings().RETENTION == 604_800


def test_a_wrong_value_is_an_error_where_it_is_read():
    with override_settings(LIVEPUSH={"MAX_GROUPS": True}), pytest.raises(ImproperlyConfigured, match="MAX_GROUPS"):
        get_settings()
