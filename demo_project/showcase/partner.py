"""The scene "Signed webhooks": a relay in the shop's worker, and the partner who gets its requests."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import threading
import time
from base64 import b64encode
from collections import OrderedDict

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import livepush
from demo_project.parcels.views import done
from livepush.bridges.relays import signing
from livepush.bridges.relays.config import OutwardRelay, relay
from livepush.bridges.relays.outwards.running import Sender

LOOK = 0.25
REFUSALS = 2
"""How often a partner who is away refuses an event."""
MAX_KEPT = 100
_attempts: OrderedDict[str, int] = OrderedDict()
"""How often each of the last events was tried. A partner has it in memory, so a killed server forgets it."""


def webhooks(request: HttpRequest) -> HttpResponse:
    """Show what the partner gets; the buttons send something."""
    if request.method == "POST":
        data = {"code": f"LP-{random.randint(1000, 9999)}", "away": "away" in request.POST}
        livepush.send("partner", "parcel.out", data)
        return done(request)
    return render(request, "showcase/webhooks.html")


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """Take an event, as the partner's own site would."""
    key = signing.key(settings.PARTNER_SECRET)
    # scene: webhooks
    id, sent, signature = (request.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    digest = hmac.digest(key, f"{id}.{sent}.".encode() + request.body, "sha256")
    is_ours = hmac.compare_digest(f"v1,{b64encode(digest).decode()}".encode(), signature.encode())
    if not is_ours or abs(time.time() - int(sent)) > 300:
        return HttpResponse(status=401)
    # scene: end
    data = json.loads(request.body)["data"]
    attempt = _attempts[id] = _attempts.get(id, 0) + 1
    while len(_attempts) > MAX_KEPT:
        _attempts.popitem(last=False)
    status = 429 if data["away"] and attempt <= REFUSALS else 204
    livepush.send("webhooks", "request", {"id": id, "code": data["code"], "attempt": attempt, "status": status})
    return HttpResponse(status=status)


def work(ended: threading.Event) -> None:
    """Run the relay until the worker ends; a project would run ``manage.py livepush_relay partner``."""
    asyncio.run(_relay(ended))


async def _relay(ended: threading.Event) -> None:
    found = relay("partner")
    assert isinstance(found, OutwardRelay)
    sender = Sender(found)
    running = asyncio.create_task(sender.run())
    while not ended.is_set() and not running.done():
        await asyncio.sleep(LOOK)
    sender.stop()
    await running
