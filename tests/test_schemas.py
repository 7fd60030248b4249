"""Schemas of messages: whatever JSON a client sends, it fits, or the client hears what does not."""

from __future__ import annotations

import math

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

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
