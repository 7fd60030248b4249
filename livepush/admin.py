"""The admin's pages for the log: they are read-only, and can send test events. It also registers the pages of
the inbox and of the bridges."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from livepush.bridges.metrics.admin import ProcessFiguresAdmin
from livepush.bridges.metrics.models import ProcessFigures
from livepush.bridges.publishing.admin import ApiKeyAdmin
from livepush.bridges.publishing.models import ApiKey
from livepush.bridges.relays.admin import DeadLetterAdmin, RelayCursorAdmin, RelayPartitionAdmin
from livepush.bridges.relays.models import DeadLetter, RelayCursor, RelayPartition
from livepush.inbox.admin.lists import ReadOnlyAdmin
from livepush.inbox.admin.pages import MembershipAdmin, NotificationAdmin
from livepush.inbox.models import Membership, Notification
from livepush.models import ChannelGroup, Event
from livepush.publish import send
from livepush.roster.admin import PresenceAdmin
from livepush.roster.models import Presence
from livepush.streams.admin import StreamAdmin
from livepush.streams.models import Stream
from livepush.wire import public_name

TEST_TYPE = "test"

admin.site.register(Notification, NotificationAdmin)
admin.site.register(Membership, MembershipAdmin)
admin.site.register(ApiKey, ApiKeyAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(RelayCursor, RelayCursorAdmin)
admin.site.register(RelayPartition, RelayPartitionAdmin)
admin.site.register(Presence, PresenceAdmin)
admin.site.register(Stream, StreamAdmin)
admin.site.register(ProcessFigures, ProcessFiguresAdmin)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("position", "created", "group", "type", "summary")
    list_filter = ("created", "type")
    search_fields = ("group", "type", "key")
    search_help_text = _("Group, type or key")
    ordering = ("-id",)
    show_full_result_count = False
    fields = ("position", "created", "group", "type", "data", "key", "send")
    readonly_fields = fields

    @admin.display(description=_("data"))
    def summary(self, event: Event) -> str:
        """Return the beginning of the data."""
        return event.data if len(event.data) <= 80 else f"{event.data[:79]}…"


@admin.register(ChannelGroup)
class ChannelGroupAdmin(ReadOnlyAdmin):
    tenant_field = "name"
    list_display = ("name", "created", "last_event")
    list_filter = ("created",)
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("send_test_event",)
    fields = ("name", "created", "retained_events")
    readonly_fields = fields

    @admin.display(description=_("last event"))
    def last_event(self, group: ChannelGroup) -> Any:
        """Return when the newest retained event was made."""
        newest = self._events(group).order_by("-position").first()
        return newest.created if newest else None

    @admin.display(description=_("retained events"))
    def retained_events(self, group: ChannelGroup) -> int:
        """Return how many events are retained."""
        return self._events(group).count()

    @admin.action(description=_("Send a test event to the selected groups"), permissions=["send"])
    def send_test_event(self, request: HttpRequest, queryset: QuerySet[ChannelGroup]) -> None:
        """Send an event of type ``test`` to each group."""
        names = list(queryset.values_list("name", flat=True))
        for name in names:
            send(public_name(name), TEST_TYPE, {"sent_by": request.user.get_username()}, using=queryset.db)
        text = ngettext("A test event went to %d group.", "A test event went to %d groups.", len(names))
        self.message_user(request, text % len(names), messages.SUCCESS)

    def has_send_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may send test events: users who may add events may."""
        return request.user.has_perm("livepush.add_event")

    def _events(self, group: ChannelGroup) -> QuerySet[Event]:
        using = group._state.db or "default"
        return Event.objects.using(using).filter(group=group.name, position__isnull=False)
