"""Ephemeral events that reach nobody: the log of the process that sends them says so once."""

from __future__ import annotations

import pytest

import livepush
from livepush import hints, notes
from livepush.hub.registry import hubs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing was noted before the test."""
    monkeypatch.setattr(notes, "_noted", set())


def said(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "livepush"]


def test_an_ephemeral_event_that_nobody_can_get_is_warned_of_once(settings, caplog):
    settings.LIVEPUSH = {"HINT": "none"}
    for _ in range(2):
        livepush.send("board", "load", 1, ephemeral=True)
    [(level, text)] = said(caplog)
    assert level == "WARNING"
    assert text.startswith("No hint reaches other processes and this one serves no clients, so nobody got an ephemeral")


def test_one_that_is_stored_is_not_spoken_of(settings, caplog):
    settings.LIVEPUSH = {"HINT": "none"}
    livepush.send("board", "load", 1)
    assert said(caplog) == []


def test_one_that_a_hub_of_the_process_delivers_is_not_spoken_of(settings, caplog):
    settings.LIVEPUSH = {"HINT": "none"}
    heard = []

    class Own:
        def receive_soon(self, batch):
            heard.append(batch)

    own = Own()
    hubs.add(own)
    try:
        livepush.send("board", "load", 1, ephemeral=True)
    finally:
        hubs.discard(own)
    assert len(heard) == 1
    assert said(caplog) == []


def test_one_that_a_hint_takes_to_others_is_not_spoken_of(caplog, monkeypatch):
    told = []
    monkeypatch.setattr(hints, "chosen", lambda: hints.Hint.NOTIFY)
    monkeypatch.setattr(hints.notify, "announce", told.append)
    livepush.send("board", "load", 1, ephemeral=True)
    assert len(told) == 1
    assert said(caplog) == []
