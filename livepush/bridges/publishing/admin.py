"""The admin's pages for API keys: a key is shown once, when it is made or rotated."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from livepush import tenants
from livepush.bridges.publishing import keys
from livepush.bridges.publishing.models import ApiKey
from livepush.conf import get_settings
from livepush.exceptions import InvalidApiKey, InvalidGroup

FIELDS = ("name", "groups", "types", "recipients", "expires")


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """The rights of a key, checked as ``create_key`` checks them."""

    class Meta:
        model = ApiKey
        fields = FIELDS

    def clean(self) -> dict[str, Any] | None:
        found = super().clean()
        if not self.errors:
            row = ApiKey(**{name: self.cleaned_data[name] for name in FIELDS})
            try:
                keys.check(row)
                tenants.current()  # where no tenant is active, it would be nobody's key
            except (InvalidApiKey, InvalidGroup) as error:
                raise forms.ValidationError(str(error)) from error
            self.cleaned_data |= {name: getattr(row, name) for name in ("groups", "types", "recipients")}
        return found


class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The active tenant's keys, in the database that ``LIVEPUSH["DATABASE"]`` names."""

    form = ApiKeyForm
    list_display = ("name", "prefix", "created", "expires", "revoked", "last_used")
    search_fields = ("name", "prefix")
    ordering = ("name",)
    readonly_fields = ("prefix", "created", "revoked", "last_used")
    actions = ("rotate", "revoke")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        rows = super().get_queryset(request).using(get_settings().DATABASE)
        try:
            return rows.filter(keys.own_keys())
        except InvalidGroup:  # no tenant is active
            return rows.none()

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            obj.save(using=get_settings().DATABASE, update_fields=FIELDS)
        else:
            self._show(request, keys.issue(obj), obj.name)

    @admin.action(
        description=_("Rotate the selected API keys: the old ones work for one more hour"), permissions=["change"]
    )
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Give each key a new secret, and show it."""
        for row in queryset.filter(revoked=None):
            try:
                self._show(request, keys.rotate_key(row.prefix), row.name)
            except InvalidApiKey as error:  # it has ended
                self.message_user(request, str(error), messages.ERROR)

    @admin.action(description=_("Revoke the selected API keys"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """End each key for good."""
        for row in queryset:
            keys.revoke_key(row.prefix)
        self.message_user(request, _("The API keys work no more."), messages.SUCCESS)

    def _show(self, request: HttpRequest, key: str, name: str) -> None:
        text = _("The API key of %(name)s is %(key)s. Copy it now: it is not shown again.")
        self.message_user(request, text % {"name": name, "key": key}, messages.WARNING)
