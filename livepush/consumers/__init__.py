"""The ASGI endpoints.

Raw applications: Channels' consumers cost a thread hop a message and a layer channel each.
"""
