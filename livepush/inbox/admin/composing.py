"""The form to compose a notification, and what it holds to compose one anew."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.admin import widgets
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush import tenants
from livepush.conf import get_settings
from livepush.exceptions import InvalidEvent
from livepush.inbox import recipients
from livepush.inbox.admin.audiences import USER, recipient_of, users_called
from livepush.inbox.models import Level, Notification
from livepush.inbox.notifying import MAX_CATEGORY, MAX_COLLAPSE, notify
from livepush.inbox.tenancy import AUTH
from livepush.wire import MAX_GROUP_LENGTH, public_name

SAYS = ("title", "body", "url", "icon", "level", "category", "collapse")
"""What a notification says: fields of the form, of the model, and arguments of ``notify``."""


class To(models.TextChoices):
    """Whom a notification is composed for; but for everyone, the field of this name says which."""

    EVERYONE = "everyone", _("Everyone")
    ROLE = "role", _("The users in an auth group")
    USERS = "users", _("Some users")
    GROUP = "group", _("The members of a livepush group")


def _line(
    label: Any, hint: Any, wide: bool = True, required: bool = False, max_length: int | None = None
) -> forms.CharField:
    widget = widgets.AdminTextInputWidget({"class": "vLargeTextField"} if wide else None)
    return forms.CharField(label=label, help_text=hint, required=required, max_length=max_length, widget=widget)


def _lines(label: Any, hint: Any, rows: int) -> forms.CharField:
    widget = widgets.AdminTextareaWidget({"rows": rows})
    return forms.CharField(label=label, help_text=hint, required=False, widget=widget)


class ComposeForm(forms.Form):
    """A notification to be sent: to whom, and what it says. It is valid if ``notify`` takes it."""

    to = forms.ChoiceField(label=_("To"), choices=To.choices, widget=widgets.AdminRadioSelect({"class": "radiolist"}))
    role = forms.ModelChoiceField(label=_("Auth group"), queryset=Group.objects.order_by("name"), required=False)
    users = _lines(_("Users"), _("Usernames, each on a line of its own or separated by commas."), rows=3)
    group = _line(
        _("Livepush group"),
        _("Its name, such as order:7. Those get it who have joined the group."),
        wide=False,
        max_length=MAX_GROUP_LENGTH,
    )
    title = _line(_("Title"), _("One line that says what happened."), required=True)
    body = _lines(_("Text"), _("Plain text."), rows=5)
    url = _line(_("Address"), _("Where it leads: a path that begins with /, or a web address."))
    icon = _line(_("Icon"), _("The address of a picture."))
    level = forms.ChoiceField(label=_("Level"), choices=Level.choices, initial=Level.INFO)
    category = _line(_("Category"), _("What the inbox can be filtered by."), wide=False, max_length=MAX_CATEGORY)
    collapse = _line(
        _("Collapse key"),
        _(
            "An entry with the same key in the same inbox becomes this one: it counts one more, moves up and is unread "
            "again. Leave it empty for an entry of its own."
        ),
        wide=False,
        max_length=MAX_COLLAPSE,
    )

    fieldsets: ClassVar[list[tuple[Any, Any]]] = [
        (_("Recipients"), {"fields": ["to", "role", "users", "group"]}),
        (_("Notification"), {"fields": ["title", "body", "url", "level"]}),
        (_("More"), {"fields": ["icon", "category", "collapse"], "classes": ["collapse"]}),
    ]

    recipient: recipients.Recipients
    audiences: list[str]

    def clean_users(self) -> list[str]:
        """Return the users as recipients."""
        named = self.cleaned_data["users"].replace(",", "\n").splitlines()
        names = list(dict.fromkeys(filter(None, map(str.strip, named))))
        found = users_called(names)
        missing = [name for name in names if name not in found]
        if missing:
            listed = ", ".join(missing[:10]) + ("…" if len(missing) > 10 else "")
            raise ValidationError(_("There are no such users: %(names)s"), params={"names": listed})
        return [found[name] for name in names]

    def clean_body(self) -> str:
        """Return the text with plain line ends."""
        return str(self.cleaned_data["body"]).replace("\r\n", "\n")

    def clean(self) -> None:
        """Find out who gets it, and have ``notify`` check it without sending it.

        A recipient is refused that is missing, and one that was filled in but not chosen.
        """
        to = self.cleaned_data.get("to")
        for name in (To.ROLE, To.USERS, To.GROUP):
            if to and name not in self.errors and (name == to) != bool(self.cleaned_data.get(name)):
                self.add_error(name, _("Say which.") if name == to else _("Leave this empty, or choose it above."))
        if to is None or self.errors:
            return
        self.recipient = recipients.everyone if to == To.EVERYONE else self.cleaned_data[to]
        try:
            self.audiences = list(recipients.audiences_of(self.recipient))
            tenants.current()  # where no tenant is active, there is nobody to send to
        except InvalidEvent as error:
            self.add_error(to if to in self.fields else None, str(error))
        self._notify([])  # nobody: it is checked, and nothing is written

    @property
    def content(self) -> dict[str, Any]:
        """What it says, as ``notify`` takes it."""
        return {name: self.cleaned_data[name] for name in SAYS}

    def send(self, key: str) -> bool:
        """Send it once for each key; return whether ``notify`` took it. Its refusals are among the errors then."""
        return self._notify(self.recipient, key)

    def _notify(self, to: recipients.Recipients, key: str | None = None) -> bool:
        try:
            notify(to, **self.content, key=key, using=get_settings().DATABASE)
        except InvalidEvent as error:
            word = str(error).split()[0]  # the name of what is wrong, where it is one field
            self.add_error(word if word in self.fields else None, str(error))
            return False
        return True


def composed_from(sent: Notification) -> dict[str, Any]:
    """Return what the form holds to compose a notification anew; recipients that are gone are left out."""
    return {**_chosen(sent.group), **{name: getattr(sent, name) or "" for name in SAYS}}


def _chosen(audience: str) -> dict[str, Any]:
    audience, recipient = public_name(audience), recipient_of(audience)
    if audience.startswith(USER):
        return {"to": To.USERS, "users": recipient.get_username() if recipient else ""}
    if audience.startswith(AUTH):
        return {"to": To.ROLE, "role": recipient}
    return {"to": To.EVERYONE} if audience == recipients.everyone else {"to": To.GROUP, "group": recipient}
