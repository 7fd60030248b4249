"""Identifies users, and decides which groups they may read and send to."""
