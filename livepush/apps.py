from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class LivepushConfig(AppConfig):
    """Livepush; finds the rules and model events in every app's ``live.py``."""

    name = "livepush"
    verbose_name = _("Live notifications")
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        super().import_models()
        for package in ("receiving", "inbox", "roster", "streams"):
            import_module(f"livepush.{package}.models")  # packages that the log's models do not import
        for bridge in ("publishing", "metrics", "pusher", "relays"):
            import_module(f"livepush.bridges.{bridge}.models")

    def ready(self) -> None:
        from livepush import checks, deploy_checks, hint_checks, hints, name_checks, routing, server_checks  # noqa: F401 (registers them)
        from livepush.bridges import lazily
        from livepush.bridges.relays import forgetting as forgetting_letters
        from livepush.inbox import checking as inbox_checking  # noqa: F401 (registers a check)
        from livepush.inbox import filing, forgetting, loading, roles
        from livepush.page import positions
        from livepush.receiving import checking, once  # noqa: F401 (so does checking)
        from livepush.rights import announcing, logouts
        from livepush.roster import forgetting as forgetting_presence
        from livepush.roster import keeper
        from livepush.streams import connecting, deleting

        positions.connect()
        filing.connect()
        roles.connect()
        forgetting.connect()
        announcing.connect()
        logouts.connect()
        once.connect()
        loading.connect()
        connecting.connect()
        keeper.connect()
        forgetting.kept.append(forgetting.Kept("presence", forgetting_presence.rows_about, forgetting_presence.forget))
        forgetting.kept.append(forgetting.Kept("streams", deleting.rows_about, deleting.forget, deleting.exported))
        letters = forgetting.Kept("dead letters", forgetting_letters.rows_about, forgetting_letters.forget)
        forgetting.kept.append(letters)
        forgetting_letters.connect()
        routing.registered.append(_doctor)
        routing.registered.append(lazily.endpoints)
        lazily.connect()
        autodiscover_modules("live")
        hints.prepare()


def _doctor(base: str) -> dict[tuple[str, str], Any]:
    from livepush.doctor.endpoint import endpoints

    return endpoints(base)
