"""The pages to compose, preview, send and resend. Each notification is sent as its preview showed it, and once."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_protect

from livepush.conf import get_settings
from livepush.inbox import kinds
from livepush.inbox.admin.audiences import names_of, recipient_of
from livepush.inbox.admin.composing import ComposeForm, composed_from
from livepush.inbox.admin.figures import size
from livepush.inbox.admin.lists import InboxAdmin
from livepush.inbox.models import Notification
from livepush.inbox.notifying import notify
from livepush.inbox.reading import Entry
from livepush.inbox.recipients import Recipients
from livepush.wire import timestamp

logger = logging.getLogger("livepush")

TOKENS = "livepush_compose"
"""The session's key for the tokens of previews, each with whether it is unspent, so that two clicks send once.

A token is also the notification's key: two requests at once have the same session, and so has one with an older cookie.
"""
MAX_TOKENS = 20
MAX_NAMES = 20
"""How many of many recipients a preview names."""


class SendingAdmin(InboxAdmin):
    """Users with the permission to add notifications may compose them; if they may view them too, they may resend."""

    add_form_template = "admin/livepush/notification/compose.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("livepush.add_notification"))

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
            pk = request.GET.get("resend")
            row = self.get_object(request, pk) if pk and self.has_view_permission(request) else None
            return self._compose(request, ComposeForm(initial=composed_from(row) if row else None))
        form = ComposeForm(request.POST)
        if not form.is_valid() or "_edit" in request.POST:
            return self._compose(request, form)
        return self._preview_or_send(request, Notification(**form.content), form.audiences, form.send, form)

    @method_decorator(csrf_protect)
    def resend_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Preview a notification of a kind as it would be now, and send it again. Any other opens in the form."""
        if not (self.has_add_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            self.message_user(request, _("There is no such notification any more."), messages.WARNING)
            return self._back(request)
        if row.key not in kinds.registry:
            return HttpResponseRedirect(f"{self._url('add')}?resend={row.pk}")
        recipient = recipient_of(row.group)
        if recipient is None:
            self.message_user(request, _("It can't be sent again: its recipient is gone."), messages.ERROR)
        if recipient is None or not self._send_again(request, row, []):  # to nobody: it is checked, no more
            return HttpResponseRedirect(self._url("change", row.pk))
        row.count += bool(row.collapse)  # for the preview: it is stored nowhere
        return self._preview_or_send(
            request, row, [row.group], lambda key: self._send_again(request, row, recipient, key)
        )

    def _send_again(
        self, request: HttpRequest, row: Notification, recipient: Recipients, key: str | None = None
    ) -> bool:
        """Send a notification of a registered kind again with its original data; return whether that worked."""
        said = {name: getattr(row, name) or "" for name in ("icon", "level", "category", "collapse")}
        try:
            kept = kinds.context_of(row)
            kind = type(kinds.registry[row.key])
            notify(
                recipient,
                kind,
                actor=kept.actor,
                target=kept.target,
                data=kept.data,
                key=key,
                using=get_settings().DATABASE,
                **said,
            )
        except Exception as error:  # a kind is the project's code
            logger.exception("A notification of the kind %r could not be sent again.", row.key)
            self.message_user(request, _("It can't be sent again: %s") % error, messages.ERROR)
            return False
        return True

    def _compose(self, request: HttpRequest, form: ComposeForm) -> HttpResponse:
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

    def _preview_or_send(
        self,
        request: HttpRequest,
        row: Notification,
        audiences: Sequence[str],
        send: Callable[[str], bool],
        form: ComposeForm | None = None,
    ) -> HttpResponse:
        """Show what a reader will see, and who gets it. If the user pressed Send there, send it."""
        if "_send" in request.POST:
            unspent = _spend(request)
            if unspent and send(f"admin:{request.POST['token']}"):
                self._say_sent(request, kinds.read(row).title, audiences)
            elif unspent and form:
                return self._compose(request, form)
            elif unspent is False:
                self.message_user(request, _("It was sent already, and was not sent again."), messages.WARNING)
            if unspent is not None:
                return self._back(request)
            text = _("The preview was too old: look at it again, and send it then.")
            self.message_user(request, text, messages.WARNING)
        context = {
            **self._context(request, _("Preview")),
            **_as_new(row),
            "names": list(names_of(audiences[:MAX_NAMES]).values()),
            "more": max(0, len(audiences) - MAX_NAMES),
            "readers": size(audiences[0]) if len(audiences) == 1 else len(audiences),
            "rows": len(audiences),
            "form": form,
            "token": _new_token(request),
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

    def _say_sent(self, request: HttpRequest, title: str, audiences: Sequence[str]) -> None:
        """Tell the sender that it was sent, and note it in the admin's log."""
        many = ngettext("%d user", "%d users", len(audiences)) % len(audiences)
        to = many if len(audiences) > 1 else names_of(audiences)[audiences[0]]
        self.log_addition(request, Notification(title=title), gettext("Sent to: %s") % to)
        self.message_user(request, _("“%(title)s” was sent. To: %(to)s") % {"title": title, "to": to}, messages.SUCCESS)

    def _back(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the list, or to the index if the user may not view the list."""
        return self.response_post_save_add(request, None)

    def _url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:livepush_notification_{page}", args=args, current_app=self.admin_site.name)


def _as_new(row: Notification) -> dict[str, Any]:
    """Return what the list's template shows of a notification that comes this moment."""
    row.created = timezone.now()  # for the preview: it is stored nowhere
    entry = Entry(row, seen=False, read=False, archived=False)
    return {"entry": entry, "row": row, "wording": kinds.read(row), "time": timestamp(row.created), "age": "0"}


def _new_token(request: HttpRequest) -> str:
    token = secrets.token_urlsafe(16)
    newest = list(request.session.get(TOKENS, {}).items())[1 - MAX_TOKENS :]
    request.session[TOKENS] = {**dict(newest), token: True}
    return token


def _spend(request: HttpRequest) -> bool | None:
    """Spend a preview's token for good; return whether it was unspent, ``None`` where the session has no such token."""
    tokens, token = request.session.get(TOKENS, {}), request.POST.get("token")
    unspent: bool | None = tokens.get(token)
    if unspent:
        request.session[TOKENS] = {**tokens, token: False}
        request.session.save()
    return unspent
