import os

SECRET_KEY = "projects-only"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["daphne", "django_eventstream", "django.contrib.auth", "django.contrib.contenttypes"]
ROOT_URLCONF = "chat.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["CHAT_DATABASE"],
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EVENTSTREAM_STORAGE_CLASS = os.environ.get("CHAT_STORAGE", "django_eventstream.storage.DjangoModelStorage")
EVENTSTREAM_CHANNELMANAGER_CLASS = "chat.managers.Manager"
EVENTSTREAM_ALLOW_ORIGINS = ["https://app.example.com"]
EVENTSTREAM_ALLOW_HEADERS = "Last-Event-ID"
