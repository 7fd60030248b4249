"""The Pusher Channels protocol on livepush's log and rules: for Pusher's client libraries, and for Laravel Echo.

A client connects to ``/app/<key>``, servers publish to ``/apps/<id>/events``, and ``pusher/auth`` signs what a user may
read. ``docs/pusher.md`` shows how to mount it. Without ``LIVEPUSH["PUSHER"]`` nothing of it is imported but its table.
"""
