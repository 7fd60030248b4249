"""A site with a plain view of Django REST framework that inserts a row, beside livepush's ``publish/``.

``python -m benchmarks.http_publish`` runs it, as ``benchmarks.http_site:wsgi`` or ``benchmarks.http_site:asgi``.
"""

from __future__ import annotations

import os
import sys

import django

SETTINGS = "benchmarks.http_settings"
os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework import generics, serializers  # noqa: E402

from livepush.asgi import get_asgi_application  # noqa: E402
from tests.shop.models import Order  # noqa: E402


class OrderSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["id", "status", "note"]


class Orders(generics.CreateAPIView):
    queryset = Order.objects.all()
    serializer_class = OrderSerializer
    authentication_classes: list[type] = []
    permission_classes: list[type] = []


class Ready(generics.GenericAPIView):
    authentication_classes: list[type] = []

    def get(self, request):  # type: ignore[no-untyped-def]
        from django.http import JsonResponse

        return JsonResponse({"pid": os.getpid()})


urlpatterns = [
    path("orders/", Orders.as_view()),
    path("livepush/", include("livepush.urls")),
    path("ready/", Ready.as_view()),
]
sys.modules.setdefault("benchmarks.http_site", sys.modules[__name__])
wsgi = get_wsgi_application()
asgi = get_asgi_application()
