"""Schemas of messages: whatever JSON a client sends, it fits, or the client hears what does not."""

from __future__ import annotations

import dataclasses
import math

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from livepush.exceptions import InvalidRule
from livepush.receiving.schemas import check_of

OPTIONS = {
    "ChoiceField": {"choices": [("a", "A")]},
    "MultipleChoiceField": {"choices": [("a", "A")]},
    "TypedChoiceField": {"choices": [("1", "A")], "coerce": int},
    "TypedMultipleChoiceField": {"choices": [("1", "A")], "coerce": int},
    "ComboField": {"fields": [forms.CharField(), forms.DateField()]},
    "FilePathField": {"path": "."},
    "RegexField": {"regex": "a"},
    "URLField": {"assume_scheme": "https"},
}
FIELDS = [
    getattr(forms, name)
    for name in [*forms.fields.__all__, "JSONField"]
    if name not in ("Field", "MultiValueField", "ModelChoiceField", "ModelMultipleChoiceField")
]
ODD = [
    5, -1, 1.5, 10**30, 10**400, math.nan, math.inf, True, False, None, "", "x", "\0", "\ud800", "9" * 5000, [], [1],
    [[1]], [None], ["\ud800"], [10**400], [{}], {}, {"a": 1}, {"a": [{}]},
]  # fmt: skip


def form_of(**fields):
    return type("Made", (forms.Form,), fields)


def outcome(schema, data):
    """Return a form's data, or the names of the fields that do not fit."""
    try:
        return check_of(schema)(data)
    except ValidationError as error:
        return sorted(name for name, texts in error.message_dict.items() if all(texts))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.__name__)
def test_a_forms_field_takes_or_refuses_whatever_json_there_is(field):
    options = OPTIONS.get(field.__name__, {})
    schema = form_of(field=field(**options), other=field(required=False, **options))
    for value in ODD:
        found = outcome(schema, {f"{name}{part}": value for name in ("field", "other") for part in ("", "_0", "_1")})
        assert isinstance(found, dict) or set(found) <= {"field", "other"}, value


def test_a_forms_field_of_a_model_takes_or_refuses_whatever_json_there_is(using):
    users = User.objects.using(using)
    schema = form_of(one=forms.ModelChoiceField(users), some=forms.ModelMultipleChoiceField(users))
    for value in ODD:
        if value not in ("\0", "\ud800"):  # no handler gets these
            assert outcome(schema, {"one": value, "some": value}) == ["one", "some"], value
        assert outcome(schema, {"one": value, "some": [value]}) == ["one", "some"] or value in ("\0", "\ud800")


def test_a_widget_refuses_whatever_it_can_not_read():
    schema = form_of(day=forms.DateField(widget=forms.SelectDateWidget))
    for value in ODD:
        found = outcome(schema, {f"day_{part}": value for part in ("year", "month", "day")})
        assert found == ["day"] or value in (5, 1.5, True), value


def test_what_is_wrong_with_other_fields_is_told_too():
    class Both(forms.Form):
        day = forms.DateField()
        number = forms.IntegerField()

    with pytest.raises(ValidationError) as caught:
        check_of(Both)({"day": 5, "number": "x"})
    assert caught.value.message_dict == {"day": ["Enter a valid date."], "number": ["Enter a whole number."]}


@pytest.mark.parametrize("data", [{"text": "a"}, {"text": 5}])
def test_an_error_of_the_projects_own_stays_one(data):
    class Wrong(forms.Form):
        text = forms.CharField()

        def clean(self):
            raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake"):
        check_of(Wrong)(data)


def test_a_field_of_the_projects_own_that_stumbles_over_texts_has_a_mistake():
    class Wrong(forms.CharField):
        def clean(self, value):
            return value.no_such_name

    with pytest.raises(AttributeError, match="no_such_name"):
        check_of(form_of(text=Wrong()))({"text": "a"})


@dataclasses.dataclass
class Node:
    text: str
    children: list[Node] = dataclasses.field(default_factory=list)
    parent: Node | None = None


def test_a_dataclass_may_have_parts_of_its_own_kind():
    check = check_of(Node)
    assert check({"text": "a", "children": [{"text": "b"}]}) == Node("a", [Node("b")])
    with pytest.raises(ValidationError) as caught:
        check({"text": "a", "children": [{"text": "b", "children": [{}]}]})
    assert caught.value.message_dict == {"children": ["children: text: This field is required."]}


def test_data_that_are_nested_too_deeply_are_refused():
    data = {"text": "leaf"}
    for _ in range(900):
        data = {"text": "node", "children": [data]}
    with pytest.raises(ValidationError, match="nested too deeply"):
        check_of(Node)(data)


@dataclasses.dataclass
class Priced:
    name: str
    price: dataclasses.InitVar[int]
    rate: dataclasses.InitVar[float] = 1.0
    total: float = dataclasses.field(init=False)

    def __post_init__(self, price, rate):
        self.total = price * rate


def test_a_dataclass_may_have_values_that_only_its_start_needs():
    check = check_of(Priced)
    assert check({"name": "tea", "price": 3}).total == 3.0
    assert check({"name": "tea", "price": 3, "rate": 2}).total == 6.0
    with pytest.raises(ValidationError) as caught:
        check({"name": "tea", "rate": "x", "total": 1})
    assert caught.value.message_dict == {
        "price": ["This field is required."],
        "rate": ["Expected a number."],
        "total": ["There is no such field."],
    }


def test_a_dataclass_with_a_type_that_is_not_there_is_refused():
    @dataclasses.dataclass
    class Local:
        more: list[Local]

    with pytest.raises(InvalidRule, match="Local has a field whose type is not there"):
        check_of(Local)
