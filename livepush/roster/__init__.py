"""Presence: who is there in a group, in all processes.

``book`` knows which clients of one event loop make a user a member of a group; ``keeper`` writes that down in batches,
off the event loop; ``table`` holds the rows of all processes and sends the events; ``changes`` decides both by pure
functions; ``leases`` says which processes have died; ``reading`` is for those who ask. The package is not called
``presence``, since ``livepush.presence`` is the rule's decorator.
"""
