"""``python -m demo_project [PORT]``: prepare the database, start the server and the simulator, say where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
USUAL_PORTS = range(8000, 8020)
BANNER = """
  Larkpost is open: the demo of livepush.

    The board    {url}/
    My orders    {url}/orders/      log in as  demo / demo
    Messages     {url}/messages/    as demo, and as admin in a private window
    Together     {url}/together/    everyone's cursors
    The admin    {url}/admin/       log in as  admin / admin

  Open two windows side by side. Ctrl-C stops the demo.

"""


def main() -> None:
    """Run the demo until it is stopped."""
    try:
        port = choose_port(sys.argv[1:])
        prepare()
        with simulator():
            threading.Thread(target=announce, args=(port,), daemon=True).start()
            serve(port)
    except KeyboardInterrupt:
        pass
    sys.stdout.write("\n  Stopped.\n")


def choose_port(arguments: list[str]) -> int:
    """Return the port that was asked for, else the first of the usual ones that is free, else any.

    Exits with a sentence where the port can't be had.
    """
    if not arguments:
        return next((port for port in USUAL_PORTS if free(port)), 0) or any_port()
    if not (arguments[0].isdecimal() and 0 < int(arguments[0]) < 65_536):
        sys.exit(f"{arguments[0]!r} is not a port: expected a number from 1 to 65535.")
    if not free(int(arguments[0])):
        sys.exit(f"Port {arguments[0]} is taken or not allowed: choose another, or leave it out to get a free one.")
    return int(arguments[0])


def free(port: int) -> bool:
    """Return whether a port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_port() -> int:
    """Return a port that the system says is free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def prepare() -> None:
    """Migrate, and fill the shop if it is empty."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from demo_project.parcels.shop import seed

    seed()


@contextmanager
def simulator() -> Iterator[None]:
    """Run the simulator in a process of its own, in a group of its own: Ctrl-C is for this one, which ends both."""
    command = [sys.executable, "manage.py", "simulate", "--follow-parent"]
    project = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(command, cwd=project, process_group=0)  # noqa: S603 (our own words)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def serve(port: int) -> None:
    """Serve until SIGINT or SIGTERM, with Django's own development server, which daphne makes speak ASGI."""
    from django.core.management import call_command

    with open(os.devnull, "w") as nowhere:
        call_command("runserver", f"{HOST}:{port}", use_reloader=False, stdout=nowhere)


def announce(port: int) -> None:
    """Print the addresses as soon as the server answers."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                break
        time.sleep(0.05)
    sys.stdout.write(BANNER.format(url=f"http://{HOST}:{port}"))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
