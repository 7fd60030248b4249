"""Webhooks: signed as Standard Webhooks says, repeated until they are taken, and a target delays no other."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse
from django.utils import timezone
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

import livepush
from livepush.bridges.relays.config import relay
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.bridges.relays.outwards.running import Sender
from livepush.models import Event
from tests.bridges.test_outward_relays import LEASE, is_in_order, run_until
from tests.patience import PATIENCE, eventually
from tests.servers import processes
from tests.servers.receivers import receiver
from tests.servers.relays import relaying

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(bytes(24)).decode()}"


@pytest.fixture
def target():
    with receiver() as found:
        yield found


@pytest.fixture
def hook(target, settings):
    return configured(settings, target)


def configured(settings, target, **changed):
    given = {"DIRECTION": "out", "URL": target.url, "SECRET": SECRET, "ALLOW_HTTP": True, **changed}
    settings.LIVEPUSH = {"RELAYS": {"hook": given}}
    return relay("hook")


def sender(found, longest_pause=0.05):
    made = Sender(found)
    made._target.longest_pause = longest_pause
    return made


def position():
    return RelayCursor.objects.values_list("position", flat=True).first() or 0


def sent(count):
    for number in range(count):
        livepush.send("order:1", "status", {"n": number})


def run(found, condition, **more):
    run_until(sender(found, **more), condition)


def numbers(target):
    return [int(id.partition("-")[2]) for id in target.ids()]


def test_a_request_is_signed_so_that_the_official_library_accepts_it(target, hook):
    livepush.send(["order:1", "board"], "status", {"is": "neü"})
    run(hook, lambda: target.requests)
    (request,) = target.requests
    event = Verifier(SECRET).verify(request.body, request.headers)
    assert (event["groups"], event["type"], event["data"]) == (["order:1", "board"], "status", {"is": "neü"})
    assert event["id"] == request.headers["webhook-id"]
    assert (request.path, request.headers["content-type"]) == ("/hook?site=1", "application/json")
    with pytest.raises(WebhookVerificationError):
        Verifier(OLD_SECRET).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(request.body + b" ", request.headers)


def test_while_a_secret_is_rotated_either_is_good(target, settings):
    sent(1)
    run(configured(settings, target, SECRET=[SECRET, OLD_SECRET]), lambda: target.requests)
    (request,) = target.requests
    for secret in (SECRET, OLD_SECRET):
        Verifier(secret).verify(request.body, request.headers)


def test_events_come_in_their_order_over_one_connection(target, hook):
    sent(20)
    run(hook, lambda: position() == 20)
    assert numbers(target) == list(range(1, 21))
    assert target.connections == 1


@pytest.mark.parametrize("answer", [500, 404, 302, (200, {"Connection": "close"}, b"ok")])
def test_only_a_2xx_is_taken_for_an_answer_and_no_redirect_is_followed(target, hook, answer):
    sent(2)
    with receiver() as other:
        answers = iter([(answer, {"Location": other.url}, b"") if answer == 302 else answer] * 3)
        target.answer = lambda request: next(answers, 204)
        run(hook, lambda: position() == 2)
        assert other.requests == []
    assert numbers(target) == ([1, 2] if isinstance(answer, tuple) else [1, 1, 1, 1, 2])
    assert len({request.headers["webhook-id"] for request in target.requests[:-1]}) == 1


def test_a_connection_that_the_target_closed_meanwhile_is_replaced_at_once(target, hook):
    sent(3)
    target.answer = lambda request: (200, {"Keep-Alive": "timeout=0"}, b"x" * 100_000)  # more than is read
    run(hook, lambda: position() == 3)
    assert numbers(target) == [1, 2, 3]
    assert target.connections == 3


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_target_says_how_long_to_wait(target, hook, use_tz, settings):
    settings.USE_TZ = use_tz
    sent(1)
    answers = iter([(429, {"Retry-After": "1"}, b"")])
    times = []
    target.answer = lambda request: (times.append(time.monotonic()), next(answers, 204))[1]
    run(hook, lambda: position() == 1, longest_pause=30.0)
    assert times[1] - times[0] >= 1.0


def test_a_target_that_answers_too_slowly_gets_it_again(target, settings):
    sent(1)
    slow = iter([0.6])
    target.answer = lambda request: (time.sleep(next(slow, 0)), 204)[1]
    run(configured(settings, target, TIMEOUT=0.2), lambda: position() == 1)
    assert numbers(target)[:2] == [1, 1]


def test_a_target_that_is_gone_makes_dead_letters_at_once(target, hook):
    sent(3)
    target.answer = lambda request: 410
    run(hook, lambda: position() == 3)
    assert numbers(target) == [1, 2, 3]
    assert {letter.reason for letter in DeadLetter.objects.all()} == {"The answer was 410: the target is gone."}


@pytest.mark.parametrize("use_tz", [True, False])
def test_an_event_that_was_not_taken_for_days_becomes_a_dead_letter(target, hook, use_tz, settings):
    settings.USE_TZ = use_tz
    sent(3)
    Event.objects.filter(position__lte=2).update(created=timezone.now() - datetime.timedelta(days=4))
    refused = iter([500, 500, 500])
    target.answer = lambda request: next(refused, 204)
    run(hook, lambda: position() == 3)
    assert numbers(target) == [1, 2, 3, 3]
    first, second = DeadLetter.objects.order_by("pk")
    assert first.reason == "The answer was 500. The event is 4.0 days old, so it was given up."
    assert second.offset.endswith("-2")


def test_the_admin_sends_a_dead_letter_again(target, hook, admin_client):
    sent(2)
    target.answer = lambda request: 410
    run(hook, lambda: position() == 2)
    first = target.requests[0]
    answers = iter([204])
    target.answer = lambda request: next(answers, 503)
    data = {"action": "try_again", "_selected_action": [letter.pk for letter in DeadLetter.objects.all()]}
    text = admin_client.post(reverse("admin:livepush_deadletter_changelist"), data, follow=True).text
    assert target.requests[2].body == first.body
    assert Verifier(SECRET).verify(target.requests[2].body, target.requests[2].headers)["data"] == {"n": 0}
    assert "The answer was 503." in text
    assert DeadLetter.objects.get().offset.endswith("-2")


def test_a_plain_http_address_is_for_development(target, settings):
    with pytest.raises(ImproperlyConfigured, match="expected https"):
        configured(settings, target, ALLOW_HTTP=False)
    settings.DEBUG = True
    assert configured(settings, target, ALLOW_HTTP=False).kind == "webhook"


def certificate(folder):
    """Make a certificate for 127.0.0.1; return the paths of it and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    plain = serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))
    return paths


def test_a_certificate_is_checked(tmp_path, settings, monkeypatch):
    paths = certificate(tmp_path)
    sent(1)
    with receiver(paths) as target:
        found = configured(settings, target, ALLOW_HTTP=False)
        run(found, lambda: RelayCursor.objects.filter(error__contains="CERTIFICATE_VERIFY_FAILED").exists())
        assert target.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", paths[0])
        run(found, lambda: position() == 1)
        assert numbers(target) == [1]


@pytest.mark.long
async def test_a_target_that_is_down_delays_only_itself(databases, target):
    with databases.fresh("postgresql") as database, processes.publisher(database) as elsewhere:
        good = {"DIRECTION": "out", "URL": target.url, "SECRET": SECRET, "ALLOW_HTTP": True, "LEASE": LEASE}
        bad = {**good, "URL": f"http://127.0.0.1:{processes.free_port()}/"}
        with relaying(database, {"bad": bad, "good": good}):
            elsewhere.do("send_many", groups="a", type="t", count=100)
            await eventually(lambda: len(target.requests) == 100)
            query = "SELECT position FROM livepush_relaycursor WHERE relay = 'bad' AND error <> ''"
            await eventually(lambda: database.query(query) == [(0,)])


@pytest.mark.long
async def test_a_webhook_relay_that_dies_between_any_two_steps_loses_nothing_and_keeps_the_order(databases, target):
    given = {"DIRECTION": "out", "URL": target.url, "SECRET": SECRET, "ALLOW_HTTP": True, "LEASE": LEASE}
    with databases.fresh("postgresql") as database, processes.publisher(database) as elsewhere:
        for number, point in enumerate(["held", "sent", "moved", "read"]):
            elsewhere.do("send_many", groups="a", type="t", count=100)
            count = 1 if point in ("held", "read") else 5 + number
            with relaying(database, {"hook": given}, die=[point, str(count)]) as process:
                await asyncio.to_thread(process.wait, PATIENCE)
        with relaying(database, {"hook": given}):
            await eventually(lambda: database.query("SELECT position FROM livepush_relaycursor") == [(400,)])
    found = numbers(target)
    assert is_in_order(found)
    assert found[-1] == 400
    assert len(found) <= 404  # of those that were on the way, one each


def test_a_retry_after_that_is_a_date_or_nonsense_means_nothing(target, hook):
    sent(1)
    answers = iter([(503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b""), (503, {"Retry-After": "-5"}, b"")])
    target.answer = lambda request: next(answers, 204)
    run(hook, lambda: position() == 1)
    assert numbers(target) == [1, 1, 1]
