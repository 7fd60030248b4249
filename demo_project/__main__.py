"""``python -m demo_project [PORT] [--lan]``: prepare the database, start the servers and the worker, say where."""

from __future__ import annotations

import os
import socket
import sys
import time

from demo_project.processes import Processes, free

HOST = "127.0.0.1"
EVERY_HOST = "0.0.0.0"  # noqa: S104 (only where --lan asks for it)
USUAL_PORTS = range(8000, 8020)
PATIENCE = 60.0
"""How long (seconds) the server may take to start."""
BANNER = """
  Larkpost is open: the demo of livepush.

    Begin here    {url}/

  To log in, press a button on a page. The admin is at {url}/admin/ (admin / admin).
{more}  Ctrl-C stops the demo.

"""
LAN = """
  On a phone in the same network: {url}/phone/ shows a QR code for {lan}/bell/
  Everyone in this network can now open the demo, and log in to its admin.

"""


def main() -> None:
    """Run the demo until it is stopped."""
    arguments = sys.argv[1:]
    lan = "--lan" in arguments
    try:
        hosts = [HOST, EVERY_HOST] if lan else [HOST]
        port = choose_port([each for each in arguments if each != "--lan"], hosts)
        address = lan_address() if lan else ""
        os.environ |= {"DEMO_LAN_ADDRESS": address, "DEMO_PORT": str(port)}
        prepare()
        with Processes(hosts[-1], port, second_port(port, hosts)) as processes:
            wait_for(port, processes)
            announce(port, address)
            processes.watch()
    except KeyboardInterrupt:
        pass
    sys.stdout.write("\n  Stopped.\n")


def choose_port(arguments: list[str], hosts: list[str]) -> int:
    """Return the port that was asked for, else the first of the usual ones that is free, else any.

    Exits with a sentence where the port can't be had.
    """
    if not arguments:
        return first_free(USUAL_PORTS, hosts)
    if not (arguments[0].isdecimal() and 0 < int(arguments[0]) < 65_536):
        sys.exit(f"{arguments[0]!r} is not a port: expected a number from 1 to 65535.")
    if not is_free(int(arguments[0]), hosts):
        sys.exit(f"Port {arguments[0]} is taken or not allowed: choose another, or leave it out to get a free one.")
    return int(arguments[0])


def second_port(port: int, hosts: list[str]) -> int:
    """Return the port of the second server, if a visitor asks for one: none that another demo would take first."""
    step = len(USUAL_PORTS)  # so demos on different usual ports have different second ports
    return first_free(range(port + step, min(port + 20 * step, 65_536), step), hosts)


def first_free(ports: range, hosts: list[str]) -> int:
    """Return the first port that is free, or any if none is."""
    return next((port for port in ports if is_free(port, hosts)), 0) or any_port()


def is_free(port: int, hosts: list[str]) -> bool:
    """Return whether a port is free on all of these addresses."""
    return all(free(host, port) for host in hosts)


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
    """Migrate, fill the shop if it is empty, and give its users their passwords."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    from demo_project.parcels.shop import seed
    from demo_project.showcase import checking

    seed()
    checking.seed()


def wait_for(port: int, processes: Processes, patience: float = PATIENCE) -> None:
    """Wait until the server answers. Exits with a sentence if it ends, or is not there in time (seconds)."""
    end = time.monotonic() + patience
    while not answers(port):
        if processes.server_ended or time.monotonic() > end:
            sys.exit("The server did not start; see above.")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Return whether somebody listens on a port of this computer."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def announce(port: int, lan: str) -> None:
    """Print the addresses."""
    url = f"http://{HOST}:{port}"
    more = LAN.format(url=url, lan=f"http://{lan}:{port}") if lan else ""
    sys.stdout.write(BANNER.format(url=url, more=more))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
