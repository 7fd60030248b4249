"""Reads the requests to the inbox: for a page of entries, for some entries by their ids, or for a mark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, QueryDict

from livepush.inbox.marking import Action
from livepush.inbox.notifying import MAX_CATEGORY
from livepush.inbox.reading import MAX_PAGE, PAGE, Inbox, Page, Tab
from livepush.wire import LARGEST_NUMBER, SURROGATE, WireError, parse_position

MAX_IDS = 1_000
"""The largest number of entries that one request may mark."""


def page(asked: Mapping[str, str], inbox: Inbox) -> Page:
    """Return the page of entries that is asked for. Raises WireError: a value is none that it takes."""
    before = asked.get("before")
    end = LARGEST_NUMBER if not before else numbers([before], inbox)[0]
    limit = number(asked.get("limit", str(PAGE)), "limit", 1, MAX_PAGE)
    return inbox.page(tab(asked), category(asked), end, limit)


def category(asked: Mapping[str, str]) -> str:
    """Return the category that is asked for; empty is every category. Raises WireError: it can be none."""
    name = asked.get("category", "")
    if len(name) > MAX_CATEGORY or "\0" in name:
        raise WireError("bad_query", f"category is malformed: expected {MAX_CATEGORY} characters at most, without NUL.")
    return name


def tab(asked: Mapping[str, str]) -> Tab:
    """Return the tab that is asked for; ``ALL`` if none is. Raises WireError: there is no such tab."""
    try:
        return Tab(asked.get("tab") or Tab.ALL)
    except ValueError:
        raise WireError("bad_query", f"tab is {_shown(asked['tab'])}: expected one of {', '.join(Tab)}.") from None


def action(name: str) -> Action:
    """Return the action with a name. Raises WireError: there is none."""
    try:
        return Action(name)
    except ValueError:
        raise WireError("bad_mark", f"There is no such mark: expected one of {', '.join(Action)}.", 404) from None


def number(text: str | None, name: str, minimum: int, maximum: int) -> int:
    """Return a field's number. Raises WireError: it is missing, none, or out of range."""
    if text is None or not (re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and minimum <= int(text) <= maximum):
        what = "missing" if text is None else _shown(text)
        raise WireError("bad_query", f"{name} is {what}: expected a number from {minimum} to {maximum}.")
    return int(text)


def _shown(text: str) -> str:
    """Return what was given as an error shows it, cut where it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def numbers(ids: list[str], inbox: Inbox) -> list[int]:
    """Return the numbers of entries' ids.

    Raises WireError: malformed, too many, or of another life of the database, in which they were other entries.
    """
    if len(ids) > MAX_IDS:
        raise WireError("too_many_ids", f"{len(ids)} entries are too many for one request: send {MAX_IDS} at most.")
    positions = [parse_position(each) for each in ids]
    if any(position.epoch != inbox.position.epoch for position in positions):
        raise WireError("stale_id", "The id is of another life of the database: fetch the list again.", 409)
    return [position.number for position in positions]


def fields(request: HttpRequest) -> QueryDict:
    """Return what a form or a JSON object says: ``id`` (one or a list), ``upto``, ``version`` and so on."""
    if request.content_type != "application/json":
        return request.POST
    try:
        said = json.loads(request.body)
    except (ValueError, RecursionError):
        said = None
    found = QueryDict(mutable=True)
    if not isinstance(said, dict):
        raise WireError("bad_body", 'The body is no JSON object: send {"id": […]}, {"upto": …} or {"version": …}.')
    for name, value in said.items():
        values = value if isinstance(value, list) else [value]
        if name == "version":  # the one number; in JSON 12.0 is 12
            values = [str(int(each)) if _is_whole(each) else each for each in values]
        if not all(map(_is_text, values)):
            raise WireError("bad_body", f"{name!r} is neither a text nor a list of texts.")
        found.setlist(name, values)
    return found


def _is_whole(value: Any) -> bool:
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not SURROGATE.search(value)
