"""``path("livepush/", include("livepush.urls"))``: the prefix of everything, and what WSGI can serve of it."""

from __future__ import annotations

from django.urls import path

from livepush import views

app_name = "livepush"

urlpatterns = [
    path("poll/", views.poll, name="poll"),
    path("sse/", views.needs_asgi, name="sse"),
    path("ws/", views.needs_asgi, name="ws"),
]
