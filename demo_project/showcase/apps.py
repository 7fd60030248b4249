from __future__ import annotations

from django.apps import AppConfig


class ShowcaseConfig(AppConfig):
    """The demo's front page, its tiles, and the scenes that are no part of the shop."""

    name = "demo_project.showcase"
    label = "showcase"
