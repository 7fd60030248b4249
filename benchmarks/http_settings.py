"""The tests' settings without what a site that only publishes does not need, and with lasting connections."""

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework"]  # noqa: F405
ROOT_URLCONF = "benchmarks.http_site"
DATABASES["default"]["CONN_MAX_AGE"] = None  # noqa: F405
MODEL_EVENTS = False
LIVEPUSH = {"PUBLISHED_PER_SECOND": 1e6, "MODEL_EVENTS": False}
