from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from demo_project.parcels.models import Movement, Parcel


@admin.action(description="Advance to the next status")
def advance(model_admin: Any, request: HttpRequest, parcels: QuerySet[Parcel]) -> None:
    """Advance each, so that each sends its event."""
    for parcel in parcels:
        parcel.advance()


class MovementInline(admin.TabularInline):  # type: ignore[type-arg]
    """A parcel's lines in the book."""

    model = Movement
    fields = ("number", "status", "at")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Parcel | None = None) -> bool:
        """Keep the book as it was written."""
        return False


@admin.register(Parcel)
class ParcelAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Parcels; change a status and watch the board."""

    list_display = ("code", "status", "item", "city", "customer", "eta", "movement")
    list_editable = ("status",)
    list_filter = ("status", "customer")
    list_select_related = ("customer",)
    search_fields = ("code", "item", "city")
    readonly_fields = ("movement", "updated")
    inlines = (MovementInline,)
    actions = (advance,)
