from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.i18n import set_language

from demo_project.parcels import talk_views, views

urlpatterns = [
    path("", views.board, name="board"),
    path("orders/", views.orders, name="orders"),
    path("orders/new/", views.order_something, name="order-something"),
    path("parcels/<slug:code>/", views.parcel, name="parcel"),
    path("parcels/<slug:code>/advance/", views.advance, name="advance"),
    path("parcels/<slug:code>/messages/", talk_views.conversation, name="conversation"),
    path("messages/", talk_views.conversations, name="conversations"),
    path("together/", views.together, name="together"),
    path("parcels/<slug:code>/ask/", views.ask, name="ask"),
    path("import/", views.import_depots, name="import"),
    path("announce/", views.announce, name="announce"),
    path("language/", set_language, name="set_language"),
    path("movements/<slug:scope>/", views.movements, name="movements"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("livepush/", include("livepush.urls")),
]
