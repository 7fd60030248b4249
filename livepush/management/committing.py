"""The base of livepush's commands that write."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from livepush import publish


class CommittingCommand(BaseCommand):
    """A command that commits what it does, also with autocommit off. Called by code, it leaves that to the caller."""

    def run_from_argv(self, argv: list[str]) -> None:
        with publish.committing():
            super().run_from_argv(argv)
