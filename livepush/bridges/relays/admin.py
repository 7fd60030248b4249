"""The admin's pages for relays: how far each has come, and the messages that could not be relayed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from livepush import log, tenants
from livepush.bridges.relays.forgetting import relays_of
from livepush.bridges.relays.models import DeadLetter, RelayCursor, RelayPartition
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup


class RelayAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows of relays to look at, in the database that ``LIVEPUSH["DATABASE"]`` names.

    In a project with tenants these are the rows of the active tenant's relays.
    """

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).using(get_settings().DATABASE)
        if tenants.hook() is None:
            return rows
        try:
            return rows.filter(relay__in=relays_of(tenants.current()))
        except InvalidGroup:  # no tenant is active
            return rows.none()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class DeadLetterAdmin(RelayAdmin):
    """Dead letters, to look at, try again and delete."""

    list_display = ("relay", "offset", "created", "reason")
    list_filter = ("relay", "created")
    search_fields = ("relay", "reason", "content")
    ordering = ("-id",)
    fields = ("relay", "offset", "created", "reason", "content")
    readonly_fields = fields
    actions = ("try_again",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may make events: users who may add events may."""
        return request.user.has_perm("livepush.add_event")

    @admin.action(description=_("Try the selected dead letters again"), permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Relay those letters that can be relayed by now, in their order."""
        try_again = import_string("livepush.bridges.relays.retrying.try_again")
        still_dead = import_string("livepush.bridges.relays.retrying.StillDead")
        for letter in queryset.order_by("pk"):
            try:
                try_again(letter)
            except (still_dead, ImproperlyConfigured) as error:
                self.message_user(request, f"{letter}: {error}", messages.ERROR)
        self.message_user(request, _("Letters that could be relayed are gone from this list."), messages.SUCCESS)


class RelayCursorAdmin(RelayAdmin):
    """Outward relays: how far each has come, and why it does not get on."""

    list_display = ("relay", "position", "behind", "sent", "failing_since", "error", "pruned")
    ordering = ("relay",)
    fields = list_display
    readonly_fields = fields

    @admin.display(description=_("behind"))
    def behind(self, cursor: RelayCursor) -> int:
        """Return how many positions the log has after the relay's."""
        return max(0, log.state(get_settings().DATABASE).position.number - cursor.position)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class RelayPartitionAdmin(RelayAdmin):
    """Kafka's partitions: how far the relays have taken each."""

    list_display = ("relay", "topic", "partition", "offset", "behind", "taken", "missed")
    search_fields = ("relay", "topic")
    ordering = ("relay", "topic", "partition")
    fields = list_display
    readonly_fields = fields

    @admin.display(description=_("behind"))
    def behind(self, partition: RelayPartition) -> int:
        """Return how many messages the partition had after the relay's, when a relay last looked."""
        return max(0, partition.end - partition.offset)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
