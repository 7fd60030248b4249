"""docs/openapi-publish.json, held against the views: what it says is so, of what fits it and of what does not."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import livepush
from livepush.bridges.publishing import authorizing, drafts, keys
from livepush.bridges.publishing.models import ApiKey
from tests.conftest import events_of
from tests.inbox.test_openapi import _examples
from tests.scale import EXAMPLES as TIMES
from tests.wsgi import application

SPEC = json.loads((Path(__file__).parents[2] / "docs" / "openapi-publish.json").read_text())
PUBLISH, NOTIFY = "/livepush/publish/", "/livepush/publish/notify/"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = settings(
    max_examples=40 * TIMES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def operation(path):
    found = deepcopy(SPEC)
    found.pop("security")  # the test has the key
    schema = schemathesis.openapi.from_dict(found)
    schema.app = application
    return schema[path]["post"]


@pytest.fixture
def key(transactional_db, settings):
    authorizing.forget()
    settings.LIVEPUSH = {"PUBLISHED_PER_SECOND": 1e6}
    return keys.create_key("all", groups=["*"], recipients=["*"])


def ask(case, key):
    response = case.call(headers={**(case.headers or {}), "Authorization": f"Bearer {key}"})
    case.validate_response(response, checks=CHECKS)
    return response


def is_reserved(body):
    """Return whether a body names what is livepush's own, a kind that is not there, or a user: it may be no key."""
    text = json.dumps(body)
    return any(word in text for word in ("livepush", "inbox", '"error"', '"open"', '"kind"', '"user:'))


@pytest.mark.long
@pytest.mark.parametrize("path", [PUBLISH, NOTIFY])
def test_what_fits_is_answered_as_described_and_is_in_the_log(key, path):
    @EXAMPLES
    @given(operation(path).as_strategy())
    def check(case):
        before = len(events_of("default"))
        response = ask(case, key)
        if is_reserved(case.body):
            return
        assert response.status_code in (200, 202, 422), (response.text, case.body)
        if response.status_code == 200:
            positions = {each for each in response.json()["positions"] if each}
            assert len(events_of("default")) - before <= len(positions)

    check()


@pytest.mark.long
@pytest.mark.parametrize("path", [PUBLISH, NOTIFY])
def test_what_does_not_fit_is_answered_as_described(key, path):
    @EXAMPLES
    @given(operation(path).as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case):
        ask(case, key)

    check()


LARGE = {"group": "a", "type": "t", "data": "x" * 100_000}
FINE = {PUBLISH: {"group": "a", "type": "t"}, NOTIFY: {"recipients": ["team"], "title": "x"}}
MET = [
    ({}, 200),
    ({"headers": {"Prefer": "respond-async"}}, 202),
    ({"body": {}}, 400),
    ({"key": "lpk_x"}, 401),
    ({"allowed": "nothing"}, 403),
    ({"method": "PUT"}, 405),
    ({"body": [LARGE] * 11}, 413),
    ({"media_type": "text/plain", "body": "x"}, 415),
    ({"headers": {"Idempotency-Key": "a"}}, 422),
    ({"rate": 1e-6}, 429),
]


@pytest.mark.long
@pytest.mark.parametrize("path", [PUBLISH, NOTIFY])
@pytest.mark.parametrize(("asked", "status"), MET)
def test_each_status_comes_as_described(key, settings, path, asked, status):
    if "rate" in asked:
        settings.LIVEPUSH = {"PUBLISHED_PER_SECOND": asked["rate"]}
    if "allowed" in asked:
        ApiKey.objects.update(groups=asked["allowed"], recipients=asked["allowed"])
    sent = {"media_type": "application/json", "body": FINE[path]}
    sent |= {name: value for name, value in asked.items() if name in ("body", "headers", "media_type", "method")}
    for _ in range(101 if status == 429 else 1):
        response = ask(operation(path).Case(**deepcopy(sent)), asked.get("key", key))
    if status == 422:
        response = ask(operation(path).Case(**{**sent, "body": [sent["body"]]}), key)
    assert response.status_code == status, response.text


def test_each_described_status_but_that_of_a_dead_database_is_met():
    described = {int(status) for methods in SPEC["paths"].values() for status in methods["post"]["responses"]}
    assert described - {503} == {status for _, status in MET}


def test_it_is_a_valid_description():
    schemathesis.openapi.from_dict(deepcopy(SPEC)).validate()
    assert list(SPEC["paths"]) == [reverse("livepush:publish"), reverse("livepush:publish_notify")]
    assert SPEC["info"]["version"] == livepush.__version__
    event = SPEC["paths"][PUBLISH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert event["anyOf"][1]["maxItems"] == drafts.MAX_EVENTS


def test_the_examples_fit_their_schemas():
    examples = list(_examples(SPEC))
    assert len(examples) > 10
    for schema, example in examples:
        jsonschema_rs.validator_for({**schema, "components": SPEC["components"]}).validate(example)
