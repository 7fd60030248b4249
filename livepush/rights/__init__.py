"""Rights that end: takes a client's groups away when the login, the user or the permission ends."""

from __future__ import annotations

from livepush.rights.asking import ask_left
from livepush.rights.confirming import confirm
from livepush.rights.grants import Grant
from livepush.rights.watch import Rights, on_change, rights_of

__all__ = ["Grant", "Rights", "ask_left", "confirm", "on_change", "rights_of"]
