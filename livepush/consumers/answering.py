"""What the plain views share: how they answer, refuse, and find out what a client may do. They work under WSGI too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from livepush.access import handshakes, identity, origins, rules
from livepush.conf import get_settings
from livepush.consumers.auditing import Check, Client, client_of
from livepush.consumers.identified import CSRF
from livepush.notes import Rarely
from livepush.wire import WireError, dumps, unavailable

logger = logging.getLogger("livepush")
failures = Rarely(every=1.0)

MALFORMED = (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError)
"""What Django raises for a request that it does not read: it is too large, has too many fields, or makes no sense."""

View = TypeVar("View", bound=Callable[..., HttpResponseBase])
Response = TypeVar("Response", bound=HttpResponseBase)
Away = Callable[[HttpRequest, WireError], HttpResponse | None]
"""Returns what has a stream's client come back after a refusal that passes; ``None`` if it gets the error."""
Answering = Callable[..., HttpResponseBase]
"""Takes the request, its client, and what varies in the address. Raises WireError to refuse."""


def outside_transactions(view: View) -> View:
    """Exempt a view from ``ATOMIC_REQUESTS`` on every database: settle commits its own transactions."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def never_a_page(view: View) -> View:
    """Keep browsers from taking an answer for a page or a script, whatever it holds (WHATWG Fetch, section 3.7)."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response["X-Content-Type-Options"] = "nosniff"
        return response

    return cast(View, answered)


def for_origins(view: View) -> View:
    """Tell browsers which pages of other origins may read the answers; see ``livepush.access.origins``."""

    @never_a_page
    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        headers = origins.headers(request)
        preflight = origins.is_preflight(request)
        response: HttpResponseBase = HttpResponse(status=204) if preflight else view(request, *args, **kwargs)
        for name, value in headers.items():
            if name == "Vary":
                patch_vary_headers(response, [value])
            else:
                response.headers[name] = value
        return response

    return cast(View, answered)


def bad_request(error: Exception) -> WireError:
    """Return the refusal of a request that Django does not read."""
    if isinstance(error, RequestDataTooBig):
        return WireError(
            "too_large", "The body is over DATA_UPLOAD_MAX_MEMORY_SIZE: send less, or raise that setting.", 413
        )
    return WireError("bad_request", f"The request is malformed, or has too many fields ({type(error).__name__}).")


def json_response(body: bytes, status: int = 200) -> HttpResponse:
    """Return a JSON response that nothing on the way keeps or changes."""
    response = HttpResponse(body, status=status, content_type="application/json")
    return kept_as_it_is(response)


def kept_as_it_is(response: Response) -> Response:
    """Return a response that no cache keeps, no proxy or middleware compresses, and no browser takes for a page."""
    response["Cache-Control"] = "private, no-store, no-transform"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Encoding"] = "identity"  # GZipMiddleware skips responses with this header
    return response


def answers(
    transport: str,
    *methods: str,
    refusal: Callable[[WireError], bytes] = WireError.body,
    away: Away = lambda request, error: None,
) -> Callable[[Answering], Callable[..., HttpResponseBase]]:
    """Make a view an endpoint that answers some methods, after the project's checks of a handshake.

    The site's middleware leaves the login and the CSRF token to the view, since rules say who may do what, and a
    script wants JSON. Any other error of the view is logged, and the client is told to come back.
    """

    def decorate(view: Answering) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def answered(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            CSRF.process_request(request)
            client = client_of(transport, request)
            try:
                if request.method not in methods:
                    raise WireError("bad_method", f"This address answers {' and '.join(methods)}.", 405)
                handshakes.check_sync(request)
                response = view(request, client, **kwargs)
            except WireError as error:
                response = refused(error, client, request)
            except MALFORMED as error:
                response = refused(bad_request(error), client, request)
            except Exception:
                if times := failures.times():
                    logger.warning("%d requests failed. The last one, to %r:", times, request.path, exc_info=True)
                response = refused(unavailable(), client, request)
            patch_vary_headers(kept_as_it_is(response), ["Cookie", "Authorization"])
            CSRF.process_response(request, response)
            return response

        def refused(error: WireError, client: Client, request: HttpRequest) -> HttpResponse:
            client.refuse(error)
            response = away(request, error)
            if response is not None:
                return response
            response = json_response(refusal(error), error.status)
            for name, value in error.answer_headers(", ".join(methods)).items():
                response[name] = value
            return response

        return login_not_required(csrf_exempt(outside_transactions(for_origins(answered))))

    return decorate


def said(data: Any) -> HttpResponse:
    """Return data as a JSON response."""
    return HttpResponse(dumps(data), content_type="application/json")


def admit_here(
    request: HttpRequest,
    client: Client,
    groups: tuple[str, ...],
    right: rules.Right = rules.READ,
    check: Check = lambda found, tenant: None,
) -> identity.Admission:
    """Return who makes a request, and for which of the groups that client has a right.

    ``check`` is called with who it is and the tenant before any rule is asked.

    Raises WireError: what ``check`` raises, the request is no tenant's, or brings a token that is not valid.
    """
    client.groups = groups
    scope = {"user": request.user} if getattr(request, "user", None) is not None else {}
    view = identity.handshake(request)
    asked = identity.admit_sync(scope, request, view, groups, right, check=client.noted_by(check))
    found = asked.answers
    if asked.questions:
        found = rules.ask_async_here(asked.questions, found, get_settings().DATABASE_TIMEOUT, asked.tenant)
    return identity.admission(asked, groups, found, right)
