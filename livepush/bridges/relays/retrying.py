"""Relays dead letters again."""

from __future__ import annotations

import json
from contextlib import suppress

from livepush import green
from livepush.bridges.relays.config import Relay, relay
from livepush.bridges.relays.mapping import Unmappable
from livepush.bridges.relays.models import DeadLetter
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Target, target_of
from livepush.bridges.relays.taking import retry
from livepush.cancelling import contained
from livepush.conf import get_settings
from livepush.notes import one_line


class StillDead(Exception):
    """The letter can't be relayed now either."""


def try_again(letter: DeadLetter) -> None:
    """Relay a letter, whichever its direction, and delete it.

    Raises StillDead, and ImproperlyConfigured: there is no such relay any more.
    """
    found = relay(letter.relay)
    try:
        if isinstance(found, Relay):
            retry(letter, found)
        else:
            green.to_sync(_send)(target_of(found), Outbound(**json.loads(letter.content)))
            DeadLetter.objects.using(get_settings().DATABASE).filter(pk=letter.pk).delete()
    except Unmappable as error:
        raise StillDead(str(error)) from error


async def _send(target: Target, message: Outbound) -> None:
    try:
        with contained():
            await target.open()
            await target.send([message])
    except Exception as error:
        raise StillDead(one_line(error)) from error
    finally:
        with suppress(Exception):
            await target.close()
