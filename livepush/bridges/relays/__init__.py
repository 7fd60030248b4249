"""Relays: what comes from a message broker becomes events, exactly once.

The journey of a message: ``brokers`` receives it through FastStream, in batches; ``mapping`` says which events it
becomes; ``taking`` appends them and stores the broker's offset in the same transaction; ``running`` begins again from
the stored offset after any failure.
"""
