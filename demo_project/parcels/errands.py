"""The work that the shop's worker does on request, in a process of its own: it answers questions, and imports depots.

It writes streams. So a page may be reloaded or opened elsewhere meanwhile, and the web server may be replaced.
"""

from __future__ import annotations

import threading
import time

from django.db import connection, transaction

from demo_project.parcels import assistant
from demo_project.parcels.models import Errand, Parcel
from demo_project.parcels.shop import CITIES
from livepush import streams

LOOK = 0.2
WORD, ROW = 0.11, 0.09
"""How long (seconds) the worker takes between two looks, words and rows."""
IMPORTS = "imports"
"""The group of the imports."""


def work(ended: threading.Event) -> None:
    """Do errands until the worker ends, each in a thread of its own."""
    while not ended.wait(LOOK):
        for errand in take():
            threading.Thread(target=do, args=(errand,), daemon=True).start()


def take() -> list[Errand]:
    """Return the errands that nobody does yet; they are taken from now on."""
    with transaction.atomic():
        found = list(Errand.objects.filter(stream="").select_related("parcel"))
        Errand.objects.filter(pk__in=[errand.pk for errand in found]).update(stream="-")
    return found


def do(errand: Errand) -> None:
    """Do one errand."""
    try:
        if errand.parcel is None:
            import_depots(errand)
        else:
            answer(errand, errand.parcel)
    finally:
        connection.close()


def answer(errand: Errand, parcel: Parcel) -> None:
    """Answer a question about a parcel, word by word."""
    # scene: answer
    with streams.open(parcel, metadata={"question": errand.text}) as stream:
        note(errand, stream.id)
        for word in assistant.answer(parcel, errand.text):
            stream.write(word)
            # scene: end
            time.sleep(WORD)


def import_depots(errand: Errand) -> None:
    """Go through the depots, with a log and a bar that grows."""
    # scene: job
    with streams.open(IMPORTS, metadata={"title": errand.text}) as log:
        note(errand, log.id)
        log.write_line(f"Reading depots.csv: {len(CITIES)} rows", progress=0)
        for number, city in enumerate(CITIES, 1):
            time.sleep(ROW)
            problem = "" if city.isascii() else "  (its name has letters that the old scanner can't print)"
            log.write_line(f"{number:>2}  {city}{problem}", progress=number / len(CITIES))
            # scene: end
        log.write_line("Done: nothing was lost.")


def note(errand: Errand, stream: str) -> None:
    """Note where an errand's stream is, for pages that come later."""
    Errand.objects.filter(pk=errand.pk).update(stream=stream)
