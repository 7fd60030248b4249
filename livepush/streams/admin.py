"""The admin's list of streams: what each is, what it has said, and actions that stop and delete."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from livepush.conf import get_settings
from livepush.inbox.admin.lists import NewestPaginator, ReadOnlyAdmin
from livepush.streams import deleting, leases, store
from livepush.streams.models import Stream, StreamState
from livepush.wire import public_name

PREVIEW = 20_000
"""The most characters of a stream that its page shows: the newest ones."""


class StreamAdmin(ReadOnlyAdmin):
    """Streams, to look at. Users who may change streams may stop them; users who may delete streams may delete them."""

    list_display = ("in_group", "state", "size", "created", "ended", "format", "id")
    list_filter = ("state", "created")
    search_fields = ("=id", "group")
    search_help_text = _("Id or group")
    ordering = ("-created",)
    paginator = NewestPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    actions = ("stop",)
    fields = ("id", "in_group", "state", "error", "format", "size", "created", "ended", "metadata", "preview")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Stream]:
        """Return all streams. Those whose producer has died are ended first."""
        leases.look(get_settings().DATABASE)
        found: QuerySet[Stream] = super().get_queryset(request)
        return found

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, with the sizes of all running streams looked up at once."""
        found = super().get_changelist_instance(request)
        running = [row.id for row in found.result_list if row.length is None]
        sizes = store.ends(found.root_queryset.db, running) if running else {}
        for row in found.result_list:
            row.known_size = sizes.get(row.id, 0)
        return found

    @admin.display(description=_("group"), ordering="group")
    def in_group(self, row: Stream) -> str:
        """Return the group without its tenant."""
        return public_name(row.group)

    @admin.display(description=_("size"))
    def size(self, row: Any) -> int:
        """Return how many characters and parts are stored."""
        if row.length is not None:
            return int(row.length)
        known = getattr(row, "known_size", None)
        return store.ends(_using(row), [row.id]).get(row.id, 0) if known is None else int(known)

    @admin.display(description=_("text"))
    def preview(self, row: Stream) -> str:
        """Return the newest text, with parts of JSON as they are."""
        size = self.size(row)
        start = max(0, size - PREVIEW)
        before = format_html("<p>{}</p>", _("The newest %d characters:") % PREVIEW) if start else ""
        found, _end = store.read_all(_using(row), row.id, start, size)
        text = "".join(piece if isinstance(piece, str) else f"\n{_json(piece.value)}\n" for piece in found)
        return format_html('{}<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', before, text)

    # Stop and delete

    @admin.action(description=_("Stop the selected streams"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        """Ask the producers of the selected streams to stop."""
        running = list(queryset.filter(state=StreamState.RUNNING).values_list("id", flat=True))
        count = sum(store.stop(queryset.db, id) for id in running)
        text = ngettext("%d stream was asked to stop.", "%d streams were asked to stop.", count)
        self.message_user(request, text % count, messages.SUCCESS)

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may stop streams: users who may change streams may."""
        return request.user.has_perm("livepush.change_stream")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may delete streams."""
        return request.user.has_perm("livepush.delete_stream")

    def delete_model(self, request: HttpRequest, obj: Stream) -> None:
        """Delete a stream with its text."""
        deleting.delete(_using(obj), [obj.id])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        """Delete streams with their text."""
        deleting.delete(queryset.db, list(queryset.values_list("id", flat=True)))


def _using(row: Stream) -> str:
    return row._state.db or "default"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
