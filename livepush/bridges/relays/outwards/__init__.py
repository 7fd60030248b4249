"""Outward relays: the log is the ordered, transactional outbox of the project.

The journey of an event: ``cursor`` holds the relay's place in the log for one process; ``reading`` reads the events
after it and picks those that the relay wants; ``targets`` finds the broker or webhook that takes them; ``running``
moves the cursor once they are taken, and tries again until they are.
"""
