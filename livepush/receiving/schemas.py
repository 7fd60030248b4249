"""Schemas of a message's data: a Django form, a dataclass, or a Pydantic model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.forms import BaseForm

from livepush.exceptions import InvalidRule

Check = Callable[[Any], Any]
"""Returns data as the handler takes them. Raises ValidationError."""
WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}

MISREAD = (ArithmeticError, ValueError)
"""The exceptions with which a form's field says that it can't read its data."""
MISTAKEN = (AttributeError, TypeError, RecursionError)
"""The exceptions of a form's field that gets something else than a text. If it got one, the field has a mistake."""


def check_of(schema: Any) -> Check:
    """Return the check of a schema; without one, any data pass.

    Raises InvalidRule: it is neither a form, a dataclass nor a Pydantic model, or a field's type is not one of JSON's.
    """
    if schema is None:
        return lambda data: data
    if isinstance(schema, type) and issubclass(schema, BaseForm):
        return lambda data: _by_form(schema, data)
    if hasattr(schema, "model_validate"):
        return lambda data: _by_pydantic(schema, data)
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        return partial(_not_too_deep, _dataclass_check(schema, {}))
    raise InvalidRule(f"schema is {schema!r}: expected a Django form, a dataclass or a Pydantic model.")


def _by_form(form_class: type[BaseForm], data: Any) -> Any:
    if not isinstance(data, dict):
        raise ValidationError("The data are no object.", code="invalid")
    form = form_class(data)
    try:
        is_valid = form.is_valid()
    except (*MISREAD, *MISTAKEN) as error:
        if not (misfits := _misfits(form)):
            raise
        raise ValidationError(misfits) from error
    if not is_valid:
        raise ValidationError({name: list(errors) for name, errors in form.errors.as_data().items()})
    return form.cleaned_data


def _misfits(form: BaseForm) -> dict[str, list[ValidationError]]:
    """Return what is wrong with each field if some can't read their data: Django's fields rely on getting texts."""
    only_texts = all(isinstance(value, str) for value in form.data.values())
    kinds = MISREAD if only_texts else (*MISREAD, *MISTAKEN)
    errors: dict[str, list[ValidationError]] = {}
    is_misfit = False
    for name, field in form.fields.items():
        try:
            field.clean(form[name].data)
        except ValidationError as error:
            errors[name] = [error]
        except kinds:
            is_misfit = True
            text = field.error_messages.get("invalid", RegexValidator.message)
            errors[name] = [ValidationError(text, code="invalid")]
    return errors if is_misfit else {}


def _by_pydantic(model: Any, data: Any) -> Any:
    try:
        return model.model_validate(data)
    except ValueError as error:
        found: Any = getattr(error, "errors", None)
        if found is None:
            raise
        texts: dict[str, list[str]] = {}
        for each in found():
            texts.setdefault(".".join(map(str, each["loc"])) or "__all__", []).append(each["msg"])
        raise ValidationError(texts) from error


def _not_too_deep(check: Check, data: Any) -> Any:
    try:
        return check(data)
    except RecursionError as error:
        raise ValidationError("The data are nested too deeply.", code="invalid") from error


def _dataclass_check(schema: type, made: dict[type, Check]) -> Check:
    """Return the check of a dataclass. ``made`` has those of the dataclasses that it is part of, or is itself."""
    if schema in made:
        return made[schema]
    hints = _hints_of(schema)
    taken = {each.name for each in dataclasses.fields(schema) if each.init}
    taken |= {name for name, hint in hints.items() if isinstance(hint, dataclasses.InitVar)}
    known = {name: each for name, each in schema.__dataclass_fields__.items() if name in taken}  # type: ignore[attr-defined]
    checks: dict[str, Check] = {}
    required = {
        name
        for name, each in known.items()
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }

    def check(data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValidationError("Expected an object.", code="invalid")
        problems: dict[str, Any] = {name: ["This field is required."] for name in required - data.keys()}
        problems |= {name: ["There is no such field."] for name in data.keys() - known.keys()}
        values = {}
        for name in known.keys() & data.keys():
            try:
                values[name] = checks[name](data[name])
            except ValidationError as error:
                problems[name] = _texts(error)
        if problems:
            raise ValidationError(problems)
        return schema(**values)

    made[schema] = check
    for name in known:
        hint = hints[name].type if isinstance(hints[name], dataclasses.InitVar) else hints[name]
        checks[name] = _type_check(hint, f"{schema.__name__}.{name}", made)
    return check


def _hints_of(schema: type) -> dict[str, Any]:
    try:
        return get_type_hints(schema)
    except NameError as error:
        raise InvalidRule(f"{schema.__name__} has a field whose type is not there: {error}.") from error


def _texts(error: ValidationError) -> list[str]:
    if hasattr(error, "error_dict"):
        return [f"{name}: {text}" for name, texts in error.message_dict.items() for text in texts]
    return list(error.messages)


def _type_check(hint: Any, where: str, made: dict[type, Check]) -> Check:
    """Return the check of one field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint in WORDS:
        return lambda value: _plain(hint, value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_check(hint, made)
    if origin is Literal:
        return lambda value: _one_of(arguments, value)
    if origin in (Union, UnionType):
        checks = [_type_check(each, where, made) for each in arguments]
        return lambda value: _any_of(checks, value)
    if hint is list or origin is list:
        item = _type_check(arguments[0] if arguments else Any, where, made)
        return lambda value: [item(each) for each in _kind(list, "a list", value)]
    if hint is dict or (origin in (dict, Mapping) and arguments[0] is str):
        item = _type_check(arguments[1] if arguments else Any, where, made)
        return lambda value: {name: item(each) for name, each in _kind(dict, "an object", value).items()}
    raise InvalidRule(
        f"{where} has the type {hint!r}, which livepush can't check: use str, int, float, bool, None, Literal, list, "
        f"dict with str keys, other dataclasses and unions of them, or a Django form as the schema."
    )


def _plain(kind: type, value: Any) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e308:
        return float(value)
    if type(value) is not kind:
        raise ValidationError(f"Expected {WORDS[kind]}.", code="invalid")
    return value


def _kind(kind: type, word: str, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValidationError(f"Expected {word}.", code="invalid")
    return value


def _one_of(allowed: tuple[Any, ...], value: Any) -> Any:
    if not any(type(value) is type(each) and value == each for each in allowed):
        raise ValidationError(f"Expected one of {', '.join(map(repr, allowed))}.", code="invalid")
    return value


def _any_of(checks: list[Check], value: Any) -> Any:
    errors: list[ValidationError] = []
    for check in checks:
        try:
            return check(value)
        except ValidationError as error:
            errors.append(error)
    raise ValidationError([text for error in errors for text in _texts(error)])
