"""Settings; ``BENCH_LAYER`` names the layer, ``core`` or ``pubsub``, each with no more set than it needs to work."""

from __future__ import annotations

import os

from benchmarks.peers import redis_address

LAYERS = {
    "core": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # It waits for messages 5 seconds at a time. From redis-py 8 on, reading times out after as long by default,
        # which ends every consumer that has had nothing for 5 seconds.
        "CONFIG": {"hosts": [{"address": redis_address(), "socket_timeout": None}]},
    },
    "pubsub": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [redis_address()]},
    },
}

SECRET_KEY = "benchmarks-only"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["channels"]
ROOT_URLCONF = "benchmarks.peers.channels_plain.urls"
ASGI_APPLICATION = "benchmarks.peers.channels_plain.asgi.application"
CHANNEL_LAYERS = {"default": LAYERS[os.environ["BENCH_LAYER"]]}
