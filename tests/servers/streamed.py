"""The tests' site, counted as by ``probe``, with each stream that Django sends: those of two bridges, and of a view."""

from __future__ import annotations

from tests.servers.probe import application  # isort: skip (it sets Django up, which livepush's modules need)

from tests.servers import channels, mercure

__all__ = ["application", "channels", "mercure"]
