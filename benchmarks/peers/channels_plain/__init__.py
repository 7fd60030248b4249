"""A plain Channels project: one consumer, one group."""
