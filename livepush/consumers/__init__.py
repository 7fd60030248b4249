"""The ASGI endpoints: raw applications, since Channels' consumers cost a thread hop a message and a layer channel each."""
