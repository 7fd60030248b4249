"""The tests' settings with the peer beside livepush; it is to read its data, as its documentation recommends."""

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "notifications"]  # noqa: F405
DJANGO_NOTIFICATIONS_CONFIG = {"USE_JSONFIELD": True}
