"""Hostile requests to the bridges' plain views: refused in order, at no great cost, and without a trace in the logs."""

from __future__ import annotations

import io
import json
import logging
import time
from urllib.parse import urlencode

import jwt
import pytest
from django.contrib.auth.models import Permission
from django.core.handlers.asgi import ASGIRequest
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path, reverse

import livepush
from livepush import tenants
from livepush.access import limits
from livepush.bridges import patterns
from livepush.bridges.grip import signature
from livepush.bridges.grip.config import edge
from livepush.bridges.publishing.keys import create_key
from livepush.bridges.pusher import api, config, drafts, hiding, signing
from livepush.bridges.pusher.config import App
from livepush.log import NEW_KEYS
from livepush.logs import HideTokens
from livepush.models import Event
from livepush.notes import Rarely
from livepush.rights import watch
from livepush.wire import WireError
from tests import urls as site_urls
from tests.bridges.pushers import APP
from tests.bridges.test_grip import HERE, claims
from tests.servers.pushpin import KEY

pytestmark = pytest.mark.django_db(transaction=True)
urlpatterns = [*site_urls.urlpatterns, path("", include("livepush.bridges.pusher.urls"))]
OWN = App(*APP.values())


# Patterns


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("order:7", "order:7", True),
        ("order:7", "order:70", False),
        ("order:*", "order:", True),
        ("order:*", "orders:7", False),
        ("*", "", True),
        ("*:7", "order:7", True),
        ("*:7", "order:7:7", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("a**a", "aa", True),
        ("*b*", "aba", True),
        ("a.c", "abc", False),
    ],
)
def test_a_pattern_stands_for_what_it_says_and_no_more(pattern, name, fits):
    assert patterns.matches((pattern,), name) is fits


def test_no_name_makes_a_pattern_take_long():
    begun = time.monotonic()
    assert not patterns.matches(("*:" * 60 + "x",), ":" * 200)
    assert time.monotonic() - begun < 0.5  # tried one way after another, it takes years


# Pusher's addresses


@pytest.fixture
def pusher(settings):
    settings.LIVEPUSH = {"PUSHER": APP}
    with override_settings(ROOT_URLCONF=__name__):
        yield Client()


def call(client, method, address, body=b"", **query):
    """Make a request that the app's secret has signed."""
    known = {"auth_key": OWN.key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0", **query}
    if body:
        known["body_md5"] = signing.hashlib.md5(body).hexdigest()
    known["auth_signature"] = signing.sign(OWN, signing._text(method, address, known))
    return client.generic(method, f"{address}?{urlencode(known)}", body, content_type="application/json")


FORMS = {
    "too many fields": ("application/x-www-form-urlencoded", b"a=1&" * 3000),
    "another charset": ("application/x-www-form-urlencoded; charset=utf-7", b"a=1"),
    "no boundary": ("multipart/form-data; boundary=", b"--x"),
    "too large": ("application/x-www-form-urlencoded", b"a" * 3_000_000),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", ["auth", "user-auth"])
def test_a_form_that_makes_no_sense_is_refused_in_order(pusher, caplog, django_user_model, form, name):
    pusher.force_login(django_user_model.objects.create_user("ann"))
    kind, body = form
    answer = pusher.generic("POST", f"/pusher/{name}", body, content_type=kind)
    assert answer.status_code == (413 if len(body) > 2_000_000 else 400)
    assert answer.json()["code"] in ("bad_request", "too_large")
    assert not [record for record in caplog.records if record.exc_info]


def test_a_query_of_too_many_fields_is_refused_in_order(pusher, caplog):
    answer = pusher.get(f"/apps/1/channels?{'a=1&' * 2000}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert not [record for record in caplog.records if record.exc_info]


def test_of_a_body_without_a_length_no_more_is_read_than_events_may_have(pusher, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    body = io.BytesIO(b" " * 10_000_000)
    scope = {"type": "http", "method": "POST", "path": "/apps/1/events", "query_string": b"", "headers": []}
    assert api.events(ASGIRequest(scope, body)).status_code == 413
    assert body.tell() == drafts.max_body() + 1


def test_a_page_of_another_site_can_not_read_what_is_signed_for_its_user(pusher, django_user_model):
    pusher.force_login(django_user_model.objects.create_user("ann"))
    form = {"socket_id": "1.1", "channel_name": "private-board"}
    for address in "/pusher/auth", "/pusher/user-auth":
        answer = pusher.post(address, form, headers={"origin": "https://evil.example"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_over_its_rate_a_server_is_throttled(pusher, settings, monkeypatch):
    monkeypatch.setattr(api, "budget", limits.PublishingBudget())
    settings.LIVEPUSH = {"PUSHER": APP, "PUBLISHED_PER_SECOND": 1.0}
    event = {"name": "n", "data": "{}", "channel": "board"}
    body = json.dumps({"batch": [event] * 10}).encode()
    answers = [call(pusher, "POST", "/apps/1/batch_events", body) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert int(answers[-1]["Retry-After"]) >= 1
    assert Event.objects.filter(group="board").count() == 100


def test_no_user_to_be_shown_out_stands_for_everybody(pusher):
    assert call(pusher, "POST", "/apps/1/users/7/terminate_connections", b"{}").status_code == 200
    answer = call(pusher, "POST", f"/apps/1/users/{livepush.everyone}/terminate_connections", b"{}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_user")
    (said,) = Event.objects.filter(type=watch.RIGHTS_TYPE, group="livepush:rights")
    assert json.loads(said.data)["user"] == "7"


def test_nobody_publishes_what_clients_take_for_livepushs_extension(pusher):
    body = json.dumps({"name": "livepush:position", "data": "{}", "channel": "board"}).encode()
    assert call(pusher, "POST", "/apps/1/events", body).status_code == 400


def test_nothing_shows_the_secrets(settings):
    settings.LIVEPUSH = {"PUSHER": APP, "GRIP": HERE}
    assert APP["SECRET"] not in repr(config.app())
    assert KEY not in repr(edge())


def test_what_is_hidden_is_shown_with_the_secret_key_alone():
    text = hiding.hidden(b"a session's key" * 10)
    assert text != hiding.hidden(b"a session's key" * 10)
    assert hiding.shown(text) == b"a session's key" * 10
    with override_settings(SECRET_KEY="another"), pytest.raises(ValueError, match="another key"):
        hiding.shown(text)


def test_signatures_that_are_good_for_a_while_are_hidden_in_logs():
    for name in ("auth_signature", "authorization", "grip"):
        record = logging.LogRecord("x", logging.INFO, "", 1, "GET %s", (f"/x?a=1&{name}=5e:c_-r.et&b=2",), None)
        assert HideTokens().filter(record)
        assert record.getMessage() == f"GET /x?a=1&{name}=***&b=2"


# Publishing


def publish(key, body, address="publish/"):
    headers = {"authorization": f"Bearer {key}"}
    return Client().post(f"/livepush/{address}", json.dumps(body), "application/json", headers=headers)


def test_a_key_with_another_secret_is_refused():
    shop = create_key("shop", groups=["board"])
    event = {"group": "board", "type": "t"}
    assert publish(f"{shop[:-43]}{'A' * 43}", event).status_code == 401
    assert publish(shop, event).status_code == 200


@pytest.mark.parametrize("key", ["new:a", "new:trace:00-a-b-01", "message:a", "livepush:a", "own:new:a"])
def test_no_key_of_a_notification_is_taken_for_one_of_livepushs(settings, key):
    shop = create_key("shop", recipients=["*"])
    answers = [publish(shop, {"recipients": ["user:7"], "title": "t", "key": key}, "publish/notify/") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Event.objects.filter(group="user:7").count() == 1
    assert not Event.objects.filter(key__startswith=NEW_KEYS).exists()


# A proxy at the edge


def test_a_signature_that_is_wrong_writes_no_lines_of_its_own(settings, caplog, monkeypatch):
    monkeypatch.setattr(signature, "_failures", Rarely(0.0))
    settings.LIVEPUSH = {"GRIP": HERE}
    forged = jwt.encode(claims(), "x" * 40, headers={"crit": ["b\n[ERROR] forged"], "b\n": 1})
    assert Client().get("/livepush/sse/?group=board", headers={"Grip-Sig": forged}).status_code == 403
    lines = [record.getMessage() for record in caplog.records if record.name == "livepush"]
    assert lines
    assert all(line.isprintable() for line in lines)


def test_a_newcomer_is_told_of_events_by_hints_since_the_proxy_sends_the_same_to_all(settings, django_user_model):
    settings.LIVEPUSH = {"GRIP": HERE}
    client, headers = Client(), {"Grip-Sig": jwt.encode(claims(), KEY)}
    client.force_login(django_user_model.objects.create_user("ann"))
    for group, channel in ("board", "livepush-sse:board"), (livepush.everyone, "livepush-hint:inbox%3Aall"):
        answer = client.get(f"/livepush/sse/?group={group}", headers=headers)
        assert answer["Grip-Channel"].rpartition(", ")[2].partition(";")[0] == channel


# Tenants


def test_a_host_that_is_not_allowed_leaves_no_trace_however_often_it_comes(settings, caplog):
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    settings.ALLOWED_HOSTS = [".shop.test"]
    for host, count in ("evil.example", 0), ("broken.shop.test", 1):
        caplog.clear()
        for _ in range(5):
            with pytest.raises(WireError, match="no site at this address"):
                tenants.of_request(RequestFactory().get("/", headers={"host": host}))
        assert len([record for record in caplog.records if record.exc_info]) <= count


def says_no(request):
    return "no"


def test_metrics_are_for_whom_the_project_says_true_and_nothing_else(settings):
    settings.LIVEPUSH = {"METRICS_ALLOWED": f"{__name__}.says_no"}
    assert Client().get("/livepush/metrics/").status_code == 401


@pytest.mark.parametrize(("superuser", "status"), [(True, 200), (False, 403)])
def test_the_figures_of_all_tenants_are_for_superusers(settings, client, django_user_model, superuser, status):
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    user = django_user_model.objects.create_user("ann", is_staff=True, is_superuser=superuser)
    user.user_permissions.add(Permission.objects.get(codename="view_processfigures"))
    client.force_login(user)
    with tenants.active("acme"):
        assert client.get(reverse("admin:livepush_processfigures_changelist")).status_code == status
