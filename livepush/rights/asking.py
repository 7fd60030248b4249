"""Asks async rules, each where its queries belong."""

from __future__ import annotations

from functools import partial

from livepush import process
from livepush.access import awaiting, rules
from livepush.access.answers import Answers
from livepush.conf import get_settings


async def ask_left(questions: rules.Questions, answers: Answers, tenant: str | None) -> Answers:
    """Ask the questions that the sync rules have left; return the answers with theirs.

    A tenant's schema is active on the connection of a thread, so its rules share a thread, with a loop of their own.
    """
    if not questions:
        return answers
    limit = get_settings().DATABASE_TIMEOUT
    if tenant is None:
        return await rules.ask_async(questions, answers, limit, process.queries_in_threads)
    limit *= awaiting.SHARE
    return await process.in_thread(partial(rules.ask_async_here, questions, answers, limit, tenant))
