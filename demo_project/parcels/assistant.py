"""Larkpost's assistant: a small generator of text that knows one parcel. It needs no network."""

from __future__ import annotations

import random
from collections.abc import Iterator

from demo_project.parcels.models import Parcel, Status

OPENINGS = ("Let me look.", "Good question.", "One moment, I have your parcel here.")
WHERE = {
    Status.ORDERED: "We have your order for the {item}, and somebody is about to take it off its shelf.",
    Status.PACKED: "Your {item} is packed. It waits at the loading dock for the van to {city}.",
    Status.TRANSIT: "Your {item} is on the road to {city}. The driver scanned it at the last depot, and all was well.",
    Status.OUT: "Your {item} is out for delivery in {city}. It is one of the next stops.",
    Status.DELIVERED: "Your {item} has arrived in {city}. The courier has noted that it was handed over at the door.",
}
ASIDES = (
    "The label reads {code}, which is what you should give us if you call.",
    "The box is small enough for most letter boxes, so you need not be at home.",
    "The weather on the way is calm, and no strike is announced.",
    "If you would rather pick it up, the shop in the old post office keeps parcels for ten days.",
)
CLOSINGS = (
    "This page tells you about the next step by itself.",
    "You can close this page: I go on writing, and you find the whole answer when you come back.",
)


def answer(parcel: Parcel, question: str) -> Iterator[str]:
    """Yield an answer word by word; the same question about the same parcel in the same state gets the same one."""
    dice = random.Random(f"{parcel.code} {parcel.status} {question}")
    facts = {"item": parcel.item.lower(), "city": parcel.city, "code": parcel.code}
    sentences = [dice.choice(OPENINGS), WHERE[Status(parcel.status)], *dice.sample(ASIDES, 3), *CLOSINGS]
    for number, sentence in enumerate(sentences):
        for word in sentence.format(**facts).split(" "):
            yield f"{word} "
        if number in (1, 3):
            yield "\n\n"
