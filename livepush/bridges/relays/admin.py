"""The admin's pages for relays: how far each has come, and the messages that could not become events."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from livepush.bridges.relays.models import DeadLetter
from livepush.conf import get_settings


class DeadLetterAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Dead letters, to look at, try again and delete."""

    list_display = ("relay", "offset", "created", "reason")
    list_filter = ("relay", "created")
    search_fields = ("relay", "reason", "content")
    ordering = ("-id",)
    fields = ("relay", "offset", "created", "reason", "content")
    readonly_fields = fields
    actions = ("try_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(get_settings().DATABASE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may make events: users who may add events may."""
        return request.user.has_perm("livepush.add_event")

    @admin.action(description=_("Try the selected dead letters again"), permissions=["retry"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        """Make events of the letters that can become some by now, in their order."""
        relay = import_string("livepush.bridges.relays.config.relay")
        retry = import_string("livepush.bridges.relays.taking.retry")
        unmappable = import_string("livepush.bridges.relays.mapping.Unmappable")
        for letter in queryset.order_by("pk"):
            try:
                retry(letter, relay(letter.relay))
            except (unmappable, ImproperlyConfigured) as error:
                self.message_user(request, f"{letter}: {error}", messages.ERROR)
        self.message_user(request, _("Letters that could become events have done so."), messages.SUCCESS)
