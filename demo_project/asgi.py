"""Another project changes one line here, the import. The demo also wraps it in faults, for the page Chaos."""

from __future__ import annotations

import os

from demo_project.showcase.faults import Faults
from livepush.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")

application = Faults(get_asgi_application())
