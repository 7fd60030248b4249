"""The log and the inbox to browse, read-only; test events to send, and notifications to compose, preview and resend."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from livepush.conf import get_settings
from livepush.inbox import admin as inbox
from livepush.inbox import kinds
from livepush.inbox.links import is_safe
from livepush.inbox.reading import Entry
from livepush.inbox.recipients import Recipients, everyone
from livepush.models import ChannelGroup, Event, Membership, Notification
from livepush.publishing import send

logger = logging.getLogger("livepush")

TEST_TYPE = "test"
TOKENS = "livepush_compose"
"""Where a session keeps the tokens of previews, each with whether it was sent: a second click on Send sends nothing."""
MOST_TOKENS = 20
MOST_NAMES = 20
"""How many of many recipients a preview names."""


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at and not to touch, of the database that ``LIVEPUSH["DATABASE"]`` names."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(get_settings().DATABASE)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


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
            send(name, TEST_TYPE, {"sent_by": request.user.get_username()}, using=queryset.db)
        text = ngettext("A test event went to %d group.", "A test event went to %d groups.", len(names))
        self.message_user(request, text % len(names), messages.SUCCESS)

    def has_send_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may send: who may add events may."""
        return request.user.has_perm("livepush.add_event")

    def _events(self, group: ChannelGroup) -> QuerySet[Event]:
        using = group._state.db or "default"
        return Event.objects.using(using).filter(group=group.name, position__isnull=False)


class NewestPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the newest rows: to count all of a large table takes longer than to show them."""

    most = 100_000

    @cached_property
    def count(self) -> int:
        """The number of rows, ``most`` at most."""
        rows: Any = self.object_list
        return int(rows[: self.most].count())


class InboxAdmin(ReadOnlyAdmin):
    """Rows of large tables, the newest first, with audiences that are called by name."""

    paginator = NewestPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 25

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, with what its rows show looked up for all of them at once."""
        found = super().get_changelist_instance(request)
        self.look_up(list(found.result_list))
        if found.result_count == NewestPaginator.most:
            found.title = _("The newest %(count)d %(names)s") % {
                "count": found.result_count,
                "names": self.opts.verbose_name_plural,
            }
        return found

    def look_up(self, rows: Sequence[Any]) -> None:
        """Put the names of audiences to rows."""
        names = inbox.names_of(row.group for row in rows)
        for row in rows:
            row.audience = names[row.group]

    @admin.display(description=_("audience"))
    def audience(self, row: Any) -> str:
        """Return what the audience is called."""
        return str(getattr(row, "audience", "")) or inbox.names_of([row.group])[row.group]


class AudienceFilter(admin.SimpleListFilter):
    """Notifications by the kind of their audience."""

    title = _("audience")
    parameter_name = "audience"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (everyone, _("everyone")),
            (inbox.AUTH, _("auth groups")),
            (inbox.OF, _("members of groups")),
            (inbox.USER, _("single users")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value == everyone:
            return queryset.filter(group=value)
        return queryset.filter(group__startswith=value) if value else queryset


class CategoryFilter(admin.SimpleListFilter):
    """Notifications by their category; those that are offered cost no look at the whole table."""

    title = _("category")
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        asked = request.GET.get(self.parameter_name)
        return [(name, name) for name in sorted({*inbox.categories(get_settings().DATABASE), *filter(None, [asked])})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(category=self.value()) if self.value() else queryset


@admin.register(Notification)
class NotificationAdmin(InboxAdmin):
    """What was notified, to whom, and who read it. Who may add notifications may compose and resend them."""

    list_display = ("created", "line", "audience", "category", "level", "count", "read")
    list_display_links = ("created", "line")
    list_filter = ("created", "level", CategoryFilter, AudienceFilter)
    search_fields = ("title", "body", "=group", "=key")
    search_help_text = _("Title, text, audience such as user:7, kind, or a username")
    ordering = ("-position",)
    add_form_template = "admin/livepush/notification/compose.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("livepush.add_notification"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a user's notifications by the username too."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        user = inbox.user_called(search_term.strip()) if search_term.strip() else None
        return found | queryset.filter(group=f"user:{user}") if user is not None else found, duplicates

    # The list

    def look_up(self, rows: Sequence[Any]) -> None:
        """Put the names of audiences, and how many have read it, to rows."""
        super().look_up(rows)
        reads = inbox.reads_of(rows, get_settings().DATABASE)
        for row in rows:
            row.reads = reads.get(row.pk)

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
        shared = not (obj and obj.group.startswith(inbox.USER))
        says = ["wording_title", "wording_body", "address", "level", "icon", "category"]
        sent = ["audience", "created", "first", "count", "key", "people", "data", "collapse", "position"]
        state = ["members", "read_by", "archived_by"] if shared else ["is_seen", "is_read", "is_archived"]
        hint = _("Counted now, of those who have it in their inbox: who came later or has left is not among them.")
        return (
            (_("Notification"), {"fields": [name for name in says if obj is None or self._is_filled(name, obj)]}),
            (_("Delivery"), {"fields": [name for name in sent if obj is None or self._is_filled(name, obj)]}),
            (_("State"), {"fields": state, "description": hint if shared else None}),
        )

    def _is_filled(self, name: str, row: Notification) -> bool:
        if name == "first":
            return row.first != row.created
        own = getattr(self, name, None)
        return bool(own(row) if own else getattr(row, name))

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
        """Return how many have it."""
        return inbox.size(row.group, get_settings().DATABASE, row)

    @admin.display(description=_("read by"))
    def read_by(self, row: Notification) -> Any:
        """Return how many have read it."""
        return self._count(row, "read")

    @admin.display(description=_("archived by"))
    def archived_by(self, row: Notification) -> Any:
        """Return how many have archived it."""
        return self._count(row, "archived")

    def _count(self, row: Notification, name: str) -> Any:
        count = inbox.how_many(row, name, get_settings().DATABASE)
        return _("Not known: the database of the inbox can't tell its readers.") if count is None else count

    @admin.display(description=_("seen"), boolean=True)
    def is_seen(self, row: Notification) -> bool | None:
        """Return whether the user has looked at it in the list."""
        entry = self._entry(row)
        return entry.seen if entry else None

    @admin.display(description=_("read"), boolean=True)
    def is_read(self, row: Notification) -> bool | None:
        """Return whether the user has read it."""
        entry = self._entry(row)
        return entry.read if entry else None

    @admin.display(description=_("archived"), boolean=True)
    def is_archived(self, row: Notification) -> bool | None:
        """Return whether the user has archived it."""
        entry = self._entry(row)
        return entry.archived if entry else None

    def _entry(self, row: Any) -> Entry | None:
        if not hasattr(row, "entry"):
            row.entry = inbox.entry_of(row, get_settings().DATABASE)
        found: Entry | None = row.entry
        return found

    # Compose, preview, send

    def get_urls(self) -> list[URLPattern]:
        """Return the usual pages, and the one to resend."""
        resend = self.admin_site.admin_view(self.resend_view)
        return [path("<path:object_id>/resend/", resend, name="livepush_notification_resend"), *super().get_urls()]

    @method_decorator(csrf_protect)
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Let a notification be composed, show it as a reader will see it, and send it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._compose(request, inbox.ComposeForm(initial=self._initial(request)))
        form = inbox.ComposeForm(request.POST)
        if not form.is_valid() or "_edit" in request.POST:
            return self._compose(request, form)
        if not self._is_confirmed(request):
            return self._preview(request, form.preview(), form.audiences, form)
        if not self._is_first(request):
            return self._back(request)
        if not form.send():
            return self._compose(request, form)
        return self._sent(request, form.cleaned_data["title"], form.audiences)

    @method_decorator(csrf_protect)
    def resend_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what a notification of a kind would be now, and send it again; any other is composed anew."""
        if not (self.has_add_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            self.message_user(request, _("There is no such notification any more."), messages.WARNING)
            return self._back(request)
        if row.key not in kinds.registry:
            return HttpResponseRedirect(f"{self._url('add')}?resend={row.pk}")
        recipient = inbox.recipient_of(row.group)
        if recipient is None or not self._send_again(request, row, []):  # to nobody: it is checked, no more
            if recipient is None:
                self.message_user(request, _("It can't be sent again: its recipient is gone."), messages.ERROR)
            return HttpResponseRedirect(self._url("change", row.pk))
        preview = inbox.as_again(row)
        if not self._is_confirmed(request):
            return self._preview(request, preview, [row.group])
        if self._is_first(request) and self._send_again(request, row, recipient):
            return self._sent(request, kinds.read(preview).title, [row.group])
        return self._back(request)

    def _send_again(self, request: HttpRequest, row: Notification, recipient: Recipients) -> bool:
        try:
            inbox.send_again(row, recipient)
        except Exception as error:  # a kind is the project's code
            logger.exception("A notification of the kind %r could not be sent again.", row.key)
            self.message_user(request, _("It can't be sent again: %s") % error, messages.ERROR)
            return False
        return True

    def _initial(self, request: HttpRequest) -> dict[str, Any]:
        pk = request.GET.get("resend")
        row = self.get_object(request, pk) if pk else None
        return inbox.composed_from(row) if row and self.has_view_permission(request) else {}

    def _compose(self, request: HttpRequest, form: inbox.ComposeForm) -> HttpResponse:
        any_form: Any = form  # the admin's helpers take more than models' forms
        fields = helpers.AdminForm(any_form, form.fieldsets, {}, model_admin=self)
        context = {
            **self._context(request, _("Compose a notification")),
            "adminform": fields,
            "errors": helpers.AdminErrorList(any_form, []),
            "media": self.media + fields.media,
            "inline_admin_formsets": [],
        }
        return self.render_change_form(request, context, add=True)

    def _preview(
        self, request: HttpRequest, row: Notification, audiences: Sequence[str], form: inbox.ComposeForm | None = None
    ) -> HttpResponse:
        """Show what a reader will see and who gets it; Send sends what was shown."""
        using, token = get_settings().DATABASE, secrets.token_urlsafe(16)
        kept = list(request.session.get(TOKENS, {}).items())[1 - MOST_TOKENS :]
        request.session[TOKENS] = {**dict(kept), token: False}
        names = inbox.names_of(audiences[:MOST_NAMES])
        context = {
            **self._context(request, _("Preview")),
            "row": row,
            "wording": kinds.read(row),
            "names": [names[audience] for audience in audiences[:MOST_NAMES]],
            "more": max(0, len(audiences) - MOST_NAMES),
            "readers": inbox.size(audiences[0], using) if len(audiences) == 1 else len(audiences),
            "rows": len(audiences),
            "form": form,
            "token": token,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/livepush/notification/preview.html", context)

    def _context(self, request: HttpRequest, title: Any) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "has_view_permission": self.has_view_permission(request),
        }

    def _is_confirmed(self, request: HttpRequest) -> bool:
        """Return whether Send was pressed on a preview of this session."""
        if "_send" not in request.POST:
            return False
        if request.POST.get("token") in request.session.get(TOKENS, {}):
            return True
        self.message_user(request, _("The preview was too old: look at it again, and send it then."), messages.WARNING)
        return False

    def _is_first(self, request: HttpRequest) -> bool:
        """Spend a preview's token, which is saved before anything is sent; return whether it was not spent before."""
        tokens, token = request.session[TOKENS], request.POST["token"]
        if tokens[token]:
            self.message_user(request, _("It was sent already, and was not sent again."), messages.WARNING)
            return False
        request.session[TOKENS] = {**tokens, token: True}
        request.session.save()
        return True

    def _sent(self, request: HttpRequest, title: str, audiences: Sequence[str]) -> HttpResponse:
        """Say so, to the sender and in the admin's log."""
        to = inbox.names_of(audiences[:1])[audiences[0]]
        if len(audiences) > 1:
            to = ngettext("%d user", "%d users", len(audiences)) % len(audiences)
        LogEntry.objects.create(
            user_id=request.user.pk or 0,
            content_type=ContentType.objects.get_for_model(Notification),
            object_repr=title[:200],
            action_flag=ADDITION,
            change_message=gettext("Sent to: %s") % to,
        )
        self.message_user(request, _("“%(title)s” was sent. To: %(to)s") % {"title": title, "to": to}, messages.SUCCESS)
        return self._back(request)

    def _back(self, request: HttpRequest) -> HttpResponse:
        """Go to the list; who may not look at it, to the index."""
        index = reverse("admin:index", current_app=self.admin_site.name)
        return HttpResponseRedirect(self._url("changelist") if self.has_view_permission(request) else index)

    def _url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:livepush_notification_{page}", args=args, current_app=self.admin_site.name)


@admin.register(Membership)
class MembershipAdmin(InboxAdmin):
    """Who gets what is notified to groups."""

    list_display = ("audience", "who", "created")
    search_fields = ("=group", "=reader")
    search_help_text = _("Group such as order:7, or a username")
    list_filter = ("created",)
    ordering = ("-id",)
    fields = ("audience", "who", "created", "joined")
    readonly_fields = fields

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the members of a group, and a user's memberships by the username."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        if not term:
            return found, duplicates
        user = inbox.user_called(term)
        return found | queryset.filter(Q(group=f"{inbox.OF}{term}") | Q(reader=str(user))), duplicates

    def look_up(self, rows: Sequence[Any]) -> None:
        """Put the names of groups and members to rows."""
        super().look_up(rows)
        names = inbox.names_of(f"{inbox.USER}{row.reader}" for row in rows)
        for row in rows:
            row.who = names[f"{inbox.USER}{row.reader}"]

    @admin.display(description=_("member"))
    def who(self, row: Any) -> str:
        """Return who the member is."""
        user = f"{inbox.USER}{row.reader}"
        return str(getattr(row, "who", "")) or inbox.names_of([user])[user]
