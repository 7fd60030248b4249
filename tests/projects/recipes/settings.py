from base import *  # noqa: F403
from base import DJANGO, MIDDLEWARE
from recipe_settings import LIVEPUSH  # noqa: F401 (the test writes it down from the manual)

AUTH_USER_MODEL = "people.User"
SECRET_KEY = "projects only, and long enough for a digest of SHA-256"
INSTALLED_APPS = [
    *DJANGO,
    "rest_framework",
    "rest_framework.authtoken",
    "rest_framework_simplejwt",
    "allauth",
    "allauth.account",
    "allauth.headless",
    "livepush",
    "people",
    "mysite",
]
MIDDLEWARE = [*MIDDLEWARE, "allauth.account.middleware.AccountMiddleware"]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
ACCOUNT_EMAIL_VERIFICATION = "none"
HEADLESS_CLIENTS = ("app",)
