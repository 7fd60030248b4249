"""Pushpin in front of a WSGI site: the proxy holds the clients' streams and polls, by the GRIP protocol.

``channels`` names the proxy's channels, ``holds`` tells it what to hold, ``items`` and ``sending`` publish to it, and
``views`` answers its requests. The proxy asks for what it misses by a link with the position up to which a client has
everything, so that nothing is lost if an item is. See ``docs/grip.md``.

The protocol: https://pushpin.org/docs/protocols/grip/
"""
