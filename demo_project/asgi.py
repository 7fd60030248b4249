"""The one line that differs from any other project's is the import."""

from __future__ import annotations

import os

from livepush.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

application = get_asgi_application()
