from base import *  # noqa: F403
from base import DJANGO

INSTALLED_APPS = [*DJANGO, "rest_framework", "rest_framework.authtoken", "livepush", "articles"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
