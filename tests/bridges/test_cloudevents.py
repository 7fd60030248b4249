"""CloudEvents as the official SDK makes them."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from django.test import Client

from livepush.bridges.publishing import authorizing, cloudevents, keys
from tests.conftest import ALIASES, events_of
from tests.inbox.conftest import inbox_on

using = inbox_on(ALIASES[0])
URL = "/livepush/publish/"
BATCH = "application/cloudevents-batch+json"


@pytest.fixture
def post(using):
    """Publishes with a key for everything."""
    authorizing.forget()
    key = keys.create_key("producer", groups=["*"])

    def posted(body, headers):
        named = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
        return Client().post(URL, body, content_type=kind, headers={**named, "authorization": f"Bearer {key}"})

    return posted


def event(data=None, **more):
    given = {"type": "com.shop.shipped", "source": "/shop", "id": "1", "subject": "order:7", "specversion": "1.0"}
    return CloudEvent({**given, **more}, data)


def structured(found):
    message = to_structured_event(found)
    return message.body, message.headers


def binary(found):
    message = to_binary_event(found)
    return message.body, message.headers


def batch(*found):
    return f"[{','.join(JSONFormat().write(each).decode() for each in found)}]", {"content-type": BATCH}


MODES = {"structured": structured, "binary": binary, "batch": batch}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("data", "kind"),
    [({"status": "shipped", "ä": [1, None]}, "application/json"), ("plain ä text", "text/plain"), (None, None)],
    ids=["json", "text", "none"],
)
def test_an_event_of_the_sdk_arrives_as_it_is(using, post, mode, data, kind):
    found = event(data, **({"datacontenttype": kind} if kind else {}))
    response = post(*MODES[mode](found))
    assert response.status_code == 200, response.content
    (stored,) = events_of(using)
    assert (stored.groups, stored.type, json.loads(stored.data)) == (("order:7",), "com.shop.shipped", data)
    assert response.json()["accepted"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_binary_data_arrive_as_base64(using, post, mode):
    found = event(b"\x00\xff", datacontenttype="application/octet-stream")
    assert post(*MODES[mode](found)).status_code == 200
    assert json.loads(events_of(using)[0].data) == "AP8="


@pytest.mark.parametrize("mode", MODES)
def test_what_a_producer_repeats_is_delivered_once(using, post, mode):
    answers = [post(*MODES[mode](event(1, datacontenttype="application/json"))) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert post(*MODES[mode](event(1, id="2", datacontenttype="application/json"))).json() != answers[0].json()
    assert len(events_of(using)) == 2


@pytest.mark.parametrize("mode", MODES)
def test_an_extension_names_several_groups(using, post, mode):
    assert post(*MODES[mode](event(livepushgroups="order:7,board"))).status_code == 200
    assert events_of(using)[0].groups == ("order:7", "board")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("between", [",", " ", "\t"], ids=["comma", "space", "tab"])
def test_only_commas_of_the_extension_separate_groups(using, post, mode, between):
    name = f"order:7{between}board"
    assert post(*MODES[mode](event(subject=name))).json()["code"] == "bad_event"
    assert not events_of(using)
    response = post(*MODES[mode](event(livepushgroups=f"{name}, team")))
    groups = [each.groups for each in events_of(using)]
    if between == ",":
        assert (response.status_code, groups) == (200, [("order:7", "board", "team")])
    else:
        assert (response.json()["code"], groups) == ("bad_event", [])


def test_a_batch_is_atomic_and_keeps_its_order(using, post):
    assert post(*batch(event(1, id="1"), event(2, id="2", type="livepush.x"))).status_code == 400
    assert not events_of(using)
    assert post(*batch(*(event(n, id=str(n)) for n in range(100)))).status_code == 200
    assert [event.data for event in events_of(using)] == [str(n) for n in range(100)]


def whole(**changed):
    found = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "a", "subject": "order:7", **changed}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    "found",
    [
        whole(specversion="0.3"),
        whole(id=None),
        whole(source=""),
        whole(type=7),
        whole(id="\ud800"),
        whole(source="/\udfff"),
        whole(subject=None),
        whole(subject=" , "),
        whole(subject="a b ä"),
        whole(data=1, data_base64="AA=="),
        whole(data_base64="?"),
        whole(data_base64=7),
        whole(data_base64="ew==", datacontenttype="application/json"),
        whole(data_base64="/w==", datacontenttype="text/plain"),
        [],
        7,
    ],
    ids=json.dumps,
)
def test_what_is_no_cloudevent_is_refused(using, post, found):
    response = post(json.dumps(found), {"content-type": "application/cloudevents+json; charset=utf-8"})
    assert (response.status_code, response.json()["code"]) in [(400, "bad_event"), (400, "bad_body")]
    assert post(json.dumps([found]), {"content-type": BATCH}).status_code == 400
    assert not events_of(using)


def test_a_batch_that_is_no_list_is_refused(post):
    assert post(json.dumps(whole()), {"content-type": BATCH}).json()["code"] == "bad_body"


def test_a_binary_event_with_malformed_data_is_refused(using, post):
    headers = {f"ce-{name}": value for name, value in whole().items()}
    assert post("{", {**headers, "content-type": "application/json"}).json()["code"] == "bad_event"
    assert post("", {**headers, "ce-type": "%C3%A4", "content-type": ""}).json()["code"] == "bad_event"
    assert not events_of(using)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ('"order:7"', "order:7"),
        ('"a \\"quoted\\" \\\\ part"', 'a "quoted" \\ part'),
        ('"a%20b"', "a b"),
        ('5"', '5"'),
        ('"', '"'),
        ("%e2%82%AC%25", "€%"),
    ],
)
def test_a_header_says_what_it_says_without_quotes_and_percent_signs(header, value):
    """The HTTP protocol binding 1.0.2, section 3.1.3.2."""
    headers = {f"Ce-{name.title()}": header for name in ("id", "source", "type", "subject")}
    found = cloudevents.binary({**headers, "Ce-Specversion": "1.0"}, "application/json", b"1")
    given = {"specversion": "1.0", "id": value, "source": value, "type": value, "subject": value, "data": 1}
    assert found == cloudevents.structured(json.dumps(given).encode())


@pytest.mark.parametrize("malformed", ["%FF", "%C0%A0", "%ED%A0%80", '"%FE"'])
def test_a_header_that_is_not_utf_8_is_refused(using, post, malformed):
    headers = {f"ce-{name}": value for name, value in whole(id=malformed).items()}
    assert post("1", {**headers, "content-type": "application/json"}).json()["code"] == "bad_event"
    assert not events_of(using)


OPTIONAL = ("subject", "livepushgroups", "data", "data_base64", "datacontenttype", "dataschema", "time")


@pytest.mark.parametrize("named", [{"subject": "order:7"}, {"livepushgroups": "order:7"}])
@pytest.mark.parametrize("data", [{}, {"data": 1}, {"data_base64": "MQ==", "datacontenttype": "application/json"}])
def test_null_says_that_an_attribute_is_not_there(using, post, named, data):
    """The JSON format 1.0.2, section 2.2."""
    given = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **dict.fromkeys(OPTIONAL), **named, **data}
    for body in (given, [given | {"id": "2"}]):
        kind = BATCH if isinstance(body, list) else "application/cloudevents+json"
        assert post(json.dumps(body), {"content-type": kind}).status_code == 200
    found = events_of(using)
    assert [(each.groups, json.loads(each.data)) for each in found] == [(("order:7",), 1 if data else None)] * 2
