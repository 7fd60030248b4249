"""The admin's list of who is there. Nobody edits it."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from livepush.inbox.admin.lists import ReadOnlyAdmin
from livepush.roster.models import Presence


class PresenceAdmin(ReadOnlyAdmin):
    list_display = ("group", "member", "info", "state", "connections", "joined")
    search_fields = ("group", "member")
    search_help_text = _("Group or member")
    ordering = ("group", "since")
    show_full_result_count = False
    fields = ("group", "member", "info", "state", "connections", "joined", "process")
    readonly_fields = fields

    @admin.display(description=_("joined"), ordering="since")
    def joined(self, row: Presence) -> datetime:
        """Return when the member joined."""
        joined = datetime.fromtimestamp(row.since / 1000, UTC)
        return joined if settings.USE_TZ else timezone.make_naive(joined)
