"""Relays: what comes from a message broker becomes events, and events go out to brokers and webhooks.

The journey of a message: ``brokers`` receives it through FastStream, in batches, or ``queues`` where messages have no
offsets; ``mapping`` says which events it becomes; ``taking`` appends them, and stores the broker's offset or the
message's key in the same transaction; ``running`` begins again from there after any failure. ``outwards`` has the way
out.
"""
