from base import *  # noqa: F403
from base import DJANGO

INSTALLED_APPS = [
    *DJANGO, "wagtail.contrib.redirects", "wagtail.embeds", "wagtail.sites", "wagtail.users", "wagtail.snippets",
    "wagtail.documents", "wagtail.images", "wagtail.search", "wagtail.admin", "wagtail", "modelcluster", "taggit",
    "livepush", "blog",
]  # fmt: skip
MIDDLEWARE = [*MIDDLEWARE, "wagtail.contrib.redirects.middleware.RedirectMiddleware"]  # noqa: F405
WAGTAIL_SITE_NAME, WAGTAILADMIN_BASE_URL = "blog", "http://127.0.0.1"
MIGRATION_MODULES = {"blog": "made_migrations"}
