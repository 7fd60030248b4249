"""The scene "From another program": an API key of the visitor's own, and a line that publishes with it."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from livepush.bridges.publishing.keys import create_key


def publish(request: HttpRequest) -> HttpResponse:
    """Show a line for a terminal; the button makes a key for it."""
    key, scans = "", f"scans:{request.user.pk}"
    if request.method == "POST" and request.user.is_authenticated:
        # scene: publish
        key = create_key("Scanner", groups=[scans], types=["scan"], expires=timedelta(minutes=10))
        # scene: end
    origin = f"{request.scheme}://{request.get_host()}"
    return render(request, "showcase/publish.html", {"key": key, "scans": scans, "origin": origin})
