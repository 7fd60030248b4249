"""Lists of rows that nobody edits; those of the inbox are long, and say audiences by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.inbox.admin.audiences import USER, names_of
from livepush.inbox.admin.figures import categories
from livepush.inbox.recipients import everyone
from livepush.inbox.tenancy import AUTH, OF, own_rows, stored


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows to look at and not to touch, of the active tenant, in the database that ``LIVEPUSH["DATABASE"]`` names."""

    tenant_field = "group"
    """The field that names the tenant."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return own_rows(super().get_queryset(request).using(get_settings().DATABASE), self.tenant_field)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class NewestPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the newest rows: to count all of a large table takes longer than to show them."""

    max_count = 100_000

    @cached_property
    def count(self) -> int:
        """The number of rows, ``max_count`` at most."""
        rows: Any = self.object_list
        return int(rows[: self.max_count].count())


class InboxAdmin(ReadOnlyAdmin):
    """Rows of large tables, the newest first, with audiences that are called by name."""

    paginator = NewestPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    list_per_page = 25

    def audiences_in(self, row: Any) -> Iterable[str]:
        """Return the audiences that a row names."""
        return [row.group]

    def also_found(self, term: str) -> Q:
        """Return a condition of what is found besides what has the term in it."""
        raise NotImplementedError

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the list, with the names of its audiences looked up for all rows at once."""
        found = super().get_changelist_instance(request)
        names = names_of(audience for row in found.result_list for audience in self.audiences_in(row))
        for row in found.result_list:
            row.names = names
        if found.result_count == NewestPaginator.max_count:
            found.title = _("The newest %(count)d %(names)s") % {
                "count": found.result_count,
                "names": self.opts.verbose_name_plural,
            }
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find what has the term in it, and what is of a user or a group called so."""
        found, duplicates = super().get_search_results(request, queryset, search_term)
        term = search_term.strip()
        if not term:
            return found, duplicates
        try:
            return found | queryset.filter(self.also_found(term)), duplicates
        except InvalidGroup:  # no tenant is active
            return queryset.none(), duplicates

    @admin.display(description=_("audience"))
    def audience(self, row: Any) -> str:
        """Return what the audience is called."""
        return self.called(row, row.group)

    def called(self, row: Any, audience: str) -> str:
        """Return what an audience that a row names is called."""
        names: dict[str, str] = getattr(row, "names", None) or names_of([audience])
        return names[audience]


class AudienceFilter(admin.SimpleListFilter):
    """Notifications by the kind of their audience."""

    title = _("audience")
    parameter_name = "audience"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            (everyone, _("everyone")),
            (AUTH, _("auth groups")),
            (OF, _("members of groups")),
            (USER, _("single users")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        try:
            return queryset.filter(**{"group" if value == everyone else "group__startswith": stored(value)})
        except InvalidGroup:  # no tenant is active
            return queryset.none()


class CategoryFilter(admin.SimpleListFilter):
    """Notifications by their category; those that are offered cost no look at the whole table."""

    title = _("category")
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        offered = {*categories(), request.GET.get(self.parameter_name) or ""} - {""}
        return [(name, name) for name in sorted(offered)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(category=self.value()) if self.value() else queryset
