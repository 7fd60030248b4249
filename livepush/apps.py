from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class LivepushConfig(AppConfig):
    """Livepush; finds the rules and model events in every app's ``live.py``."""

    name = "livepush"
    verbose_name = _("Live notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from livepush import checks, positions  # noqa: F401 (registers the checks)
        from livepush.inbox import filing, recipients

        positions.connect()
        filing.connect()
        recipients.connect()
        autodiscover_modules("live")
