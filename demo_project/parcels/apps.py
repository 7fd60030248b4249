from __future__ import annotations

from django.apps import AppConfig


class ParcelsConfig(AppConfig):
    """A small shop's parcels."""

    name = "demo_project.parcels"
    label = "parcels"
