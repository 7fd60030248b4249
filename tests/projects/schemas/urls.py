from __future__ import annotations

from django.http import HttpResponse
from django.template import engines
from django.urls import include, path


def page(request):
    template = engines["django"].from_string("{% load livepush %}{% livepush 'board' %}{% livepush_bell %}")
    return HttpResponse(template.render({}, request))


urlpatterns = [path("livepush/", include("livepush.urls")), path("page/", page)]
