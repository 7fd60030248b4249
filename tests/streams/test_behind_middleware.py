"""A view that starts a stream behind sync middleware: what the iterator asks the database runs on after the view."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path

from livepush import streams
from livepush.asgi import get_asgi_application
from livepush.streams.models import Stream
from tests.patience import eventually

pytestmark = pytest.mark.django_db(transaction=True)


def middleware(get_response):
    return lambda request: get_response(request)


async def view(request):
    async def generate():
        yield "there are "
        await asyncio.sleep(0.05)  # the view has answered by now
        yield str(await User.objects.acount())

    await streams.start("job:7", generate())
    return HttpResponse()


urlpatterns = [path("", view), path("livepush/", include("livepush.urls"))]


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.middleware"])
async def test_a_stream_outlives_the_view_that_started_it():
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"testserver")]}
    client = ApplicationCommunicator(get_asgi_application(), scope)
    await client.send_input({"type": "http.request"})
    assert (await client.receive_output(10))["status"] == 200
    await eventually(has_finished)
    stream = await Stream.objects.aget()
    assert await (await streams.aget(stream.id)).atext() == "there are 0"


async def has_finished():
    return [state async for state in Stream.objects.values_list("state", flat=True)] == ["finished"]
