"""``include(livepush.bridges.eventstream.urls)``, in place of ``include(django_eventstream.urls)``.

``{"channels": [...]}``, ``{"format-channels": ["room-{room_id}"]}`` and ``<channel>`` say which channels it serves.
"""

from __future__ import annotations

from django.urls import path

from livepush.bridges.eventstream.views import events

urlpatterns = [path("", events)]
