"""Checks of a handshake, sync, async and as middleware. Each answers as a header of the request asks."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.utils.decorators import async_only_middleware
from django.utils.deprecation import MiddlewareMixin


def answer(word):
    if word == "denied":
        raise PermissionDenied("Not from here.")
    if word == "broken":
        raise RuntimeError("a check that fails")
    return {
        None: None,
        "yes": True,
        "no": False,
        "odd": "yes",
        "moved": HttpResponseRedirect("https://shop.test/"),
        "page": HttpResponse("We are away."),
        "away": HttpResponse("We are away.", status=503, headers={"Retry-After": "7"}),
        "busy": HttpResponse(status=429),
    }[word]


def gate(request):
    User.objects.exists()  # a check may use the database
    return answer(request.headers.get("X-Sync"))


async def async_gate(request):
    return answer(request.headers.get("X-Async"))


def office(request):
    return answer("denied")


def maintenance(request):
    return answer("away")


def closing(get_response):
    """Refuse by a header, as a middleware that is a function."""

    def respond(request):
        return HttpResponse(status=503) if "X-Closed" in request.headers else get_response(request)

    return respond


@async_only_middleware
def async_closing(get_response):
    async def respond(request):
        return HttpResponse(status=503) if "X-Closed" in request.headers else await get_response(request)

    return respond


class PassesOn:
    """Decide in process_view alone."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, args, kwargs):
        return HttpResponse(status=503)


class Gate(MiddlewareMixin):
    def process_request(self, request):
        found = answer(request.headers.get("X-Middleware"))
        return HttpResponse(status=403) if found is False else found

    def process_response(self, request, response):
        return HttpResponse(response.content, status=response.status_code, headers=response.headers)


class AsyncGate:
    sync_capable, async_capable = False, True

    def __init__(self, get_response):
        self.get_response = get_response

    async def __call__(self, request):
        if request.headers.get("X-Async-Middleware") == "no":
            return HttpResponse(status=403)
        return await self.get_response(request)


class Unused:
    def __init__(self, get_response):
        raise MiddlewareNotUsed
