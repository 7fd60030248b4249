"""``python -m demo_project.edge``: the demo under WSGI, behind a Pushpin that holds its streams."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from importlib.util import find_spec
from urllib.parse import urlsplit

from demo_project.processes import PROJECT, free

ABOUT = """
Serve the demo under WSGI, which can hold no stream, behind Pushpin, which holds them all.

Pushpin has to run already. On Debian:

  sudo apt-get install pushpin

In /etc/pushpin/pushpin.conf, set sig_key=KEY, x_forwarded_for=truncate:0,append, connection_subscription_max=103 and
message_wait=500 (docs/grip.md says where). In /etc/pushpin/routes write these two lines, and start it again:

  *,path_beg=/livepush/ws/,proto=ws,sig_key=KEY,sig_iss=livepush-websocket 127.0.0.1:8100,over_http
  * 127.0.0.1:8100

Then open the board through Pushpin, for example http://127.0.0.1:7999/board/.
"""
HOST = "127.0.0.1"
KEY = "the-demo-and-Pushpin-share-this-key-of-32-bytes"
MISSING = "PyJWT is missing. Use the Python of the demo: .venv-demo/bin/python -m demo_project.edge"
SILENT = """No Pushpin takes events at {control}. On Debian: sudo apt-get install pushpin
If it listens elsewhere, say so with --control. The option --help tells how to set it up."""
TOLD = """
  The demo is at http://{host}:{port}/ under WSGI. Open it through Pushpin, whose sig_key has to be
    {key}

  Debian's Pushpin is at http://127.0.0.1:7999/board/
  Ctrl-C stops the demo.

"""


def main() -> None:
    """Serve until it is stopped."""
    options = _options()
    _check(options)
    grip = {"CONTROL_URI": options.control, "KEY": options.key, "SUBSCRIPTIONS": 103}
    os.environ |= {"DEMO_GRIP": json.dumps(grip), "DEMO_PORT": str(options.port)}
    from demo_project.__main__ import prepare

    prepare()
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers import basehttp
    from django.core.wsgi import get_wsgi_application

    site = StaticFilesHandler(get_wsgi_application())
    words = [sys.executable, "manage.py", "simulate", "--follow-parent", str(os.getpid())]
    worker = subprocess.Popen(words, cwd=PROJECT, process_group=0)  # noqa: S603 (our own words)
    sys.stdout.write(TOLD.format(host=HOST, port=options.port, key=options.key))
    sys.stdout.flush()
    try:
        basehttp.run(HOST, options.port, site, threading=True)
    except KeyboardInterrupt:
        pass
    finally:
        worker.terminate()
        worker.wait()
    sys.stdout.write("\n  Stopped.\n")


def _options() -> Namespace:
    parser = ArgumentParser(
        prog="python -m demo_project.edge", description=ABOUT, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8100, help="where the demo listens; %(default)s by default")
    parser.add_argument("--control", default="http://127.0.0.1:5561", help="where Pushpin takes events; %(default)s")
    parser.add_argument("--key", default=KEY, help="Pushpin's sig_key; %(default)s")
    return parser.parse_args()


def _check(options: Namespace) -> None:
    """Exit with a sentence if something is missing."""
    if find_spec("jwt") is None:
        sys.exit(MISSING)
    parts = urlsplit(options.control)
    try:
        socket.create_connection((parts.hostname or HOST, parts.port or 5561), 3).close()
    except OSError:
        sys.exit(SILENT.format(control=options.control))
    if not free(HOST, options.port):
        sys.exit(f"Port {options.port} is taken or not allowed: choose another with --port.")


if __name__ == "__main__":
    main()
