"""Rules, events and a receiver that use a table of the tenant's own schema."""

from __future__ import annotations

import asyncio

import livepush
from tests.projects.schemas.notes.models import Note


@livepush.can_read("board")
def board(user):
    return True


@livepush.can_read("note:<int:pk>")
def note(user, pk):
    return Note.objects.filter(pk=pk).exists()


@livepush.can_read("later:<int:pk>")
async def later(user, pk):
    await asyncio.sleep(0.01)  # lets the rules of others run
    return await Note.objects.filter(pk=pk).aexists()


@livepush.register(Note)
class NoteLive(livepush.ModelEvents):
    fields = ("text",)


def keep(notification, **kwargs):
    """Write down in the tenant's own table what was notified."""
    Note.objects.bulk_create([Note(text=f"notified: {notification.title}")])


livepush.notified.connect(keep)
