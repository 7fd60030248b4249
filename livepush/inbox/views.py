"""The inbox over HTTP: a page that works without scripts, and the same as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_protect

from livepush.access import identity
from livepush.consumers.views import outside_transactions
from livepush.exceptions import InvalidMark
from livepush.inbox import kinds, marking, recipients
from livepush.inbox.kinds import Wording
from livepush.inbox.marking import Action
from livepush.inbox.models import InboxState
from livepush.inbox.notifying import MAX_CATEGORY
from livepush.inbox.reading import MAX_PAGE, PAGE, Counts, Entry, Inbox, Page, Tab
from livepush.wire import LARGEST_NUMBER, SURROGATE, Position, WireError, parse_position, timestamp

MAX_IDS = 1_000
"""The largest number of entries that one request may mark."""
Respond = Callable[..., HttpResponse]


def endpoint(method: str) -> Callable[[Respond], Respond]:
    """Make a view answer only users who are logged in, outside of transactions, with errors as JSON and no caching."""

    def decorate(view: Respond) -> Respond:
        @outside_transactions
        @csrf_protect
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                response = _answer(view, method, request, *args, **kwargs)
            except WireError as error:
                response = JsonResponse({"code": error.code, "message": error.message}, status=error.status)
                if error.status == 405:
                    response["Allow"] = method
            response.setdefault("Cache-Control", "no-store")
            patch_vary_headers(response, ["Cookie", "Accept", "Accept-Language"])
            return response

        return answered

    return decorate


def _answer(view: Respond, method: str, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    if request.method not in (("GET", "HEAD") if method == "GET" else (method,)):
        raise WireError("bad_method", f"This address answers {method}.", 405)
    user = request.user if hasattr(request, "user") else identity.user_of(request)
    if not getattr(user, "is_authenticated", False):
        if wants_page(request):
            return redirect_to_login(request.get_full_path())
        raise WireError("unauthenticated", "Nobody is logged in, so there is no inbox: log in first.", 401)
    return view(request, user, *args, **kwargs)


def wants_page(request: HttpRequest) -> bool:
    """Return whether a request is a browser's, which wants a page."""
    return "text/html" in request.headers.get("Accept", "")


@endpoint("GET")
def index(request: HttpRequest, user: Any) -> HttpResponse:
    """Show the inbox: the page to a browser, only the list to a script."""
    inbox = Inbox(user)
    context = shown(request, inbox, request.GET)
    return render(request, "livepush/inbox.html" if wants_page(request) else "livepush/inbox_list.html", context)


@endpoint("GET")
def entries(request: HttpRequest, user: Any) -> HttpResponse:
    """Answer with a page of entries, or with those that are named, as JSON."""
    inbox = Inbox(user)
    if "id" in request.GET:
        found = Page(inbox.entries(_numbers(request.GET.getlist("id"), inbox)), None)
    else:
        found = _page(request.GET, inbox)
    following = None if found.next is None else str(found.next)
    listed = [as_json(entry, inbox) for entry in found.entries]
    return JsonResponse({"entries": listed, "next": following, **state(inbox)})


@endpoint("GET")
def counts(request: HttpRequest, user: Any) -> HttpResponse:
    """Answer with the counts, as JSON."""
    return JsonResponse(state(Inbox(user)))


@endpoint("POST")
def mark(request: HttpRequest, user: Any, action: str) -> HttpResponse:
    """Do what the address says to the entries that are named, or to all up to a position.

    A tab may be older than the login. So it may say whose inbox it shows, and another user's is left alone.
    """
    wanted = _action(action)
    fields = _fields(request)
    reader = recipients.reader_of(user)
    if fields.get("reader", reader) != reader:
        if wants_page(request):
            return HttpResponseRedirect(reverse("livepush:inbox"), status=303)
        raise WireError("other_reader", "The page is another user's, who was logged in before: load it again.", 409)
    ids, upto = fields.getlist("id"), fields.get("upto")
    if wanted is Action.UNDO:
        outcome = marking.mark(user, wanted, version=_number(fields.get("version"), "version", 0, LARGEST_NUMBER))
    elif upto and not ids and wanted in marking.UP_TO:
        outcome = _mark_upto(user, wanted, upto, fields)
    elif ids and not upto and wanted in marking.ONE_BY_ONE:
        outcome = marking.mark(user, wanted, _numbers(ids, Inbox(user)))
    else:
        takes = [name for name, which in (("id", marking.ONE_BY_ONE), ("upto", marking.UP_TO)) if wanted in which]
        raise WireError("bad_mark", f"To mark as {action}, send {' or '.join(takes)}.")
    if not wants_page(request):
        return JsonResponse({"changed": outcome.changed, **outcome.state(), "reader": reader})
    back = fields.get("next") or ""
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
        back = reverse("livepush:inbox")
    if outcome.changed and wanted not in (Action.UNDO, Action.SEEN):
        address, hash, part = back.partition("#")
        back = f"{address}{'&' if '?' in address else '?'}undo={outcome.version}{hash}{part}"
    return HttpResponseRedirect(back, status=303)


def _mark_upto(user: Any, action: Action, upto: str, fields: QueryDict) -> marking.Outcome:
    number = _numbers([upto], Inbox(user))[0]
    try:
        return marking.mark(user, action, upto=number, category=_category(fields), tab=_tab(fields))
    except InvalidMark as error:
        raise WireError("bad_mark", str(error)) from None


def shown(request: HttpRequest, inbox: Inbox, asked: Mapping[str, str], counts: Counts | None = None) -> dict[str, Any]:
    """Return the context of the list's template for a request."""
    page, tab, category = _page(asked, inbox), _tab(asked), asked.get("category", "")
    categories = {kind.category for kind in kinds.registry.values()} | {
        entry.notification.category for entry in page.entries
    }
    return {
        "inbox": inbox,
        "entries": [_row(entry, inbox, timezone.now()) for entry in page.entries],
        "tab": tab,
        "category": category,
        "categories": sorted(filter(None, categories | {category})),
        "next": page.next,
        "is_first": "before" not in asked,
        "undo": _done(asked.get("undo", ""), inbox),
        "back": request.get_full_path(),
        "counts": counts or inbox.counts(),
    }


@dataclass(frozen=True, slots=True)
class Done:
    """What the reader did last, for the line that says so and offers to undo it."""

    version: str
    """What ``undo`` is asked for."""
    action: str
    """``"read"``, ``"unread"``, ``"archive"`` or ``"unarchive"``."""
    count: int | None
    """How many entries were changed one by one; ``None`` if everything up to a position was."""
    title: str
    """The title of the entry if it was exactly one, and is still there as it was; else empty."""


def _done(version: str, inbox: Inbox) -> Done | None:
    """Return the reader's last change, if it is the one that is asked for and may be undone."""
    if not (version.isascii() and version.isdecimal()):
        return None
    state = InboxState.objects.using(inbox.using).filter(reader=inbox.reader).first()
    undo = marking.undo_of(state.undo, int(version[:19])) if state else None
    if undo is None:
        return None
    found = inbox.entries(undo.said) if undo.entries == 1 else []
    title = kinds.read(found[0].notification).title if found else ""
    return Done(version, undo.action.value, undo.entries, title)


def entry_id(entry: Entry, inbox: Inbox) -> str:
    """Return an entry's public id: its position, which is also its event's id."""
    return str(Position(inbox.position.epoch, entry.number))


def _row(entry: Entry, inbox: Inbox, now: datetime) -> tuple[Entry, Wording, str, str, str]:
    """Return what the template shows of an entry. Its age is in seconds, as text that no locale puts commas into."""
    row = entry.notification
    age = max(0, round((now - row.created).total_seconds()))
    return entry, kinds.read(row), entry_id(entry, inbox), timestamp(row.created), str(age)


def as_json(entry: Entry, inbox: Inbox) -> dict[str, Any]:
    """Return an entry as the API shows it, worded in the language that is active."""
    row, wording = entry.notification, kinds.read(entry.notification)
    return {
        "id": entry_id(entry, inbox),
        "kind": row.key,
        "category": row.category,
        "level": row.level,
        "title": wording.title,
        "body": wording.body,
        "url": wording.url,
        "icon": row.icon,
        "time": timestamp(row.created),
        "first": timestamp(row.first),
        "count": row.count,
        "actors": row.people,
        "target": row.details.get("target"),
        "data": row.details.get("data") or {},
        "seen": entry.seen,
        "read": entry.read,
        "archived": entry.archived,
    }


def state(inbox: Inbox, counts: Counts | None = None) -> dict[str, Any]:
    """Return an inbox's state for browsers: the counts, the version and position they belong to, and whose it is."""
    known = counts or inbox.counts()
    return {
        **known._asdict(),
        "version": inbox.marks.version,
        "position": str(inbox.position),
        "reader": inbox.reader,
    }


def _page(asked: Mapping[str, str], inbox: Inbox) -> Page:
    before = asked.get("before")
    number = LARGEST_NUMBER if not before else _numbers([before], inbox)[0]
    limit = _number(asked.get("limit", str(PAGE)), "limit", 1, MAX_PAGE)
    return inbox.page(_tab(asked), _category(asked), number, limit)


def _category(asked: Mapping[str, str]) -> str:
    category = asked.get("category", "")
    if len(category) > MAX_CATEGORY or "\0" in category:
        raise WireError("bad_query", f"category is no category: expected {MAX_CATEGORY} characters at most.")
    return category


def _tab(asked: Mapping[str, str]) -> Tab:
    try:
        return Tab(asked.get("tab") or Tab.ALL)
    except ValueError:
        raise WireError("bad_query", f"tab is {_shown(asked['tab'])}: expected one of {', '.join(Tab)}.") from None


def _action(name: str) -> Action:
    try:
        return Action(name)
    except ValueError:
        raise WireError("bad_mark", f"There is no such mark: expected one of {', '.join(Action)}.", 404) from None


def _number(text: str | None, name: str, minimum: int, maximum: int) -> int:
    if text is None or not (re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and minimum <= int(text) <= maximum):
        what = "missing" if text is None else _shown(text)
        raise WireError("bad_query", f"{name} is {what}: expected a number from {minimum} to {maximum}.")
    return int(text)


def _shown(text: str) -> str:
    """Return what was given as an error shows it, cut where it is long."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _numbers(ids: list[str], inbox: Inbox) -> list[int]:
    """Return the numbers of entries' ids.

    Raises WireError: malformed, too many, or of another life of the database, in which they were other entries.
    """
    if len(ids) > MAX_IDS:
        raise WireError("too_many_ids", f"{len(ids)} entries are too many for one request: send {MAX_IDS} at most.")
    positions = [parse_position(each) for each in ids]
    if any(position.epoch != inbox.position.epoch for position in positions):
        raise WireError("stale_id", "The id is of another life of the database: fetch the list again.", 409)
    return [position.number for position in positions]


def _fields(request: HttpRequest) -> QueryDict:
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
