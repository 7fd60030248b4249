"""The admin's page with the figures of all processes, which keeps itself up to date."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from livepush.conf import get_settings
from livepush.inbox.admin.lists import ReadOnlyAdmin

EVERY = 2
"""How often (seconds) the page looks for new figures."""


class ProcessFiguresAdmin(ReadOnlyAdmin):
    """One page for all rows. In a project with tenants only superusers see it: the figures are those of all tenants."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_view_permission(request, obj)
        return allowed and (not get_settings().TENANT or bool(getattr(request.user, "is_superuser", False)))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the figures."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        from livepush.bridges.metrics.overview import context_of, overview  # none of it before it is looked at

        settings = get_settings()
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Live figures"),
            "opts": self.opts,
            "every": EVERY,
            "interval": settings.METRICS_INTERVAL,
            "is_on": bool(settings.METRICS_TOKEN or settings.METRICS_ALLOWED),
            **context_of(overview()),
            **(extra_context or {}),
        }
        response = TemplateResponse(request, "admin/livepush/processfigures/change_list.html", context)
        response["Cache-Control"] = "private, no-store"
        return response
