"""The ASGI endpoints.

They are plain ASGI applications: a Channels consumer costs a thread switch for each message, and a layer channel.
"""
