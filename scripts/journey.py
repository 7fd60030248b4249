"""Print the journey of an event, hop by hop, as the code has it: which function calls which, in which module.

    python scripts/journey.py

Each hop is looked up in the code: where a function no longer calls the next one, this fails and says so.
"""

from __future__ import annotations

import ast
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "livepush"


class Hop(NamedTuple):
    """A function on the way, and what it does there."""

    module: str
    function: str
    verb: str
    """The design's word for what happens here, empty where it only goes on."""


JOURNEY = (
    Hop("publish/sending.py", "send", "send"),
    Hop("publish/sending.py", "_send", ""),
    Hop("log/appending.py", "append_settled", "append"),
    Hop("publish/sending.py", "Delivery.__call__", "commit"),
    Hop("publish/pipeline.py", "deliver", ""),
    Hop("publish/pipeline.py", "settle", ""),
    Hop("log/settling.py", "settle", "settle"),
    Hop("publish/pipeline.py", "pass_on", ""),
    Hop("publish/pipeline.py", "announce", "announce"),
    Hop("hub/router.py", "Router.receive_soon", ""),
    Hop("hub/router.py", "Router.receive", "receive"),
    Hop("hub/router.py", "Router._route_waiting", ""),
    Hop("hub/router.py", "Router._route_settled", ""),
    Hop("hub/router.py", "Router.route", "route"),
    Hop("hub/router.py", "Router.fan_out", ""),
    Hop("hub/connection.py", "Connection.offer", "offer"),
    Hop("hub/connection.py", "Connection._offer", "write"),
)
ELSEWHERE = (
    Hop("publish/pipeline.py", "announce", "announce"),
    Hop("hints/sender.py", "announce", ""),
    Hop("hints/sender.py", "Sender.put", ""),
    Hop("hints/listener.py", "Listener._receive_all", ""),
    Hop("hints/listener.py", "Listener._take", ""),
    Hop("hub/router.py", "Router.receive", "receive"),
)
"""The way to the hubs of other processes, by the Channels layer; from there on the journey is the same."""
RETURNS = {"log/appending.py", "log/settling.py"}
"""What the journey comes back from: the hop after it is called by the hop before it."""
HANDED_ON = {
    ("_send", "Delivery.__call__"): "Delivery",
    ("Router._route_settled", "Router.route"): "route",
    ("Listener._take", "Router.receive"): "_receive",
}
"""Calls by another name: a commit calls the delivery that ``_send`` registers, a listener what the hub gave it."""
NOT_CALLED = {("Sender.put", "Listener._receive_all")}
"""Between these two is the layer."""


def function(module: str, name: str) -> ast.AST:
    """Return a function's or a method's definition."""
    node: ast.AST = ast.parse((PACKAGE / module).read_text())
    for part in name.split("."):
        node = next(each for each in ast.iter_child_nodes(node) if getattr(each, "name", None) == part)
    return node


def mentions(node: ast.AST, name: str) -> bool:
    """Return whether a function calls another, or hands it on to be called."""
    return any(
        (isinstance(each, ast.Name) and each.id == name) or (isinstance(each, ast.Attribute) and each.attr == name)
        for each in ast.walk(node)
    )


def broken(journey: tuple[Hop, ...] = JOURNEY) -> list[str]:
    """Return the hops that the code does not have."""
    found = []
    caller = journey[0]
    for before, hop in pairwise(journey):
        if before.module not in RETURNS:
            caller = before
        if (caller.function, hop.function) in NOT_CALLED:
            function(hop.module, hop.function)
            continue
        name = HANDED_ON.get((caller.function, hop.function), hop.function.rpartition(".")[2])
        if not mentions(function(caller.module, caller.function), name):
            found.append(f"{caller.module}:{caller.function} does not call {hop.module}:{hop.function}")
    return found


def entered(journey: tuple[Hop, ...] = JOURNEY) -> list[str]:
    """Return the modules in the order in which the journey enters them; to come back is not to enter."""
    found: list[str] = []
    inside: list[str] = []
    for hop in journey:
        if hop.module in inside:
            del inside[inside.index(hop.module) + 1 :]
            continue
        found.append(hop.module)
        inside.append(hop.module)
    return found


def show(journey: tuple[Hop, ...]) -> None:
    """Print a line for each module."""
    for number, module in enumerate(entered(journey), 1):
        hops = [hop for hop in journey if hop.module == module]
        verbs = ", ".join(hop.verb for hop in hops if hop.verb)
        print(f"{number}  livepush/{module:22}  {verbs:20}  {' → '.join(hop.function for hop in hops)}")


def main() -> int:
    """Print the journey; return the exit code."""
    show(JOURNEY)
    print("\nand to the hubs of other processes, by the Channels layer:\n")
    show(ELSEWHERE)
    print("\nThe browser's part begins in client/src/connection.js.")
    problems = broken() + broken(ELSEWHERE)
    print("\n".join(problems), file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
