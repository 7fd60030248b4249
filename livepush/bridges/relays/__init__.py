"""Relays: what comes from a message broker becomes events, and events go out to brokers and webhooks.

The journey of a message: ``brokers`` receives it through FastStream, in batches, or ``queues`` where messages have no
offsets, or ``kafka``; ``mapping`` says which events it becomes; ``taking`` appends them, and stores the broker's offset
or the message's key in the same transaction (``partitions``: the offset of each of Kafka's); ``running`` begins again
from there after any failure. ``outwards`` has the way out.
"""
