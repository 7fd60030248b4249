"""What the admin's pages need of the inbox: what an audience is called, who read what, and a form to compose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any, ClassVar

from django import forms
from django.apps import apps
from django.contrib.admin import widgets
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, models
from django.db.models import Q, QuerySet
from django.db.models.functions import Cast
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from livepush.exceptions import InvalidEvent
from livepush.inbox import kinds, recipients
from livepush.inbox.models import InboxState, Level, Membership, Notification, NotificationState
from livepush.inbox.notifying import MAX_CATEGORY, MAX_COLLAPSE, notify
from livepush.inbox.reading import MOST, Entry, Inbox
from livepush.wire import MAX_GROUP_LENGTH, Position

AT_ONCE = 500
"""The most values in one statement."""
USER, AUTH, OF = "user:", "inbox:auth:", "inbox:of:"
RECENT = 1_000
"""How many of the newest notifications are looked through for categories to filter by."""

# What audiences are called


def names_of(audiences: Iterable[str]) -> dict[str, str]:
    """Return what each audience is called, in two queries at most; of some thousand, more."""
    wanted = set(audiences)
    users = _labels(get_user_model(), get_user_model().USERNAME_FIELD, USER, wanted)
    roles = _labels(Group, "name", AUTH, wanted)
    return {audience: _called(audience, users, roles) for audience in wanted}


def _called(audience: str, users: dict[str, str], roles: dict[str, str]) -> str:
    if audience == recipients.everyone:
        return gettext("Everyone")
    if audience.startswith(USER):
        missing = gettext("User %s, who is gone") % audience.removeprefix(USER)
        return gettext("User %s") % users[audience] if audience in users else missing
    if audience.startswith(AUTH):
        missing = gettext("Auth group %s, which is gone") % audience.removeprefix(AUTH)
        return gettext("Users in %s") % roles[audience] if audience in roles else missing
    return gettext("Members of %s") % audience.removeprefix(OF)


def _labels(model: type[models.Model], field: str, prefix: str, audiences: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    pks = [_key(model, each.removeprefix(prefix)) for each in audiences if each.startswith(prefix)]
    for some in _parts([pk for pk in pks if pk is not None]):
        rows = model._default_manager.filter(pk__in=some).values_list("pk", field)
        found |= {f"{prefix}{pk}": str(label) for pk, label in rows}
    return found


def _key(model: type[models.Model], text: str) -> Any:
    """Return the primary key that a text stands for; ``None`` where it can be none."""
    field: Any = model._meta.pk
    try:
        value = field.to_python(text)
        (getattr(field, "target_field", None) or field).run_validators(value)
    except (ValidationError, ValueError):
        return None
    return value if str(value) == text else None


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def user_of(audience: str) -> Any:
    """Return the user who is an audience; ``None`` where it is another, or the user is gone."""
    return _found(get_user_model(), USER, audience)


def role_of(audience: str) -> Group | None:
    """Return the auth group whose users are an audience; ``None`` where it is another, or the group is gone."""
    found: Group | None = _found(Group, AUTH, audience)
    return found


def _found(model: type[models.Model], prefix: str, audience: str) -> Any:
    pk = _key(model, audience.removeprefix(prefix)) if audience.startswith(prefix) else None
    return None if pk is None else model._default_manager.filter(pk=pk).first()


def user_called(name: str) -> Any:
    """Return the primary key of the user with a username; ``None`` where there is none."""
    users = get_user_model()
    return users._default_manager.filter(**{users.USERNAME_FIELD: name}).values_list("pk", flat=True).first()


# Who is in them


def size(audience: str, using: str, sent: Notification | None = None) -> int:
    """Count whom an audience means: now, or those who have a notification in their inbox."""
    if audience.startswith(USER):
        return int(user_of(audience) is not None)
    if audience.startswith(OF):
        return _members(audience, using, sent).count()
    late = _late(audience, using, sent).count() if audience.startswith(AUTH) and sent else 0
    return max(0, _users(audience, sent).count() - late)


def _members(audience: str, using: str, sent: Notification | None) -> QuerySet[Membership]:
    rows = Membership.objects.using(using).filter(group=audience)
    return rows.filter(joined__lt=sent.position) if sent else rows


def _late(audience: str, using: str, sent: Notification) -> QuerySet[Membership]:
    return Membership.objects.using(using).filter(group=audience, joined__gte=sent.position)


def _users(audience: str, sent: Notification | None) -> QuerySet[Any]:
    """Return the users of an auth group, or all who could log in when a notification was sent to everyone."""
    model = get_user_model()
    users: QuerySet[Any] = model._default_manager.all()
    if _has(model, "is_active", models.BooleanField):
        users = users.filter(is_active=True)
    if audience.startswith(AUTH):
        pk = _key(Group, audience.removeprefix(AUTH))
        return users.filter(groups=pk) if hasattr(model, "groups") and pk is not None else users.none()
    if sent and _has(model, "date_joined", models.DateTimeField):
        users = users.filter(date_joined__lte=sent.created)
    return users


def _has(model: type[models.Model], name: str, kind: type[models.Field[Any, Any]]) -> bool:
    try:
        return isinstance(model._meta.get_field(name), kind)
    except FieldDoesNotExist:
        return False


def _readers(audience: str, using: str, sent: Notification) -> Any:
    """Return who has a notification in the inbox, as a subquery of readers; ``None`` where the database can't tell."""
    if audience.startswith(USER):
        return [audience.removeprefix(USER)]
    if audience.startswith(OF):
        return _members(audience, using, sent).values("reader")
    users = _users(audience, sent)
    if users.db != using or not _written_alike(using):
        return None
    readers = users.annotate(livepush_reader=Cast("pk", models.CharField(max_length=64)))
    if audience.startswith(AUTH):
        readers = readers.exclude(livepush_reader__in=_late(audience, using, sent).values("reader"))
    return readers.order_by().values("livepush_reader")


def _written_alike(using: str) -> bool:
    """Return whether the database makes the text of a user's key that ``str()`` does."""
    field: Any = get_user_model()._meta.pk
    field = getattr(field, "target_field", None) or field
    native = connections[using].features.has_native_uuid_field
    return isinstance(field, models.IntegerField | models.CharField) or (isinstance(field, models.UUIDField) and native)


# What they did with a notification


def _marked(sent: Notification, name: str, using: str, roughly: bool = False) -> QuerySet[InboxState] | None:
    """Return the states of those who have read, or archived, a notification; ``None`` where the database can't tell.

    Roughly, of one to everyone, who came later and marked everything is among them. Who has an exception has marks too.
    """
    own = NotificationState.objects.using(using).filter(position=sent.position).values("reader")
    passed = Q(**{f"{name}__gte": sent.position}) & ~Q(reader__in=own.filter(**{name: False}))
    found = InboxState.objects.using(using).filter(passed | Q(reader__in=own.filter(**{name: True})))
    if roughly and sent.group == recipients.everyone:
        return found
    readers = _readers(sent.group, using, sent)
    return None if readers is None else found.filter(reader__in=readers)


def how_many(sent: Notification, name: str, using: str) -> int | None:
    """Count those who have a notification and ``read`` or ``archived`` it; ``None`` where the database can't tell."""
    found = _marked(sent, name, using)
    return None if found is None else found.count()


def reads_of(rows: Iterable[Notification], using: str) -> dict[int, str]:
    """Return how many have read each notification, by primary key, in one query; 99+ stands for more.

    Of one to everyone, who came later and marked everything is counted too: to leave them out takes all users.
    """
    parts: list[str] = []
    params: list[Any] = []
    for row in rows:
        found = _marked(row, "read", using, roughly=True)
        if found is not None:
            sql, values = found.order_by().values("reader")[:MOST].query.get_compiler(using).as_sql()
            parts.append(f"SELECT {int(row.pk)}, COUNT(*) FROM ({sql}) AS e{len(parts)}")  # noqa: S608
            params += values
    if not parts:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), params)
        return {pk: str(count) if count < MOST else f"{MOST - 1}+" for pk, count in cursor.fetchall()}


def entry_of(sent: Notification, using: str) -> Entry | None:
    """Return a user's notification as the user has it; ``None`` where it is an audience's, or the user is gone."""
    user = user_of(sent.group)
    if user is None:
        return None
    entries = Inbox(user, using, Position("", sent.position)).entries([sent.position])
    return entries[0] if entries else None


def categories(using: str) -> list[str]:
    """Return the categories of the registered kinds and of what was notified lately."""
    newest = Notification.objects.using(using).order_by("-position").values_list("category", flat=True)[:RECENT]
    return sorted(filter(None, {kind.category for kind in kinds.registry.values()} | set(newest)))


# To compose one


class To(models.TextChoices):
    """Whom a notification is composed for; but for everyone, the field of this name says which."""

    EVERYONE = "everyone", _("Everyone")
    ROLE = "role", _("The users in an auth group")
    USERS = "users", _("Some users")
    GROUP = "group", _("The members of a livepush group")


WIDE = {"class": "vLargeTextField"}


class ComposeForm(forms.Form):
    """A notification to be sent: to whom, and what it says. It is valid if ``notify`` takes it."""

    to = forms.ChoiceField(label=_("To"), choices=To.choices, widget=widgets.AdminRadioSelect({"class": "radiolist"}))
    role = forms.ModelChoiceField(label=_("Auth group"), queryset=Group.objects.order_by("name"), required=False)
    users = forms.CharField(
        label=_("Users"),
        widget=widgets.AdminTextareaWidget(attrs={"rows": 3}),
        required=False,
        help_text=_("Usernames, each on a line of its own or separated by commas."),
    )
    group = forms.CharField(
        label=_("Livepush group"),
        widget=widgets.AdminTextInputWidget,
        max_length=MAX_GROUP_LENGTH,
        required=False,
        help_text=_("Its name, such as order:7. Those get it who have joined the group."),
    )
    title = forms.CharField(
        label=_("Title"), widget=widgets.AdminTextInputWidget(WIDE), help_text=_("One line that says what happened.")
    )
    body = forms.CharField(
        label=_("Text"),
        widget=widgets.AdminTextareaWidget(attrs={"rows": 5}),
        required=False,
        help_text=_("Plain text."),
    )
    url = forms.CharField(
        label=_("Address"),
        widget=widgets.AdminTextInputWidget(WIDE),
        required=False,
        help_text=_("Where it leads: a path that begins with /, or a web address."),
    )
    icon = forms.CharField(
        label=_("Icon"),
        widget=widgets.AdminTextInputWidget(WIDE),
        required=False,
        help_text=_("The address of a picture."),
    )
    level = forms.ChoiceField(label=_("Level"), choices=Level.choices, initial=Level.INFO)
    category = forms.CharField(
        label=_("Category"),
        widget=widgets.AdminTextInputWidget,
        max_length=MAX_CATEGORY,
        required=False,
        help_text=_("What the inbox can be filtered by."),
    )
    collapse = forms.CharField(
        label=_("Collapse key"),
        widget=widgets.AdminTextInputWidget,
        max_length=MAX_COLLAPSE,
        required=False,
        help_text=_(
            "An entry with the same key in the same inbox becomes this one: it counts one more, moves up and is unread "
            "again. Leave it empty for an entry of its own."
        ),
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
        names = list(dict.fromkeys(filter(None, (name.strip() for name in named))))
        model = get_user_model()
        found: dict[str, Any] = {}
        for some in _parts(names):
            rows = model._default_manager.filter(**{f"{model.USERNAME_FIELD}__in": some})
            found |= dict(rows.values_list(model.USERNAME_FIELD, "pk"))
        missing = [name for name in names if name not in found]
        if missing:
            listed = ", ".join(missing[:10]) + ("…" if len(missing) > 10 else "")
            raise ValidationError(_("There are no such users: %(names)s"), params={"names": listed})
        return [f"{USER}{found[name]}" for name in names]

    def clean_body(self) -> str:
        """Return the text with plain line ends."""
        return str(self.cleaned_data["body"]).replace("\r\n", "\n")

    def clean(self) -> None:
        """Find out who gets it, and have ``notify`` check it without sending it."""
        super().clean()
        self._check_recipients()
        if not self.errors:
            to = self.cleaned_data["to"]
            self.recipient = recipients.everyone if to == To.EVERYONE else self.cleaned_data[to]
            try:
                self.audiences = list(dict.fromkeys(recipients.audiences_of(self.recipient)))
            except InvalidEvent as error:
                self.add_error(to, str(error))
            self._notify([])  # nobody: it is checked, and nothing is written

    def _check_recipients(self) -> None:
        """Refuse a recipient that is missing, and one that was filled in but not chosen."""
        to = self.cleaned_data.get("to")
        for name in (To.ROLE, To.USERS, To.GROUP):
            if to and name not in self.errors and (name == to) != bool(self.cleaned_data.get(name)):
                self.add_error(name, _("Say which.") if name == to else _("Leave this empty, or choose it above."))

    @property
    def content(self) -> dict[str, Any]:
        """What it says, as ``notify`` takes it."""
        names = ("title", "body", "url", "icon", "level", "category", "collapse")
        return {name: self.cleaned_data[name] for name in names}

    def preview(self) -> Notification:
        """Return what a reader will see; it is stored nowhere."""
        return Notification(**self.content)

    def send(self) -> bool:
        """Send it; return whether ``notify`` took it. What it refused is among the errors then."""
        return self._notify(self.recipient)

    def _notify(self, to: recipients.Recipients) -> bool:
        try:
            notify(to, **self.content)
        except InvalidEvent as error:
            word = str(error).split()[0]  # the name of what is wrong, where it is one field
            self.add_error(word if word in self.fields else None, str(error))
            return False
        return True


def composed_from(sent: Notification) -> dict[str, Any]:
    """Return what the form holds to compose a notification anew; recipients that are gone are left out."""
    said = {name: getattr(sent, name) for name in ("title", "body", "url", "icon", "level", "category")}
    return {**_chosen(sent.group), **said, "collapse": sent.collapse or ""}


def _chosen(audience: str) -> dict[str, Any]:
    if audience.startswith(USER):
        user = user_of(audience)
        return {"to": To.USERS, "users": user.get_username() if user else ""}
    if audience.startswith(AUTH):
        return {"to": To.ROLE, "role": role_of(audience)}
    if audience.startswith(OF):
        return {"to": To.GROUP, "group": audience.removeprefix(OF)}
    return {"to": To.EVERYONE}


# To send one again


def recipient_of(audience: str) -> recipients.Recipient | None:
    """Return the recipient that an audience was made of; ``None`` where it is gone."""
    if audience.startswith(USER):
        return audience if user_of(audience) else None
    return role_of(audience) if audience.startswith(AUTH) else audience.removeprefix(OF)


def as_again(sent: Notification) -> Notification:
    """Return what a reader will see of a notification that is sent again; it is stored nowhere."""
    again = copy(sent)
    again.count = sent.count + 1 if sent.collapse else 1
    return again


def send_again(sent: Notification, recipient: recipients.Recipients) -> None:
    """Send a notification of a registered kind once more, of the actor and the target as they are now.

    Of one that is gone its name is left. Raises InvalidEvent, or what the kind raises.
    """
    context = kinds.context_of(sent)
    notify(
        recipient,
        type(kinds.registry[sent.key]),
        icon=sent.icon,
        level=sent.level,
        category=sent.category,
        actor=_again(context.actor),
        target=_again(context.target),
        collapse=sent.collapse or "",
        data=context.data,
    )


def _again(kept: kinds.Snapshot | None) -> Any:
    if kept is None or not kept.model:
        return kept and kept.name
    try:
        model = apps.get_model(kept.model)
    except (LookupError, ValueError):
        return kept.name
    return model._base_manager.filter(pk=_key(model, kept.id)).first() or kept.name
