"""The pages of notifications and memberships."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import lookup_field
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from livepush.inbox import kinds
from livepush.inbox.admin import figures
from livepush.inbox.admin.audiences import USER, user_called
from livepush.inbox.admin.lists import AudienceFilter, CategoryFilter, InboxAdmin
from livepush.inbox.admin.sending import SendingAdmin
from livepush.inbox.links import is_safe
from livepush.inbox.models import Membership, Notification
from livepush.inbox.tenancy import OF, group_of_reader, stored
from livepush.wire import public_name


def _done(name: str, label: Any) -> Any:
    """Return a field: whether the user has done this with a notification."""

    @admin.display(description=label, boolean=True)
    def field(self: Any, row: Any) -> Any:
        if not hasattr(row, "entry"):
            row.entry = figures.entry_of(row)
        return row.entry and getattr(row.entry, name)

    return field


def _done_by(name: str, label: Any) -> Any:
    """Return a field: how many of its readers have done this with a notification."""

    @admin.display(description=label)
    def field(self: Any, row: Any) -> Any:
        count = figures.how_many(row, name)
        return _("Not known: the database of the inbox can't tell its readers.") if count is None else count

    return field


class NotificationAdmin(SendingAdmin):
    """Notifications, their recipients, and who read them. Users who may add notifications may compose and resend."""

    list_display = ("created", "line", "audience", "category", "level", "count", "read")
    list_display_links = ("created", "line")
    list_filter = ("created", "level", CategoryFilter, AudienceFilter)
    search_fields = ("title", "body", "=group", "=key")
    search_help_text = _("Title, text, audience such as user:7, kind, or a username")
    ordering = ("-position",)

    is_seen = _done("seen", _("seen"))
    is_read = _done("read", _("read"))
    is_archived = _done("archived", _("archived"))
    read_by = _done_by("read", _("read by"))
    archived_by = _done_by("archived", _("archived by"))

    def also_found(self, term: str) -> Q:
        """Find an audience's notifications by its name, and a user's by the username too."""
        return Q(group=stored(term)) | Q(group=stored(user_called(term)))

    # The list

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, with how many have read each."""
        found = super().get_changelist_instance(request)
        reads = figures.reads_of(found.result_list)
        for row in found.result_list:
            row.reads = reads.get(row.pk)
        return found

    @admin.display(description=_("title"))
    def line(self, row: Notification) -> str:
        """Return the beginning of the title."""
        return Truncator(row.title).chars(100)

    @admin.display(description=_("read by"))
    def read(self, row: Any) -> Any:
        """Return how many of its readers have read it."""
        return row.reads

    # One notification

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what is shown of a notification: what it says, how it was delivered, and what became of it."""
        says = ["wording_title", "wording_body", "address", "level", "icon", "category"]
        sent = ["audience", "created", "first", "count", "key", "people", "data", "collapse", "position"]
        if obj.first == obj.created:
            sent.remove("first")
        state: dict[str, Any] = {"fields": ["is_seen", "is_read", "is_archived"]}
        if not public_name(obj.group).startswith(USER):
            hint = _("Counted now, of those who have it in their inbox: who came later or has left is not among them.")
            state = {"fields": ["members", "read_by", "archived_by"], "description": hint}
        return (
            (_("Notification"), {"fields": self._filled(says, obj)}),
            (_("Delivery"), {"fields": self._filled(sent, obj)}),
            (_("State"), state),
        )

    def _filled(self, names: list[str], row: Notification) -> list[str]:
        return [name for name in names if lookup_field(name, row, self)[2]]

    @admin.display(description=_("title"))
    def wording_title(self, row: Notification) -> str:
        """Return the title as a reader sees it."""
        return kinds.read(row).title

    @admin.display(description=_("text"))
    def wording_body(self, row: Notification) -> str:
        """Return the text as a reader sees it."""
        return kinds.read(row).body

    @admin.display(description=_("address"))
    def address(self, row: Notification) -> str:
        """Return a link to where it leads."""
        url = kinds.read(row).url
        return format_html('<a href="{0}">{0}</a>', url) if url and is_safe(url) else url

    @admin.display(description=_("actors"))
    def people(self, row: Notification) -> str:
        """Return the names of the actors."""
        return ", ".join(actor["name"] for actor in row.people)

    @admin.display(description=_("data"))
    def data(self, row: Notification) -> str:
        """Return what was sent along."""
        data = row.details.get("data")
        return json.dumps(data, ensure_ascii=False) if data else ""

    @admin.display(description=_("readers"))
    def members(self, row: Notification) -> int:
        """Return how many readers have it."""
        return figures.size(row.group, row)


class MembershipAdmin(InboxAdmin):
    """The members of livepush groups."""

    list_display = ("audience", "who", "created")
    search_fields = ("=group", "=reader")
    search_help_text = _("Group such as order:7, or a username")
    list_filter = ("created",)
    ordering = ("-id",)
    fields = ("audience", "who", "created", "joined")
    readonly_fields = fields

    def audiences_in(self, row: Membership) -> list[str]:
        """Return the group and its member."""
        return [row.group, group_of_reader(row.reader)]

    def also_found(self, term: str) -> Q:
        """Find the members of a group, and a user's memberships by the username."""
        user = stored(user_called(term).removeprefix(USER))
        return Q(group=stored(f"{OF}{term}")) | Q(group=stored(term)) | Q(reader=stored(term)) | Q(reader=user)

    @admin.display(description=_("member"))
    def who(self, row: Membership) -> str:
        """Return who the member is."""
        return self.called(row, group_of_reader(row.reader))
