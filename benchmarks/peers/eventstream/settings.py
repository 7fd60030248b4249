"""Settings; ``BENCH_STORAGE`` says what keeps the events: ``model`` (a table of PostgreSQL's) or ``none``."""

from __future__ import annotations

import os

from redis.connection import parse_url

from benchmarks.peers import redis_address
from tests.servers.databases import database_settings

broker = parse_url(redis_address())

SECRET_KEY = "benchmarks-only"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["django_eventstream"]
ROOT_URLCONF = "benchmarks.peers.eventstream.urls"
ASGI_APPLICATION = "benchmarks.peers.eventstream.asgi.application"
USE_TZ = True
EVENTSTREAM_REDIS = (
    {"unix_socket_path": broker["path"]}
    if "path" in broker
    else {"host": broker["host"], "port": broker.get("port", 6379), "db": broker.get("db", 0)}
)
if os.environ["BENCH_STORAGE"] == "model":
    DATABASES = database_settings()
    EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
