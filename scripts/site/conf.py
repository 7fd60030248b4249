"""Settings of Sphinx, which makes the documentation site. ``make docs`` runs it."""

from __future__ import annotations

import django
from django.conf import settings

import livepush

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "livepush"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

project = "livepush"
author = "The livepush developers"
copyright = f"2026, {author}"
version = release = livepush.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 6
myst_links_external_new_tab = False
autodoc_member_order = "alphabetical"
autodoc_typehints = "signature"
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"livepush {release}"
html_show_sphinx = False
html_copy_source = False
