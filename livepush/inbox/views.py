"""The inbox over HTTP: a page that works without scripts, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt

from livepush import tenants
from livepush.consumers.answering import MALFORMED, bad_request, for_origins, outside_transactions
from livepush.consumers.identified import CSRF, csrf_refusal, identity_of, needs_csrf_token, new_token
from livepush.exceptions import InvalidMark
from livepush.inbox import asking, kinds, marking, tenancy
from livepush.inbox.categories import categories
from livepush.inbox.kinds import Wording
from livepush.inbox.marking import Action
from livepush.inbox.models import InboxState
from livepush.inbox.reading import Counts, Entry, Inbox, Page, Tab
from livepush.inbox.undoing import undo_of
from livepush.wire import LARGEST_NUMBER, Position, WireError, parse_position, timestamp

REFUSED = "The CSRF token is missing or not this browser's: send that of the page, or the cookie's, as X-CSRFToken."
Respond = Callable[..., HttpResponse]


def endpoint(method: str) -> Callable[[Respond], Respond]:
    """Make a view answer only users who are logged in, outside of transactions, with errors as JSON and no caching.

    The site's middleware leaves the login and the CSRF token to the view, since it would answer a script with a page.
    """

    def decorate(view: Respond) -> Respond:
        @login_not_required
        @csrf_exempt
        @outside_transactions
        @for_origins
        @wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            CSRF.process_request(request)
            try:
                with tenants.active(tenants.of_request(request)):
                    response = _answer(view, method, request, *args, **kwargs)
            except WireError as error:
                response = _refused(error, method)
            except MALFORMED as error:
                if wants_page(request):
                    raise
                response = _refused(bad_request(error), method)
            response.setdefault("Cache-Control", "private, no-store")
            patch_vary_headers(response, ["Cookie", "Accept", "Accept-Language"])
            CSRF.process_response(request, response)
            return response

        return answered

    return decorate


def _refused(error: WireError, method: str) -> HttpResponse:
    return JsonResponse(error.fields(), status=error.status, headers=error.answer_headers(method))


def _answer(view: Respond, method: str, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    known = identity_of(request)
    refused = csrf_refusal(request) if needs_csrf_token(request, known) else None
    if refused is not None:
        if wants_page(request):
            return refused
        raise WireError("csrf", REFUSED, 403)
    if request.method not in (("GET", "HEAD") if method == "GET" else (method,)):
        raise WireError("bad_method", f"This address answers {method}.", 405)
    if known.name is None:
        if wants_page(request):
            return redirect_to_login(request.get_full_path() if method == "GET" else _back(request, request.POST))
        raise WireError("unauthenticated", "Nobody is logged in, so there is no inbox: log in first.", 401)
    if not tenancy.has_inbox(known.user):
        why = "There is no inbox, since no group can be named after this user's primary key: see livepush.W025."
        raise WireError("forbidden", why, 403)
    if not known.may(f"user:{known.name}"):
        raise WireError("forbidden", "The token is limited to groups, and the user's own is none of them.", 403)
    return view(request, known.user, *args, **kwargs)


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
        found = Page(inbox.entries(asking.numbers(request.GET.getlist("id"), inbox)), None)
    else:
        found = asking.page(request.GET, inbox)
    following = None if found.next is None else str(found.next)
    listed = [as_json(entry, inbox) for entry in found.entries]
    return JsonResponse({"entries": listed, "next": following, **state(inbox), **new_token(request)})


@endpoint("GET")
def counts(request: HttpRequest, user: Any) -> HttpResponse:
    """Answer with the counts, as JSON."""
    return JsonResponse({**state(Inbox(user)), **new_token(request)})


@endpoint("POST")
def mark(request: HttpRequest, user: Any, action: str) -> HttpResponse:
    """Do what the address says to the entries that are named, or to all up to a position.

    A tab may be older than the login. So it may say whose inbox it shows, and another user's is left alone.
    """
    wanted = asking.action(action)
    fields = asking.fields(request)
    reader = tenancy.reader_of(user)
    if fields.get("reader", reader) != reader:
        if wants_page(request):
            return HttpResponseRedirect(reverse("livepush:inbox"), status=303)
        raise WireError("other_reader", "The page is another user's, who was logged in before: load it again.", 409)
    ids, upto = fields.getlist("id"), fields.get("upto")
    if wanted is Action.UNDO:
        outcome = marking.mark(user, wanted, version=asking.number(fields.get("version"), "version", 0, LARGEST_NUMBER))
    elif upto and not ids and wanted in marking.UP_TO:
        outcome = _mark_upto(user, wanted, upto, fields)
    elif ids and not upto and wanted in marking.ONE_BY_ONE:
        outcome = marking.mark(user, wanted, asking.numbers(ids, Inbox(user)))
    else:
        takes = [name for name, which in (("id", marking.ONE_BY_ONE), ("upto", marking.UP_TO)) if wanted in which]
        raise WireError("bad_mark", f"To mark as {action}, send {' or '.join(takes)}.")
    if not wants_page(request):
        return JsonResponse({"changed": outcome.changed, **outcome.state(), **_whose(reader)})
    back = _back(request, fields)
    undo = outcome.version if outcome.changed and wanted not in (Action.UNDO, Action.SEEN) else None
    return HttpResponseRedirect(_with_undo(back, undo), status=303)


def _back(request: HttpRequest, fields: QueryDict) -> str:
    """Return the address of the page that a form was on, if that is this site's; else the inbox's."""
    back = fields.get("next") or ""
    safe = url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure())
    return back if safe else reverse("livepush:inbox")


def _with_undo(address: str, version: int | None) -> str:
    """Return a page's address with the change that it shall offer to undo, in place of an earlier one."""
    parts = urlsplit(address)
    fields = [field for field in parts.query.split("&") if field and not field.startswith("undo=")]
    return urlunsplit(parts._replace(query="&".join([*fields, *([f"undo={version}"] if version else [])])))


def _mark_upto(user: Any, action: Action, upto: str, fields: QueryDict) -> marking.Outcome:
    number = asking.numbers([upto], Inbox(user))[0]
    try:
        return marking.mark(user, action, upto=number, category=asking.category(fields), tab=asking.tab(fields))
    except InvalidMark as error:
        raise WireError("bad_mark", str(error)) from None


def asked_of(request: HttpRequest) -> Mapping[str, str]:
    """Return what a page with the list asks of it: everything on the inbox's page, on others only what to undo."""
    return request.GET if request.path == reverse("livepush:inbox") else {"undo": request.GET.get("undo", "")}


def shown(request: HttpRequest, inbox: Inbox, asked: Mapping[str, str], counts: Counts | None = None) -> dict[str, Any]:
    """Return the context of the list's template for a request."""
    if asked.get("before") and parse_position(asked["before"]).epoch != inbox.position.epoch:
        asked = {**{name: asked[name] for name in asked}, "before": ""}  # it was a page of another life of the database
    page, tab, category = asking.page(asked, inbox), asking.tab(asked), asked.get("category", "")
    names = {kind.category for kind in kinds.registry.values()} | {category, *categories(inbox)}
    return {
        "inbox": inbox,
        "entries": [_row(entry, inbox, timezone.now()) for entry in page.entries],
        "tab": tab,
        "category": category,
        "categories": sorted(filter(None, names)),
        "next": page.next,
        "before": asked.get("before", ""),
        "is_partial": bool(category or asked.get("before") or tab is Tab.ARCHIVED),
        "undo": _done(asked.get("undo", ""), inbox),
        "back": request.get_full_path(),
        "counts": counts or inbox.counts(),
    }


@dataclass(frozen=True, slots=True)
class Done:
    """The reader's last change, for the line that names it and offers to undo it."""

    version: str
    """The version that the query's ``undo`` names."""
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
    undo = undo_of(state.undo, int(version[:19])) if state else None
    if undo is None:
        return None
    found = inbox.entries(undo.said) if undo.entries == 1 else []
    title = kinds.read(found[0].notification).title if found else ""
    return Done(version, undo.action, undo.entries, title)


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
        **_whose(inbox.reader),
    }


def _whose(reader: str) -> dict[str, str]:
    """Return whose inbox it is, and the user's own group as clients name it: without a tenant."""
    return {"reader": reader, "group": tenancy.group_of_reader(reader)}
