"""Addresses, token buckets, and whose turn it is."""

from __future__ import annotations

from io import BytesIO

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.test import RequestFactory

from livepush.access import limits
from livepush.access.addresses import address_of, nearest_address
from livepush.wire import WireError


def scope(client: object, *forwarded: str) -> dict[str, object]:
    return {"client": client, "headers": [(b"x-forwarded-for", each.encode()) for each in forwarded]}


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        (("198.51.100.1", 5), [], "198.51.100.1"),
        (("198.51.100.1", 5), ["203.0.113.7"], "198.51.100.1"),
        (("10.0.0.1", 5), ["203.0.113.7"], "203.0.113.7"),
        (("10.0.0.1", 5), ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (("10.0.0.1", 5), ["1.1.1.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        (("10.0.0.1", 5), ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        (("::ffff:10.0.0.1", 5), ["203.0.113.7"], "203.0.113.7"),
        (("10.0.0.1", 5), [], "10.0.0.1"),
        (("10.0.0.1", 5), ["no address"], "10.0.0.1"),
        (("10.0.0.1", 5), ["1.1.1.1, no address"], "10.0.0.1"),
        (("10.0.0.1", 5), ["1.1.1.1, 203.0.113.7:4711"], "203.0.113.7"),
        (("10.0.0.1", 5), ["1.1.1.1, 203.0.113.7:4711, 10.9.9.9:80"], "203.0.113.7"),
        (("10.0.0.1", 5), ["1.1.1.1, [2001:db8:1:2::3]:4711"], "2001:db8:1:2::/64"),
        (("10.0.0.1", 5), ["1.1.1.1, [2001:db8:1:2::3]"], "2001:db8:1:2::/64"),
        (("2001:db8:1:2:3::4", 5), [], "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::9", 5), [], "2001:db8:1:2::/64"),
        (("", 0), [], None),
        (None, [], None),
    ],
)
def test_an_address_is_what_trusted_proxies_say(settings, client, forwarded, expected):
    settings.LIVEPUSH = {"TRUSTED_PROXIES": ["10.0.0.0/8"]}
    assert address_of(scope(client, *forwarded)) == expected


@pytest.mark.parametrize("client", [None, ("", "0"), ("", 0)])
def test_a_proxy_at_a_unix_socket_is_trusted_by_name(settings, client):
    settings.LIVEPUSH = {"TRUSTED_PROXIES": ["unix", "10.0.0.0/8"]}
    assert address_of(scope(client, "1.1.1.1, 203.0.113.7")) == "203.0.113.7"
    assert address_of(scope(client, "1.1.1.1, 203.0.113.7, 10.0.0.1")) == "203.0.113.7"
    assert address_of(scope(client)) is None
    assert address_of(scope(("198.51.100.1", 5), "203.0.113.7")) == "198.51.100.1"
    settings.LIVEPUSH = {"TRUSTED_PROXIES": ["10.0.0.0/8"]}
    assert address_of(scope(client, "203.0.113.7")) is None


def test_without_trusted_proxies_there_is_no_address():
    assert address_of(scope(("198.51.100.1", 5))) is None


def test_a_proxy_that_is_no_address_is_an_error(settings):
    settings.LIVEPUSH = {"TRUSTED_PROXIES": ["proxy.example.com"]}
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        address_of(scope(("198.51.100.1", 5)))


def test_a_bucket_lets_a_burst_and_then_a_rate_through(monkeypatch):
    now = 0.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    bucket = limits.Bucket(2.0, 10.0)
    assert [bucket.take() for _ in range(10)] == [0.0] * 10
    assert bucket.take() == 0.5
    now = 0.5
    assert bucket.take() == 0.0
    assert bucket.take() > 0
    now = 100.0
    assert bucket.is_full()
    assert bucket.take(50.0) == 0.0  # more than it holds, once it is full
    assert not bucket.is_full()


def test_budgets_that_are_unspent_are_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "_budgets", {})
    monkeypatch.setattr(limits, "MAX_BUDGETS", 10)
    for _ in range(50):
        limits.budget_of("spent").command()
    for number in range(1000):
        limits.budget_of(number)
    assert len(limits._budgets) <= 11
    assert "spent" in limits._budgets


def test_a_seat_is_free_when_nothing_refers_to_it(settings):
    settings.LIVEPUSH = {"MAX_CONNECTIONS_PER_USER": 1}
    seat = limits.take_seat({}, "ann")
    with pytest.raises(WireError) as refused:
        limits.take_seat({}, "ann")
    assert refused.value.status == 429
    del refused, seat
    limits.take_seat({}, "ann").leave()
    assert not limits._connections["ann"]


def test_a_client_of_ipv6_is_known_by_its_network_where_no_proxy_is_named(settings):
    settings.LIVEPUSH = {}
    assert address_of(scope(("2001:db8:1:2:3::4", 5))) is None
    assert nearest_address(scope(("2001:db8:1:2:3::4", 5), "1.1.1.1")) == "2001:db8:1:2::/64"


def test_a_query_of_more_fields_than_django_takes_is_counted_all_the_same(settings):
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    request = RequestFactory().get("/?token=livepush_x" + "&more=1" * 20)
    with limits.handshake(scope(("198.51.100.1", 5)), request) as level:
        assert level == 0


def test_a_body_without_a_length_can_be_read_again() -> None:
    given = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    request = ASGIRequest(given, BytesIO(b"{}"))
    assert limits.body_of(request, 2, "send less") == b"{}"
    assert request.body == b"{}"
