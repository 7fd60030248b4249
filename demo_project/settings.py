"""The demo's settings: SQLite, no channel layer, nothing to install but Python packages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent

LAN_ADDRESS = os.environ.get("DEMO_LAN_ADDRESS", "")
"""This computer's address on its network, if the demo was started for the phones there."""
DEBUG = not LAN_ADDRESS
SECRET_KEY = "demo-only: choose your own"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *([LAN_ADDRESS] if LAN_ADDRESS else [])]
ROOT_URLCONF = "demo_project.urls"
ASGI_APPLICATION = "demo_project.asgi.application"

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "livepush",
    "demo_project.parcels",
    "demo_project.showcase",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "demo_project.csp.ContentSecurityPolicy",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT.parent / "templates"],
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": PROJECT / "demo.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", "English"),
    ("de", "German"),
    ("fr", "French"),
    ("es", "Spanish"),
    ("ja", "Japanese"),
    ("ar", "Arabic"),
]
LANGUAGE_COOKIE_NAME = "livepush_demo_language"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [PROJECT / "static"]

PORT = os.environ.get("DEMO_PORT", "8000")
PARTNER_SECRET = "whsec_bGFya3Bvc3QncyBwYXJ0bmVyLCBmb3IgdGhlIGRlbW8="
EVENTSTREAM_CHANNELMANAGER_CLASS = "demo_project.showcase.bridged.Channels"
LIVEPUSH: dict[str, Any] = {
    # scene: pusher
    "PUSHER": {"APP_ID": "1", "KEY": "larkpost", "SECRET": "demo-only: choose your own"},
    # scene: end
    "MERCURE": {"KEY": "demo-only: a key of thirty-two bytes or more"},
    # scene: figures
    "METRICS_ALLOWED": "demo_project.showcase.bridged.anyone",
    # scene: end
    "METRICS_INTERVAL": 2,
    "RELAYS": {
        # scene: webhooks
        "partner": {
            "DIRECTION": "out",
            "URL": f"http://127.0.0.1:{PORT}/webhooks/receive/",
            "SECRET": PARTNER_SECRET,
            "GROUPS": ["partner"],
            # scene: end
            "ALLOW_HTTP": True,
        },
    },
}

if "DEMO_GRIP" in os.environ:  # demo_project.edge sets it
    LIVEPUSH["GRIP"] = json.loads(os.environ["DEMO_GRIP"])
if "DEMO_BROKER" in os.environ:  # demo_project.broker sets it
    LIVEPUSH["RELAYS"] = {
        "parcels": {
            "DIRECTION": "out",
            "URL": os.environ["DEMO_BROKER"],
            "STREAM": "larkpost.parcels",
            "GROUPS": ["board"],
            "MAXLEN": 10_000,
        },
        "calls": {
            "URL": os.environ["DEMO_BROKER"],
            "STREAM": "larkpost.calls",
            "GROUP": "eventstream:desk",
        },
    }

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {name: {"level": "ERROR"} for name in ("django.channels.server", "django.request")},
}

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "orders"
LOGOUT_REDIRECT_URL = "home"
SECONDS_BETWEEN_MOVES = 0.9  # of the parcels, on average; "manage.py simulate" moves them
SESSION_COOKIE_NAME = "livepush_demo_session"
CSRF_COOKIE_NAME = "livepush_demo_csrf"
