"""``path("", include("livepush.bridges.mercure.urls"))``: clients want the hub at the site's root."""

from __future__ import annotations

from django.urls import path

from livepush.bridges.mercure.views import hub

app_name = "livepush_mercure"
urlpatterns = [path(".well-known/mercure", hub, name="hub")]
