"""The tests' settings; the databases are those that the plugin started."""

from __future__ import annotations

import json
import os

from tests.servers.databases import database_settings

SECRET_KEY = "tests-only"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver", ".shop.test"]
INSTALLED_APPS = [
    *(["daphne"] if os.environ.get("LIVEPUSH_TEST_RUNSERVER") else []),  # it is most of what a process takes to start
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "livepush",
    "tests.shop",
    "tests.archive",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    *(["django.middleware.locale.LocaleMiddleware"] if os.environ.get("LIVEPUSH_TEST_LOCALE") else []),
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
if os.environ.get("LIVEPUSH_TEST_TENANTS"):
    MIDDLEWARE.insert(0, "tests.shop.subdomains.middleware")
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = database_settings()
if any(database["ENGINE"].endswith("mysql") for database in DATABASES.values()):  # it takes a process long to import
    import pymysql

    pymysql.install_as_MySQLdb()
if os.environ.get("LIVEPUSH_TEST_BACKEND"):
    AUTHENTICATION_BACKENDS = [os.environ["LIVEPUSH_TEST_BACKEND"]]
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "tests.asgi.application"
WSGI_APPLICATION = "tests.wsgi.application"
STATIC_URL = os.environ.get("LIVEPUSH_TEST_STATIC", "/static/")
FORCE_SCRIPT_NAME = os.environ.get("LIVEPUSH_TEST_SCRIPT_NAME")
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LIVEPUSH = json.loads(os.environ.get("LIVEPUSH_TEST_SETTINGS", "{}"))

layer = os.environ.get("LIVEPUSH_TEST_LAYER", "none")
redis_url = os.environ.get("LIVEPUSH_TEST_REDIS", "")
if layer == "pubsub":
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_url]},
        }
    }
elif layer == "core":
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                "hosts": [redis_url],
                "capacity": int(os.environ.get("LIVEPUSH_TEST_CAPACITY", "100")),
            },
        }
    }
elif layer != "none":  # as JSON: the layer, and the app that it needs
    found = json.loads(layer)
    CHANNEL_LAYERS = {"default": {"BACKEND": found["backend"], "CONFIG": found["config"]}}
    INSTALLED_APPS += found["apps"]
if os.environ.get("LIVEPUSH_TEST_SESSIONS"):
    SESSION_ENGINE = f"django.contrib.sessions.backends.{os.environ['LIVEPUSH_TEST_SESSIONS']}"
    SESSION_FILE_PATH = os.environ["LIVEPUSH_TEST_CACHE"]
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": os.environ["LIVEPUSH_TEST_CACHE"],
        }
    }
if os.environ.get("LIVEPUSH_TEST_ATOMIC"):
    DATABASES["default"]["ATOMIC_REQUESTS"] = True
