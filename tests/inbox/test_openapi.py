"""docs/openapi.json, held against the views: what it says is so, of what fits it and of what does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import livepush
from livepush import log
from livepush.inbox import asking, notifying, reading, views
from livepush.inbox.marking import ONE_BY_ONE, UP_TO, Action
from livepush.inbox.reading import Tab
from livepush.models import LogHead
from tests.scale import EXAMPLES
from tests.wsgi import application

SPEC: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
POSITION = SPEC["components"]["schemas"]["Position"]["pattern"]
ENTRIES, COUNTS, MARK = (f"/livepush/inbox/{path}/" for path in ("entries", "counts", "{action}"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = settings(
    max_examples=8 * EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
EPOCH, TOKEN, JSON = "k3x9", "t" * 32, "application/json"
TAKES = {"id": ONE_BY_ONE, "upto": UP_TO, "version": (Action.UNDO,)}


def operation(path: str, ids: str = "") -> Any:
    """Return an operation for schemathesis; where a pattern is given, ids are made by that.

    Credentials are not made up, since the test has them; nor is the reader; nor is what takes long, a thousand ids.
    """

    def of_generation(item: dict[str, Any]) -> dict[str, Any]:
        item = {name: value for name, value in item.items() if name != "security" and value != asking.MAX_IDS}
        if "unseen" not in item:  # the properties of an answer
            item.pop("reader", None)
        return item | {"pattern": ids} if ids and item.get("pattern") == POSITION else item

    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(SPEC), object_hook=of_generation))
    schema.app = application
    return schema[path]["post" if path == MARK else "get"]


@pytest.fixture
def login(transactional_db: None, client: Client) -> dict[str, Any]:
    """What each request of a user with an inbox carries, beside what it says."""
    user = User.objects.create_user("ann")
    log.make_head("default")
    LogHead.objects.update(epoch=EPOCH)
    for number in range(12):
        livepush.notify(
            [user, livepush.everyone][number % 2], f"Title {number}", category="xy"[number % 2],
            actor=user, target="A thing" * (number % 3), data={"number": number}, collapse="same" * (number > 8),
        )  # fmt: skip
    client.force_login(user)
    return {
        "cookies": {"sessionid": client.cookies["sessionid"].value, "csrftoken": TOKEN},
        "headers": {"X-CSRFToken": TOKEN},
    }


def ask(case: Any, login: dict[str, Any]) -> Any:
    response = case.call(**deepcopy(login))
    case.validate_response(response, checks=CHECKS)
    return response


@pytest.mark.long
@pytest.mark.parametrize("path", [ENTRIES, COUNTS, MARK])
def test_what_fits_is_answered_as_described(login: dict[str, Any], path: str) -> None:
    @EXAMPLES
    @given(operation(path).as_strategy())
    def check(case: Any) -> None:
        response = ask(case, login)
        assert response.status_code in (200, 409) or path == MARK

    check()


@pytest.mark.long
@pytest.mark.parametrize("path", [ENTRIES, MARK])
def test_what_does_not_fit_is_refused_as_described(login: dict[str, Any], path: str) -> None:
    @EXAMPLES
    @given(operation(path).as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case: Any) -> None:
        ask(case, login)

    check()


@pytest.mark.long
def test_what_names_entries_is_answered_with_them(login: dict[str, Any]) -> None:
    @EXAMPLES
    @given(operation(ENTRIES, f"^{EPOCH}-1?[0-9]$").as_strategy())
    def check(case: Any) -> None:
        response = ask(case, login)
        assert response.status_code == 200
        if "id" in (case.query or {}):
            assert {entry["id"] for entry in response.json()["entries"]} <= set(case.query["id"])

    check()


@pytest.mark.long
@pytest.mark.parametrize("action", Action)
def test_a_mark_is_accepted_if_it_is_what_the_action_takes(login: dict[str, Any], action: Action) -> None:
    @EXAMPLES
    @given(operation(MARK, f"^{EPOCH}-1?[0-9]$").as_strategy(path_parameters={"action": action.value}))
    def check(case: Any) -> None:
        response = ask(case, login)
        taken = [name for name, actions in TAKES.items() if action in actions and name in case.body]
        if action is Action.SEEN and case.body.get("category"):
            taken = []
        assert response.status_code == (200 if taken else 400), response.text

    check()


LIMITED = {"Authorization": "a token for other groups"}
MET = [
    (ENTRIES, {}, 200),
    (ENTRIES, {"cookies": {}, "headers": LIMITED}, 403),
    (COUNTS, {"cookies": {}, "headers": LIMITED}, 403),
    (ENTRIES, {"query": {"limit": "0"}}, 400),
    (ENTRIES, {"cookies": {}}, 401),
    (ENTRIES, {"method": "PUT"}, 405),
    (ENTRIES, {"query": {"id": ["other-1"]}}, 409),
    (COUNTS, {}, 200),
    (COUNTS, {"cookies": {}}, 401),
    (COUNTS, {"method": "DELETE"}, 405),
    (MARK, {"path_parameters": {"action": "read"}, "body": {"id": [f"{EPOCH}-1"]}}, 200),
    (MARK, {"path_parameters": {"action": "read"}, "body": {"version": 1}}, 400),
    (MARK, {"path_parameters": {"action": "read"}, "body": {}, "cookies": {"csrftoken": TOKEN}}, 401),
    (MARK, {"path_parameters": {"action": "read"}, "body": {}, "headers": {}}, 403),
    (MARK, {"path_parameters": {"action": "burn"}, "body": {}}, 404),
    (MARK, {"path_parameters": {"action": "a b"}, "body": {}}, 404),
    (MARK, {"path_parameters": {"action": "read"}, "body": {}, "method": "PUT"}, 405),
    (MARK, {"path_parameters": {"action": "read"}, "body": {"upto": "other-1"}}, 409),
    (MARK, {"path_parameters": {"action": "read"}, "body": {"id": [f"{EPOCH}-1"], "reader": "other"}}, 409),
]


@pytest.mark.long
@pytest.mark.parametrize(("path", "asked", "status"), MET)
def test_each_status_comes_as_described(login: dict[str, Any], path: str, asked: dict[str, Any], status: int) -> None:
    if asked.get("headers") is LIMITED:
        asked = {**asked, "headers": {"Authorization": f"Bearer {livepush.token(User.objects.get(), 'board')}"}}
    sent = {name: value for name, value in asked.items() if name not in login}
    case = operation(path).Case(**sent, media_type=JSON if "body" in sent else None)
    response = ask(case, login | {name: asked[name] for name in login if name in asked})
    assert response.status_code == status


def test_each_described_status_is_met() -> None:
    described = {(path, int(status)) for path, method, one in _operations() for status in one["responses"]}
    assert described == {(path, status) for path, _, status in MET}


# The description itself


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in SPEC["paths"].items():
        for method, one in methods.items():
            yield path, method, one


def _examples(found: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each example with its schema."""
    if isinstance(found, list):
        for item in found:
            yield from _examples(item)
    elif isinstance(found, dict):
        values = [found["example"]] if "example" in found else []
        named = found.get("examples", {})
        values += [each["value"] for each in named.values()] if isinstance(named, dict) else []
        for value in values:
            yield found["schema"], value
        for name, item in found.items():
            if name not in ("example", "examples"):
                yield from _examples(item)


def test_it_is_a_valid_description() -> None:
    schemathesis.openapi.from_dict(deepcopy(SPEC)).validate()


def test_the_examples_fit_their_schemas() -> None:
    examples = list(_examples(SPEC))
    assert len(examples) > 15
    for schema, example in examples:
        jsonschema_rs.validator_for({**schema, "components": SPEC["components"]}).validate(example)


def test_the_addresses_and_the_choices_are_those_of_the_code() -> None:
    assert [path for path, _, _ in _operations()] == [
        reverse("livepush:inbox_entries"),
        reverse("livepush:inbox_counts"),
        reverse("livepush:inbox_mark", args=["ACTION"]).replace("ACTION", "{action}"),
    ]
    (action,) = SPEC["paths"][MARK]["post"]["parameters"]
    assert action["schema"]["enum"] == [*Action]
    asked = {each["name"]: each["schema"] for each in SPEC["paths"][ENTRIES]["get"]["parameters"]}
    assert asked["tab"]["enum"] == ["", *Tab]
    assert (asked["limit"]["default"], asked["limit"]["maximum"]) == (reading.PAGE, reading.MAX_PAGE)
    assert asked["id"]["maxItems"] == asking.MAX_IDS
    assert asked["category"]["maxLength"] == notifying.MAX_CATEGORY
    assert SPEC["info"]["version"] == livepush.__version__


def test_each_error_code_of_the_views_is_there() -> None:
    source = "".join(Path(module.__file__).read_text() for module in (views, asking))
    raised = set(re.findall(r'WireError\(\s*"(\w+)"', source))
    assert {example["code"] for _, example in _examples(SPEC) if "code" in example} == raised | {"bad_position"}
