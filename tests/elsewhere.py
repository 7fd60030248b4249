"""A URLconf with livepush under another prefix."""

from django.urls import include, path

urlpatterns = [path("api/live/", include("livepush.urls"))]
