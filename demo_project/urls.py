from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.views.i18n import set_language

from demo_project.parcels import talk_views, views
from demo_project.showcase import bridged, chaos, partner, people, publishing
from demo_project.showcase import views as showcase
from livepush.bridges import eventstream

urlpatterns = [
    path("", showcase.home, name="home"),
    path("stage/customer/", showcase.window, {"side": "customer"}, name="stage-customer"),
    path("stage/warehouse/", showcase.window, {"side": "warehouse"}, name="stage-warehouse"),
    path("stage/move/", showcase.move, name="stage-move"),
    path("metrics/", showcase.metrics_page, name="metrics"),
    path("checks/", showcase.checks, name="checks"),
    path("fragments/", showcase.fragments, name="fragments"),
    path("bell/", showcase.bell, name="bell"),
    path("online/", people.online, name="online"),
    path("online/guest/", people.guest, name="guest"),
    path("publish/", publishing.publish, name="publish"),
    path("pusher/", bridged.pusher, name="pusher"),
    path("eventstream/", bridged.desk, name="eventstream"),
    path("webhooks/", partner.webhooks, name="webhooks"),
    path("webhooks/receive/", partner.receive, name="webhooks-receive"),
    path("figures/", bridged.figures, name="figures"),
    path("terminal/", showcase.terminal, name="terminal"),
    path("phone/", showcase.phone_page, name="phone"),
    path("manual/", showcase.manual_home, name="manual-home"),
    path("manual/pictures/<path:name>", showcase.manual_picture, name="manual-picture"),
    path("manual/<path:page>/", showcase.manual_page, name="manual"),
    path("chaos/", chaos.chaos, name="chaos"),
    path("chaos/faults/", chaos.faults, name="faults"),
    path("chaos/kill/", chaos.kill, name="kill"),
    path("chaos/second/", chaos.second, name="second"),
    path("chaos/servers/", chaos.servers, name="servers"),
    path("board/", views.board, name="board"),
    path("orders/", views.orders, name="orders"),
    path("orders/new/", views.order_something, name="order-something"),
    path("parcels/<slug:code>/", views.parcel, name="parcel"),
    path("parcels/<slug:code>/advance/", views.advance, name="advance"),
    path("parcels/<slug:code>/messages/", talk_views.conversation, name="conversation"),
    path("messages/", talk_views.conversations, name="conversations"),
    path("together/", views.together, name="together"),
    path("parcels/<slug:code>/ask/", views.ask, name="ask"),
    path("ask/", views.assistant, name="assistant"),
    path("jobs/", views.jobs, name="jobs"),
    path("import/", views.import_depots, name="import"),
    path("announce/", views.announce, name="announce"),
    path("language/", set_language, name="set_language"),
    path("movements/<slug:scope>/", views.movements, name="movements"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("livepush/", include("livepush.urls")),
    # scene: eventstream
    path("events/", include(eventstream.urls), {"channels": ["desk"]}),
    # scene: end
    path("", include("livepush.bridges.pusher.urls")),
    path("", include("livepush.bridges.mercure.urls")),  # demo_project.mercure uses it
]
