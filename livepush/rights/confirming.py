"""Makes sure that what a client was let in for is still true when its first event is sent."""

from __future__ import annotations

from functools import partial

from livepush import process
from livepush.access import identity
from livepush.access.answers import Answers
from livepush.access.identity import Admission, Asked, Handshake
from livepush.rights.asking import ask_left
from livepush.rights.questions import Question, ask_again
from livepush.rights.watch import Rights
from livepush.wire import unavailable

MAX_ROUNDS = 5
"""How often a client is asked about again, one change after another, before it must come back later."""


async def confirm(rights: Rights, found: Admission, view: Handshake, heard: int) -> tuple[Admission, int]:
    """Ask again for as long as changes that concern a client are heard of, since ``heard`` had this value.

    Rules take their time, and a client chooses how many are asked. Return what it may read, and ``heard`` of now.

    Raises WireError: it may read nothing any more, or changes follow one another too fast.
    """
    for _ in range(MAX_ROUNDS):
        if not rights.has_changed(found.identity, view, found.tenant, heard):
            return found, rights.heard
        heard = rights.heard
        found = await _asked_again(found, view)
        identity.check_granted(found)
    raise unavailable()


async def _asked_again(found: Admission, view: Handshake) -> Admission:
    question = Question(found.identity, view, found.granted, found.tenant)
    [answer] = await process.in_thread(partial(ask_again, [question]))
    said = await ask_left(answer.questions, answer.answers, found.tenant)
    asked = Asked(answer.identity, said, [], found.tenant)
    return identity.admission(asked, found.asked, Answers(said.granted, said.failed | found.failed))
