"""The page Chaos: faults that a visitor makes, beside a tally that is checked against the database."""

from __future__ import annotations

import os
import signal
import socket
import threading

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from demo_project.parcels.models import Movement
from demo_project.parcels.views import done
from demo_project.showcase.faults import COOKIE, FAULTS

SECOND_PORT = int(os.environ.get("DEMO_SECOND_PORT", "0"))
"""The port on which ``python -m demo_project`` starts a second server; 0 if the demo was started in another way."""
GOODBYE = 0.2


def chaos(request: HttpRequest) -> HttpResponse:
    """Show the faults and the tally."""
    context = {"latest": Movement.latest(), "scope": "board", "supervised": bool(SECOND_PORT), **servers_now()}
    return render(request, "showcase/chaos.html", context | {"chosen": request.COOKIES.get(COOKIE, "").split(".")})


@require_POST
def faults(request: HttpRequest) -> HttpResponse:
    """Note a visitor's faults in a cookie, until the browser closes."""
    response = done(request)
    response.set_cookie(COOKIE, ".".join(fault for fault in FAULTS if fault in request.POST), samesite="Lax")
    return response


@require_POST
def kill(request: HttpRequest) -> HttpResponse:
    """Kill this server as soon as it has answered; who started it starts another."""
    if not SECOND_PORT:
        return done(request, 409)
    threading.Timer(GOODBYE, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return done(request)


@require_POST
def second(request: HttpRequest) -> HttpResponse:
    """Ask for a second server on the same database."""
    if not SECOND_PORT:
        return done(request, 409)
    os.kill(os.getppid(), signal.SIGUSR1)
    return done(request)


def servers(request: HttpRequest) -> HttpResponse:
    """Answer with this server's process and port, and where the second one is, if it answers."""
    return JsonResponse(servers_now())


def servers_now() -> dict[str, int]:
    """Return this server's process, and the port of the second server if it answers, else 0."""
    return {"process": os.getpid(), "second": SECOND_PORT if answers(SECOND_PORT) else 0}


def answers(port: int) -> bool:
    """Return whether a server on this computer listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return bool(port) and probe.connect_ex(("127.0.0.1", port)) == 0
