"""``python -m demo_project [PORT] [--lan]``: prepare the database, start the servers and the worker, say where."""

from __future__ import annotations

import os
import socket
import sys
import time

from demo_project.processes import Processes, free

HOST = "127.0.0.1"
USUAL_PORTS = range(8000, 8020)
BANNER = """
  Larkpost is open: the demo of livepush.

    Begin here    {url}/

  To log in, press a button on a page. The admin is at {url}/admin/ (admin / admin).
{more}  Ctrl-C stops the demo.

"""
LAN = """
  On a phone in the same network: {url}/phone/ shows a QR code for {lan}/
  Everyone in this network can now open the demo, and log in to its admin.

"""


def main() -> None:
    """Run the demo until it is stopped."""
    arguments = sys.argv[1:]
    lan = "--lan" in arguments
    try:
        port = choose_port([each for each in arguments if each != "--lan"])
        address = lan_address() if lan else ""
        os.environ |= {"DEMO_LAN_ADDRESS": address, "DEMO_PORT": str(port)}
        prepare()
        with Processes("0.0.0.0" if lan else HOST, port, second_port(port)) as processes:  # noqa: S104 (asked for)
            wait_for(port)
            announce(port, address)
            processes.watch()
    except KeyboardInterrupt:
        pass
    sys.stdout.write("\n  Stopped.\n")


def choose_port(arguments: list[str]) -> int:
    """Return the port that was asked for, else the first of the usual ones that is free, else any.

    Exits with a sentence where the port can't be had.
    """
    if not arguments:
        return next((port for port in USUAL_PORTS if free(HOST, port)), 0) or any_port()
    if not (arguments[0].isdecimal() and 0 < int(arguments[0]) < 65_536):
        sys.exit(f"{arguments[0]!r} is not a port: expected a number from 1 to 65535.")
    if not free(HOST, int(arguments[0])):
        sys.exit(f"Port {arguments[0]} is taken or not allowed: choose another, or leave it out to get a free one.")
    return int(arguments[0])


def second_port(port: int) -> int:
    """Return the port of the second server, if a visitor asks for one: none that another demo would take first."""
    first = max(port, *USUAL_PORTS) + 1
    return next((each for each in range(first, min(first + 20, 65_536)) if free(HOST, each)), 0) or any_port()


def any_port() -> int:
    """Return a port that the system says is free."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def lan_address() -> str:
    """Return this computer's address on its network. Exits with a sentence where there is none."""
    from demo_project.showcase.phone import local_address

    try:
        return local_address()
    except OSError:
        sys.exit("This computer is in no network, so no phone can reach it: leave out --lan.")


def prepare() -> None:
    """Migrate, and fill the shop if it is empty."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from demo_project.parcels.shop import seed
    from demo_project.showcase import checking

    seed()
    checking.seed()


def wait_for(port: int) -> None:
    """Wait until the server answers."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)


def announce(port: int, lan: str) -> None:
    """Print the addresses."""
    url = f"http://{HOST}:{port}"
    more = LAN.format(url=url, lan=f"http://{lan}:{port}") if lan else ""
    sys.stdout.write(BANNER.format(url=url, more=more))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
