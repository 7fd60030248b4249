"""``path("", include("livepush.bridges.pusher.urls"))``: most clients want these addresses at the site's root."""

from __future__ import annotations

from django.urls import path

from livepush.bridges.pusher import api, authorizing

app_name = "livepush_pusher"
urlpatterns = [
    path("app/<str:key>", api.needs_websocket, name="app"),
    path("pusher/auth", authorizing.auth, name="auth"),
    path("pusher/user-auth", authorizing.user_auth, name="user_auth"),
    path("apps/<str:app_id>/events", api.events, name="events"),
    path("apps/<str:app_id>/batch_events", api.batch_events, name="batch_events"),
    path("apps/<str:app_id>/channels", api.channels, name="channels"),
    path("apps/<str:app_id>/channels/<str:channel>", api.channel, name="channel"),
    path("apps/<str:app_id>/channels/<str:channel>/users", api.users, name="users"),
    path("apps/<str:app_id>/users/<str:user_id>/terminate_connections", api.terminate, name="terminate"),
    # pusher 3.3.4 from PyPI leaves the app out
    path("users/<str:user_id>/terminate_connections", api.terminate, name="terminate_without_app"),
]
