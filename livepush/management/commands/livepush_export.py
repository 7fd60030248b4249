from __future__ import annotations

import json
from typing import Any

from livepush.inbox.forgetting import export
from livepush.management.users import UserCommand


class Command(UserCommand):
    help = "Print what is kept about a user, as JSON."

    def do(self, user: Any, name: str, options: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(export(user), indent=2, ensure_ascii=False))
