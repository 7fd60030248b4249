import django_eventstream
from django.urls import include, path

from chat import views

urlpatterns = [
    path("events/", include(django_eventstream.urls), {"channels": ["news"]}),
    path("rooms/<room_id>/events/", include(django_eventstream.urls), {"format-channels": ["room-{room_id}"]}),
    path("objects/<channel>/events/", include(django_eventstream.urls)),
    path("say/<channel>/", views.say),
]
