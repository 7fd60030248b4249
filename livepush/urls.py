"""``path("livepush/", include("livepush.urls"))``: the prefix of everything, and what WSGI can serve of it."""

from __future__ import annotations

from django.urls import path

from livepush.bridges.lazily import at_edge, lazily
from livepush.consumers import send, token, views
from livepush.consumers.answering import never_a_page, outside_transactions
from livepush.inbox import views as inbox
from livepush.page import scripts
from livepush.roster import views as roster
from livepush.streams import views as streams

app_name = "livepush"

urlpatterns = [
    path("poll/", at_edge("livepush.bridges.grip.views.poll", views.poll), name="poll"),
    path("sse/", at_edge("livepush.bridges.grip.views.sse", views.needs_asgi), name="sse"),
    path("ws/", at_edge("livepush.bridges.grip.websocket.websocket", views.needs_asgi), name="ws"),
    path("send/", send.send, name="send"),
    path("token/", token.token, name="token"),
    path("publish/", lazily("livepush.bridges.publishing.views.publish"), name="publish"),
    path("publish/notify/", lazily("livepush.bridges.publishing.views.notify"), name="publish_notify"),
    path("metrics/", lazily("livepush.bridges.metrics.views.metrics"), name="metrics"),
    path("presence/", roster.presence, name="presence"),
    path("scripts/livepush-<slug:name>.js", outside_transactions(never_a_page(scripts.script)), name="script"),
    path("inbox/", inbox.index, name="inbox"),
    path("inbox/entries/", inbox.entries, name="inbox_entries"),
    path("inbox/counts/", inbox.counts, name="inbox_counts"),
    path("inbox/<slug:action>/", inbox.mark, name="inbox_mark"),
    path("streams/<str:stream>/", streams.stream, name="stream"),
    path("streams/<str:stream>/stop/", streams.stop, name="stream_stop"),
]
