"""What manage.py check says."""

from __future__ import annotations

import math
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth import models as auth
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import livepush
from livepush import checks as livepush_checks
from livepush import model_checks
from livepush.access import rules
from livepush.conf import Settings, get_settings
from livepush.inbox import kinds
from livepush.publish import model_events
from livepush.receiving import checking, handlers
from tests.archive import models as archive
from tests.docs_blocks import PAGES, blocks
from tests.shop.models import Team


class Broken:
    """A layer whose constructor wants a setting that it does not get."""

    def __init__(self):
        raise KeyError("PASSWORD")


def found():
    return {message.id: message for message in checks.run_checks(tags=["livepush"])}


def test_a_project_that_is_set_up_well_hears_nothing():
    assert found() == {}


@pytest.mark.parametrize(
    ("override", "id", "message", "hint"),
    [
        ({"LIVEPUSH": {"RETENTOIN": 1}}, "livepush.W001", "nothing reads: 'RETENTOIN'", "Did you mean 'RETENTION'?"),
        ({"LIVEPUSH": {"RETENTION": "1"}}, "livepush.E001", r"LIVEPUSH\['RETENTION'\] is '1'", "docs/settings.md"),
        ({"LIVEPUSH": {"HEARTBEAT": 0}}, "livepush.E001", "is 0: expected something like 15.0 .*, above 0", "docs"),
        ({"LIVEPUSH": {"STREAM_RETENTION": 0}}, "livepush.E001", "is 0: expected something like 604800.0", "docs"),
        (
            {"LIVEPUSH": {"STREAM_RETENTION": "7 days"}},
            "livepush.E001",
            "is '7 days': expected .* .seconds, or a timedelta",
            "docs",
        ),
        ({"LIVEPUSH": {"DRAIN_STREAMS": -1}}, "livepush.E001", "is -1: expected .* 10.0 .*, 0 or more", "docs"),
        ({"LIVEPUSH": {"METRICS_TOKEN": b"s3cret"}}, "livepush.E001", "is of type bytes: expected", "docs"),
        ({"LIVEPUSH": {"STREAMS_RETENTION": 60}}, "livepush.W001", "nothing reads", "Did you mean 'STREAM_RETENTION'?"),
        (
            {"LIVEPUSH": {"MODEL_EVENT_ERRORS": "hide"}},
            "livepush.E001",
            "expected one of 'auto', 'raise', 'log'",
            "docs",
        ),
        ({"LIVEPUSH": {"MODEL_EVENT_ERRORS": ["log"]}}, "livepush.E001", "expected one of", "docs"),
        ({"LIVEPUSH": []}, "livepush.E001", "LIVEPUSH must be a dict, not list", "docs"),
        ({"LIVEPUSH": {"DATABASE": "nope"}}, "livepush.E002", "which DATABASES does not have", "Choose one of"),
        ({"LIVEPUSH": {"HANDSHAKE": "a.b"}}, "livepush.E001", "is 'a.b': expected something like", "docs/settings.md"),
        (
            {"LIVEPUSH": {"HANDSHAKE": ["a.b"]}},
            "livepush.E010",
            "names 'a.b', which can't be imported",
            "paths to them",
        ),
        (
            {"LIVEPUSH": {"HANDSHAKE": ["os.sep"]}},
            "livepush.E010",
            "which is '/': expected a callable",
            "paths to them",
        ),
        (
            {"LIVEPUSH": {"AUTHENTICATORS": ["tests.nope"]}},
            "livepush.E026",
            r"LIVEPUSH\['AUTHENTICATORS'\] names 'tests.nope', which is not there",
            "functions of the request",
        ),
        ({"LIVEPUSH": {"AUTHENTICATORS": [print]}}, "livepush.E001", "AUTHENTICATORS.*expected something like", "docs"),
        (
            {"LIVEPUSH": {"PUBLIC_USER": "tests.nope"}},
            "livepush.E027",
            "names 'tests.nope', which can't be imported",
            "function of a user",
        ),
        ({"LIVEPUSH": {"ALLOWED_ORIGINS": [print]}}, "livepush.E001", "https://app.example.com", "docs"),
        (
            {"LIVEPUSH": {"ALLOWED_ORIGINS": ["https://*.example.com"]}},
            "livepush.W026",
            r"has 'https://\*\.example\.com', which no browser sends",
            "without path, wildcard or default port",
        ),
        (
            {"LIVEPUSH": {"HANDSHAKE": ["django.contrib.auth.middleware.LoginRequiredMiddleware"]}},
            "livepush.E010",
            "has LoginRequiredMiddleware, a middleware with process_view",
            "paths to them",
        ),
        (
            {"LIVEPUSH": {"HANDSHAKE": ["tests.shop.gates.PassesOn"]}},
            "livepush.E010",
            "has PassesOn, a middleware with process_view",
            "paths to them",
        ),
        ({"ASGI_APPLICATION": None}, "livepush.W002", "ASGI_APPLICATION is not set", "livepush.asgi"),
        (
            {
                "CHANNEL_LAYERS": {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
                "LIVEPUSH": {"HINT": "channels"},
            },
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
        (
            {"CHANNEL_LAYERS": {"default": {"BACKEND": "tests.test_checks.Broken"}}},
            "livepush.W009",
            "The channel layer 'default' can't be built: KeyError: 'PASSWORD'",
            "livepush works without a layer",
        ),
        ({"LIVEPUSH": {"HINT": "redis"}}, "livepush.E001", "expected one of 'auto', 'channels', 'notify'", "docs"),
        (
            {"LIVEPUSH": {"HINT": "notify", "DATABASE": "sqlite"}},
            "livepush.E016",
            "'notify', and the database 'sqlite' is not PostgreSQL",
            "keep the log in PostgreSQL",
        ),
        ({"LIVEPUSH": {"HINT": "channels"}}, "livepush.E017", "there are no CHANNEL_LAYERS", "configure a layer"),
        (
            {"LIVEPUSH": {"NOTIFY_DATABASE": "direct"}},
            "livepush.E018",
            "is 'direct', which is no PostgreSQL database",
            "a direct connection to the database of 'default'",
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


STOCK = "import os\nfrom django.core.asgi import get_asgi_application\n"


@pytest.mark.parametrize(
    ("source", "is_warned_of"),
    [
        (STOCK, True),
        ("from django.core.asgi import get_asgi_application\nfrom django.urls import path\n", True),
        ("import os\nfrom livepush.asgi import get_asgi_application\n", False),
        (f"{STOCK}from mysite import routing\n", False),
        (f"{STOCK}from .routing import application\n", False),
        ("from channels.routing import ProtocolTypeRouter\n", False),
        ("from django.core.asgi import (", False),
        (None, False),
    ],
)
def test_an_asgi_py_without_livepush_is_warned_of(source, is_warned_of, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    if source is not None:
        (tmp_path / "their_asgi.py").write_text(source)
    with override_settings(ASGI_APPLICATION="their_asgi.application"):
        warning = found().get("livepush.W022")
    assert (warning is not None) == is_warned_of
    if warning is not None:
        assert warning.msg.startswith("their_asgi has nothing but Django's own application")
        assert "In that file, take get_asgi_application from livepush.asgi" in warning.hint


def test_a_runserver_that_speaks_wsgi_is_warned_of_in_development():
    with override_settings(DEBUG=True):
        assert "serve the static files too" in found()["livepush.W003"].hint
        with override_settings(LIVEPUSH={"GRIP": {"CONTROL_URI": "http://127.0.0.1:1", "KEY": "k" * 32}}):
            assert "livepush.W003" not in found()  # Pushpin holds the clients
    with override_settings(DEBUG=False):
        assert "livepush.W003" not in found()


def test_a_log_in_a_database_with_autocommit_off_is_warned_of(monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "AUTOCOMMIT", False)
    warning = found()["livepush.W024"]
    assert "DATABASES['default']['AUTOCOMMIT'] is False" in warning.msg
    assert "transaction.atomic" in warning.hint


def test_a_project_without_rules_is_warned_of(monkeypatch):
    monkeypatch.setattr(livepush_checks, "rules", rules.rules[:1])
    monkeypatch.setattr(kinds, "registry", {})
    warning = found()["livepush.W007"]
    assert "No rule admits anyone" in warning.msg
    assert "uses the inbox alone, add 'livepush.W007' to SILENCED_SYSTEM_CHECKS" in warning.hint
    with override_settings(LIVEPUSH={"MERCURE": {"KEY": "k" * 32}}):
        assert "livepush.W007" not in found()
    with override_settings(EVENTSTREAM_CHANNELMANAGER_CLASS="livepush.bridges.eventstream.DefaultChannelManager"):
        assert "livepush.W007" not in found()


def test_a_project_with_kinds_of_notifications_needs_no_rule(monkeypatch):
    monkeypatch.setattr(livepush_checks, "rules", rules.rules[:1])
    monkeypatch.setattr(kinds, "registry", {"order.shipped": livepush.NotificationType()})
    assert "livepush.W007" not in found()


@pytest.mark.parametrize(
    ("group", "type", "is_warned"),
    [
        ("room:<slug:name>", "chat", False),
        ("room:<slug:name>", "typnig", True),
        ("room:lobby", "chat", False),
        ("rooms:<slug:name>", "chat", True),
        ("order:<int:pk>", "anything", False),
        ("order:main", "anything", True),
        ("board", "anything", True),
    ],
)
def test_a_handler_whose_messages_no_rule_lets_in_is_warned_of(monkeypatch, group, type, is_warned):
    monkeypatch.setattr(rules, "rules", mine := [])
    monkeypatch.setattr(checking, "rules", mine)
    monkeypatch.setattr(handlers, "handlers", taken := [])
    monkeypatch.setattr(checking, "handlers", taken)
    livepush.can_read("board")(lambda user: True)
    livepush.can_send("room:<slug:name>", types=("chat", "typing"))(lambda user, name: True)
    livepush.can_send("order:<int:pk>")(lambda user, pk: True)
    livepush.receive(group, type)(lambda user, data, **values: None)
    warned = found().get("livepush.W018")
    assert (warned is not None) == is_warned
    if warned is not None:
        assert f"@livepush.can_send('{group}')" in warned.hint


# Deployments


REDIS = "channels_redis.pubsub.RedisPubSubChannelLayer"


def deployed(**override):
    """Return what ``check --deploy`` finds, by id."""
    with override_settings(**override):
        return {each.id: each for each in checks.run_checks(tags=["livepush"], include_deployment_checks=True)}


def layer(hosts, backend=REDIS, name="hosts", **config):
    return {"CHANNEL_LAYERS": {"default": {"BACKEND": backend, "CONFIG": {name: hosts, **config}}}}


def test_a_deployment_that_is_set_up_well_hears_nothing():
    assert deployed(LIVEPUSH={"MAX_EVENT_BYTES": 5_000_000}, DATA_UPLOAD_MAX_MEMORY_SIZE=None) == {}
    well = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"), "USE_X_FORWARDED_HOST": True}
    assert deployed() == {}
    assert deployed(**well, LIVEPUSH={"TRUSTED_PROXIES": ["127.0.0.1"]}, **layer(["rediss://cache:6380/0"])) == {}


@pytest.mark.parametrize(
    ("override", "id", "message", "hint"),
    [
        ({"DEBUG": True}, "W010", "show settings and code to anybody", "DEBUG = False"),
        (layer(["redis://cache.example.com:6379"]), "W011", "to cache.example.com in the clear", "rediss://"),
        ({"LIVEPUSH": {"ALLOWED_ORIGINS": ["*"]}}, "W012", "pages of any site", "Name the origins"),
        ({"ALLOWED_HOSTS": ["*"]}, "W013", "DNS rebinding", "Name the site's hosts"),
        ({"USE_X_FORWARDED_HOST": True}, "W014", "USE_X_FORWARDED_HOST tell that there is a proxy", "127.0.0.1"),
        (
            {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")},
            "W014",
            "a single address may take all",
            "the proxies' addresses",
        ),
        ({"LIVEPUSH": {"RECHECK": 3600}}, "W016", "is 3600 seconds", "600 or less"),
        ({"LIVEPUSH": {"DRAIN_STREAMS": 60}}, "W019", "is 60 seconds", "TimeoutStopSec"),
        (
            {"SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"},
            "W017",
            "a copy of a cookie reads on after the logout",
            "cached_db",
        ),
        (
            {"LIVEPUSH": {"MAX_EVENT_BYTES": 5_000_000}},
            "W028",
            "DATA_UPLOAD_MAX_MEMORY_SIZE is 2621440",
            "5004096 or more",
        ),
    ],
)
def test_what_is_risky_in_production_is_said_with_its_remedy_and_only_there(override, id, message, hint):
    warning = deployed(**override)[f"livepush.{id}"]
    assert message in warning.msg
    assert hint in warning.hint
    with override_settings(**override):
        assert f"livepush.{id}" not in found()


SECRET = re.compile(r'"(?:SECRET|KEY|METRICS_TOKEN)": (?:os\.environ\.get\("\w+", )?"([^"{]{16,})"')


def test_a_secret_that_stands_in_the_manual_is_warned_of():
    secrets = {secret for page in PAGES for block in blocks(page) for secret in SECRET.findall(block.text)}
    assert len(secrets) >= 5
    for secret in secrets:
        for given, name in (
            ({"METRICS_TOKEN": secret}, "['METRICS_TOKEN']"),
            ({"RELAYS": {"shop": {"SECRET": ["another", secret]}}}, "['RELAYS']['shop']['SECRET']"),
            ({"GRIP": {"KEY": secret}}, "['GRIP']['KEY']"),
        ):
            assert deployed(LIVEPUSH=given)["livepush.W023"].msg.startswith(f"LIVEPUSH{name}: ")
    assert "livepush.W023" not in deployed(LIVEPUSH={"METRICS_TOKEN": "a text that nobody has written down"})


def test_the_secret_key_of_the_manual_is_warned_of():
    written = "".join(block.text for page in PAGES for block in blocks(page))
    keys = set(re.findall(r'^SECRET_KEY = "(.+)"$', written, re.MULTILINE))
    assert keys
    for key in keys:
        assert deployed(SECRET_KEY=key)["livepush.W023"].msg.startswith("SECRET_KEY: ")
    assert "livepush.W023" not in deployed(SECRET_KEY="")


@pytest.mark.parametrize(("version", "is_old"), [("4.2.1", True), ("3.0", True), ("4.2.2", False), ("4.10.0", False)])
def test_a_daphne_that_takes_messages_of_any_size_is_warned_of(version, is_old, tmp_path, monkeypatch):
    info = tmp_path / f"daphne-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: daphne\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert ("livepush.W015" in deployed()) is is_old


@pytest.mark.parametrize(
    ("layers", "is_open"),
    [
        (layer([("cache", 6379)]), True),
        (layer([{"address": "redis://10.0.0.5"}]), True),
        (layer([{"host": "cache", "port": 6379}]), True),
        (layer([{"sentinels": [("127.0.0.1", 26379), ("far", 26379)], "master_name": "m"}]), True),
        (layer(["cache:6379"]), True),
        (layer("valkey://cache", "channels_valkey.pubsub.ValkeyPubSubChannelLayer"), True),
        (layer(["nats://bus:4222"], "channels_nats.core.NatsChannelLayer", "servers"), True),
        (layer(["tls://bus:4222"], "channels_nats.core.NatsChannelLayer", "servers"), False),
        (layer(["redis://cache"], symmetric_encryption_keys=["key"]), False),
        (layer([{"address": "rediss://cache"}]), False),
        (layer([{"host": "cache", "ssl": True}]), False),
        (layer([("localhost", 6379)]), False),
        (layer(["redis://127.0.0.1:6379/1", "redis://[::1]:6379"]), False),
        (layer(["unix:///run/redis.sock"]), False),
        (layer([b"redis://cache"]), True),
        (layer(None), False),
        (layer([]), False),
        (layer(["redis://[::1"]), False),
        ({"CHANNEL_LAYERS": {"default": {"BACKEND": REDIS}}}, False),
        ({"CHANNEL_LAYERS": {"default": {"BACKEND": REDIS, "CONFIG": None}}}, False),
    ],
)
def test_a_layer_is_open_where_another_host_has_it_and_nothing_encrypts(layers, is_open):
    from livepush.deploy_checks import _layer

    with override_settings(**layers):
        assert bool(list(_layer(get_settings()))) is is_open


# Group names


@pytest.fixture
def own_rules(monkeypatch):
    monkeypatch.setattr(rules, "rules", own := list(rules.rules))
    monkeypatch.setattr(model_checks, "rules", own)


class Default(livepush.ModelEvents):
    """Sends to the group of the instance."""


class Elsewhere(livepush.ModelEvents):
    """Sends to other groups alone."""

    def groups(self, instance):
        return ["board"]


def test_models_of_one_name_are_an_error_where_a_rule_admits_to_their_groups(own_rules):
    livepush.can_read("group:<int:pk>")(lambda user, pk: True)
    error = found()["livepush.E004"]
    assert error.msg == (
        "auth.Group and archive.Group would share the groups that begin with 'group:', and with them their readers."
    )
    assert error.hint == (
        "Give a model another word, such as LIVEPUSH['GROUP_NAMES'] = {'archive.Group': 'archive-group'}, "
        "then rename its rules and event types."
    )
    with override_settings(LIVEPUSH={"GROUP_NAMES": {"archive.Group": "archived-group"}}):
        assert found() == {}


@pytest.mark.parametrize("model", [auth.Group, Team, archive.Group, archive.User])
def test_models_of_one_name_are_an_error_where_one_sends_events_to_its_instances_groups(model, monkeypatch):
    monkeypatch.setitem(model_events.registry, model, Default(model))
    assert found().keys() == {"livepush.E004"}


def test_a_model_of_livepushs_own_name_has_an_error_for_its_groups_and_for_its_types(monkeypatch):
    monkeypatch.setitem(model_events.registry, archive.Inbox, Default(archive.Inbox))
    assert found().keys() == {"livepush.E004", "livepush.E006"}


@pytest.mark.parametrize(
    ("model", "events"), [(archive.Group, Elsewhere), (archive.User, Elsewhere), (auth.User, Default)]
)
def test_models_of_one_name_are_none_of_livepushs_business_where_it_uses_no_group_of_both(model, events, monkeypatch):
    monkeypatch.setitem(model_events.registry, model, events(model))
    assert found() == {}


def test_models_of_one_name_whose_events_have_the_same_types_are_an_error(monkeypatch):
    """They send to other groups, as ``line:7`` written by hand, whose readers could not tell them apart."""
    monkeypatch.setitem(model_events.registry, auth.Group, Elsewhere(auth.Group))
    monkeypatch.setitem(model_events.registry, archive.Group, Elsewhere(archive.Group))
    error = found()["livepush.E006"]
    assert error.msg == ("auth.Group and archive.Group would send events of the same types, 'group.created' and so on.")
    assert error.hint == (
        "Give a model another word, such as LIVEPUSH['GROUP_NAMES'] = {'archive.Group': 'archive-group'}, "
        "then rename its rules and event types; or write a type() method."
    )
    with override_settings(LIVEPUSH={"GROUP_NAMES": {"archive.Group": "archived-group"}}):
        assert found() == {}
        assert model_events.registry[archive.Group].type(None, "created") == "archived-group.created"
        assert model_events.registry[auth.Group].type(None, "created") == "group.created"


@pytest.mark.parametrize("models", [(auth.Group, archive.Group), (archive.Group, auth.Group)])
def test_both_errors_of_models_of_one_name_advise_to_rename_the_one_that_was_installed_later(models, monkeypatch):
    for model in models:
        monkeypatch.setitem(model_events.registry, model, Default(model))
    errors = found()
    assert errors.keys() == {"livepush.E004", "livepush.E006"}
    assert all("{'archive.Group': 'archive-group'}" in error.hint for error in errors.values())


def test_a_type_method_of_its_own_tells_models_of_one_name_apart(monkeypatch):
    class Other(Elsewhere):
        def type(self, instance, action):
            return f"archived.{action}"

    monkeypatch.setitem(model_events.registry, auth.Group, Elsewhere(auth.Group))
    monkeypatch.setitem(model_events.registry, archive.Group, Other(archive.Group))
    assert found() == {}


def test_proxies_of_one_name_can_only_have_a_type_method(monkeypatch):
    twin = type("Team", (), {"_meta": Team._meta})
    monkeypatch.setitem(model_events.registry, Team, Elsewhere(Team))
    monkeypatch.setitem(model_events.registry, twin, Elsewhere(twin))
    assert found()["livepush.E006"].hint == "Write a type() method."


def test_types_that_are_livepushs_own_are_an_error(monkeypatch):
    monkeypatch.setitem(model_events.registry, archive.Inbox, Elsewhere(archive.Inbox))
    error = found()["livepush.E006"]
    assert error.msg == (
        "archive.Inbox can't send events of the type 'inbox.created': names that begin with 'inbox.' are livepush's "
        "own."
    )
    assert "{'archive.Inbox': 'archive-inbox'}" in error.hint


@pytest.mark.parametrize("pattern", ["groups:<int:pk>", "group:all", "group:<int:pk>:chat", "user:<int:pk>"])
def test_a_rule_for_other_groups_says_nothing_of_models_of_one_name(pattern, own_rules):
    livepush.can_read(pattern)(lambda user, pk=0: True)
    assert found() == {}


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ({"shop.Oder": "o"}, "gives 'shop.oder' the word 'o': there is no such model", "<app label>.<model>"),
        ({"Order": "o"}, "there is no such model", "<app label>.<model>"),
        ({"auth.User": "member"}, "the groups of users are always called 'user:…'", "Take it out."),
        ({"shop.Clerk": "clerk"}, "the groups of users are always called", "Take it out."),
        ({"shop.ExpressOrder": "e"}, "the groups of its instances are those of shop.Order", "Name 'shop.Order'"),
        ({"archive.Inbox": "inbox"}, "livepush has groups of its own that begin with it", "Choose another word."),
    ],
)
def test_a_name_of_groups_that_can_have_no_effect_is_an_error(entry, message, hint):
    with override_settings(LIVEPUSH={"GROUP_NAMES": entry}):
        error = found()["livepush.E005"]
    assert message in error.msg
    assert hint in error.hint


@pytest.mark.parametrize("value", ["order", ["shop.Order"], {"shop.Order": "a:b"}, {"shop.Order": ""}, {7: "order"}])
def test_names_of_groups_are_words_by_label(value):
    with override_settings(LIVEPUSH={"GROUP_NAMES": value}):
        assert found().keys() == {"livepush.E001"}
        assert "expected something like {'archive.Order': 'archived-order'}" in found()["livepush.E001"].msg


# Databases


class Router:
    """Writes orders to another database."""

    def db_for_write(self, model, **hints):
        return "elsewhere" if model._meta.label == "shop.Order" else None


@override_settings(DATABASE_ROUTERS=[Router()])
def test_a_model_whose_events_no_hub_reads_is_warned_of():
    warning = found()["livepush.W008"]
    assert warning.msg == (
        "shop.Order is written to the database 'elsewhere', so its events go to the log there; the hubs read the log "
        "of LIVEPUSH['DATABASE'], 'default'."
    )
    assert "Set LIVEPUSH['DATABASE'] to 'elsewhere'" in warning.hint
    with override_settings(DATABASE_ROUTERS=[]):
        assert "livepush.W008" not in found()


def test_a_log_apart_from_the_models_is_warned_of():
    with override_settings(LIVEPUSH={"DATABASE": "log"}):
        assert "'default'" in found()["livepush.W008"].msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("RETENTION", "HEARTBEAT", "RECHECK") for value in (math.inf, 10**12, 10**400)),
        *((name, value) for name in ("MAX_CONNECTIONS", "MAX_GROUPS_ANONYMOUS") for value in (math.inf, 0.5, 10**400)),
        ("DATABASE_THREADS", 0.5),
        ("COMMANDS_PER_SECOND", math.inf),
        ("MAX_STREAM_AGE", math.nan),
        ("RETENTION", timedelta.max),
    ],
)
def test_a_number_that_livepush_can_not_count_with_is_an_error(name, value):
    with override_settings(LIVEPUSH={name: value}):
        assert f"LIVEPUSH['{name}'] is" in found()["livepush.E001"].msg


@pytest.mark.parametrize(
    ("origin", "is_warned_of"),
    [
        ("*", False),
        ("null", False),
        ("https://app.example.com", False),
        ("https://App.example.com/", False),
        ("http://localhost:3000", False),
        ("https://[::1]:8443", False),
        ("capacitor://localhost", False),
        ("http://a.example:443", False),
        ("app.example.com", True),
        ("localhost:3000", True),
        ("https://a.example:443", True),
        ("http://a.example:80", True),
        ("https://a.example/app", True),
        ("https://a.example?x", True),
        ("https://ann@a.example", True),
        ("https://a.example:x", True),
        ("https://[", True),
        ("", True),
    ],
)
def test_an_origin_that_no_browser_sends_is_warned_of(origin, is_warned_of):
    with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": [origin]}):
        assert ("livepush.W026" in found()) == is_warned_of


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("LIVEPUSH_RETENTION", "Write LIVEPUSH = {'RETENTION': …}."),
        ("LIVEPUSH_RETENTOIN", "Write LIVEPUSH = {'RETENTION': …}."),
        ("LIVE_PUSH_HINT", "Write LIVEPUSH = {'HINT': …}."),
        ("LIVE_PUSH", "Write LIVEPUSH = {…}."),
        ("LIVEPSUH", "Write LIVEPUSH = {…}."),
        ("LIVEPUSH_CONFIG", "Write LIVEPUSH = {…}."),
        ("DJANGO_LIVEPUSH", "Write LIVEPUSH = {…}."),
        ("LIVEPUSH_BOARD_SIZE", None),
        ("PUSH", None),
    ],
)
def test_a_setting_beside_the_dict_is_warned_of(name, hint):
    with override_settings(**{name: {}}):
        del settings.LIVEPUSH
        warning = found().get("livepush.W027")
    assert (warning is None) == (hint is None)
    if hint is not None:
        assert warning.msg == f"{name} is no setting, so nothing reads it."
        assert warning.hint == f"{hint} Livepush has this one setting, a dict."


def test_settings_of_a_projects_own_from_which_it_makes_the_dict_are_its_own():
    with override_settings(LIVEPUSH={"RETENTION": 5}, LIVEPUSH_RETENTION=5, LIVEPUSH_CONFIG={}, LIVEPUSH_HINT="none"):
        assert found()["livepush.W027"].msg.startswith("LIVEPUSH_HINT ")


def test_settings_have_defaults_and_take_timedeltas():
    with override_settings(LIVEPUSH={"RETENTION": timedelta(days=1), "MAX_GROUPS": 5}):
        assert get_settings() == Settings(RETENTION=86_400.0, MAX_GROUPS=5)
    assert get_settings().RETENTION == 604_800


def test_a_wrong_value_is_an_error_where_it_is_read():
    with override_settings(LIVEPUSH={"MAX_GROUPS": True}), pytest.raises(ImproperlyConfigured, match="MAX_GROUPS"):
        get_settings()
