"""``python -m demo_project.broker [URL]``: the demo's parcels go to a Redis or Valkey, and calls come from there."""

from __future__ import annotations

import os
import socket
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from importlib.util import find_spec
from urllib.parse import urlsplit

ABOUT = """
Connect the demo with a message broker: Redis or Valkey.

  out  each move of a parcel becomes an entry of the stream larkpost.parcels
  in   each entry of the stream larkpost.calls becomes a call on the demo's page "A plain EventSource"

Start the demo first, in another terminal. This program runs until Ctrl-C stops it, and goes on where it stopped.
For NATS, RabbitMQ, MQTT and Kafka see the manual: docs/relays.md and docs/outwards.md.
"""
PACKAGES = ("faststream", "redis")
MISSING = 'A package is missing: .venv-demo/bin/python -m pip install --editable ".[relays]" "faststream[redis]"'
SILENT = """Nothing answers at {host}:{port}. Start a broker there, for example one of
  sudo apt-get install valkey-server
  sudo apt-get install redis-server
  docker run --rm -p 6379:6379 valkey/valkey
or give the address of another one: .venv-demo/bin/python -m demo_project.broker redis://host:port"""
TOLD = """
  Moves go to the stream larkpost.parcels. Read them:
    redis-cli -u {url} XREAD BLOCK 0 STREAMS larkpost.parcels '$'

  Calls come from the stream larkpost.calls. Call, and look at the demo's page /eventstream/:
    redis-cli -u {url} XADD larkpost.calls '*' data '{{"text": "Hello from a broker"}}'
    .venv-demo/bin/python -m demo_project.broker {url} --say 'Hello from a broker'

  Ctrl-C stops it.

"""


def main() -> None:
    """Relay until it is stopped, or say one thing."""
    options = _options()
    _check(options.url)
    if options.say is not None:
        _say(options.url, options.say)
        return
    os.environ["DEMO_BROKER"] = options.url
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    sys.stdout.write(TOLD.format(url=options.url))
    sys.stdout.flush()
    call_command("livepush_relay", "parcels", "calls", verbosity=2)


def _options() -> Namespace:
    parser = ArgumentParser(
        prog="python -m demo_project.broker", description=ABOUT, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", default="redis://127.0.0.1:6379", help="the broker; %(default)s by default")
    parser.add_argument("--say", metavar="TEXT", help="put one call into the stream larkpost.calls, and end")
    options = parser.parse_args()
    if urlsplit(options.url).scheme not in ("redis", "valkey"):
        parser.error(f"{options.url!r} is not the address of a Redis or Valkey: expected redis://host:port.")
    return options


def _check(url: str) -> None:
    """Exit with a sentence if something is missing."""
    if not all(map(find_spec, PACKAGES)):
        sys.exit(MISSING)
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    try:
        socket.create_connection((host, port), 3).close()
    except OSError:
        sys.exit(SILENT.format(host=host, port=port))


def _say(url: str, text: str) -> None:
    import json

    from redis import Redis

    with Redis.from_url(f"redis://{url.partition('://')[2]}") as client:
        client.xadd("larkpost.calls", {"data": json.dumps({"text": text})})


if __name__ == "__main__":
    main()
