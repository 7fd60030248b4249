"""``python -m demo_project.mercure``: a Mercure subscriber and a publisher of the running demo."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ABOUT = """
Follow the demo as a subscriber of a Mercure hub does, or publish to it. Neither uses code of livepush's.

Start the demo (make demo), then this in a second terminal, and say something in a third:

  .venv-demo/bin/python -m demo_project.mercure
  .venv-demo/bin/python -m demo_project.mercure --say "The van to Ghent leaves"

Stop the first with Ctrl-C, say something, and go on with --after and the last id that it has printed.
"""
KEY = "demo-only: a key of thirty-two bytes or more"
"""The one in ``demo_project.settings``: a publisher elsewhere has a copy of its own."""
TOPIC = "https://larkpost.example/desks/{desk}"
DESK = "https://larkpost.example/desks/1"
MISSING = "PyJWT is missing. Use the Python of the demo: .venv-demo/bin/python -m demo_project.mercure"
SILENT = "No demo answers at {hub} ({reason}). Start it with make demo; if it listens elsewhere, say so with --site."


def main() -> None:
    """Publish, or print what is published until it is stopped."""
    options = _options()
    if find_spec("jwt") is None:
        sys.exit(MISSING)
    hub = f"{options.site.rstrip('/')}/.well-known/mercure"
    try:
        if options.say:
            sys.stdout.write(f"{publish(hub, options.key, options.say)}\n")
            return
        sys.stdout.write(f"Following {TOPIC} at {hub}. Ctrl-C stops it.\n")
        for line in follow(hub, options.key, options.after):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write("\nStopped.\n")
    except (URLError, OSError) as error:
        sys.exit(SILENT.format(hub=hub, reason=getattr(error, "reason", error)))


def publish(hub: str, key: str, text: str) -> str:
    """Publish an update; return its id."""
    form = urlencode([("topic", DESK), ("data", text), ("private", "on")]).encode()
    with urlopen(Request(hub, form, _bearer(key, publish=[TOPIC])), timeout=10) as response:  # noqa: S310 (the user's own)
        return str(response.read().decode())


def follow(hub: str, key: str, after: str) -> Iterator[str]:
    """Yield the lines of the stream that are not empty."""
    query = urlencode([("topic", TOPIC), *([("lastEventID", after)] if after else [])])
    with urlopen(Request(f"{hub}?{query}", None, _bearer(key, subscribe=[TOPIC])), timeout=60) as response:  # noqa: S310
        if after:
            yield f"Last-Event-ID: {response.headers['Last-Event-ID']}"
        for line in response:
            if text := line.decode().strip().strip(":"):
                yield text


def _bearer(key: str, **claim: list[str]) -> dict[str, str]:
    import jwt

    return {"Authorization": f"Bearer {jwt.encode({'mercure': claim}, key)}"}


def _options() -> Namespace:
    parser = ArgumentParser(
        prog="python -m demo_project.mercure", description=ABOUT, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", default="http://127.0.0.1:8000", help="where the demo is; %(default)s by default")
    parser.add_argument("--key", default=KEY, help="the secret of the tokens; the demo's by default")
    parser.add_argument("--say", default="", help="publish this, instead of following")
    parser.add_argument("--after", default="", help="begin after the update with this id")
    return parser.parse_args()


if __name__ == "__main__":
    main()
