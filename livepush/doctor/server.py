"""Checks the server process behind a site: how it was started, and whether its hub follows the log."""

from __future__ import annotations

import time
from typing import Any

import livepush
from livepush.doctor import clock
from livepush.doctor.check import Check, describe_error
from livepush.doctor.problems import Problem
from livepush.doctor.site import TROUBLES, Site, json_of, summary_of
from livepush.routing import prefix
from livepush.wire import Position, parse_position

FEW_FILES = 4096
"""A limit of open files below this is a warning."""


def check_server(check: Check, site: Site, head: Position | None, patience: float) -> None:
    """Check a server process. ``head`` is the log's last position as this command sees it, ``None`` if it can't."""
    sent = clock.now()
    answer = site.get(site.probe("sse/"), Origin=site.root.origin)
    facts = json_of(answer.body)
    if answer.status >= 500:
        check.skip(f"The server process was not looked into: {prefix()}sse/ answers {summary_of(answer)}.")
        return
    if answer.status != 200 or "pid" not in facts:
        check.find(Problem.STRANGER, f"{prefix()}sse/ answers {summary_of(answer)} to the token")
        return
    site.ahead = facts["time"] - (sent + clock.now()) / 2
    site.facts = facts
    check.figures.update(facts)
    _say_what_it_is(check, facts)
    _check_flags(check, facts)
    _check_arrival(check, site, facts["request"])
    _check_long_url(check, site, facts)
    _check_hub(check, site, facts, head, patience)


def _check_long_url(check: Check, site: Site, facts: dict[str, Any]) -> None:
    """Check that an address with as many groups as livepush allows arrives."""
    size = int(facts.get("query_bytes", 0))
    try:
        answer = site.get(site.probe("sse/", pad="x" * size))
        seen = "" if answer.status == 200 else summary_of(answer)
    except TROUBLES as error:
        seen = describe_error(error)
    if seen:
        check.find(Problem.LONG_URL, f"an address of {size} bytes: {seen}")


def _say_what_it_is(check: Check, facts: dict[str, Any]) -> None:
    versions, files = facts["versions"], facts["files"]
    name = facts["server"] or "an unknown server"
    check.say(f"{name} {versions.get(name, '')}".strip() + f" (process {facts['pid']})")
    check.say(", ".join(f"{each} {versions[each]}" for each in ("livepush", "django", "python")))
    check.say(f"{_shown(files['open'])} of {_shown(files['limit'])} files open")


def _shown(value: object) -> object:
    return "?" if value is None else value


def _check_flags(check: Check, facts: dict[str, Any]) -> None:
    """Check the server's debug mode, limit of open files, version and options."""
    limit, server = facts["files"]["limit"], facts["server"]
    if facts["debug"]:
        check.find(Problem.DEBUG_ON, "DEBUG is True")
    if limit is None:
        check.skip("The limit of open files was not checked: the server's system does not tell.")
    elif 0 <= limit < FEW_FILES:  # -1 means no limit
        check.find(Problem.FEW_FILES, f"a limit of {limit}, {_shown(facts['files']['open'])} of them open")
    if facts["versions"]["livepush"] != livepush.__version__:
        seen = f"{facts['versions']['livepush']} there, {livepush.__version__} here"
        check.find(Problem.OTHER_VERSION, seen)
    if not server:
        check.skip("The server's options were not checked: it is none that this command knows.")
    elif server == "uvicorn":
        _check_grace(check, facts)


def _check_grace(check: Check, facts: dict[str, Any]) -> None:
    """Check that uvicorn has a time limit for its shutdown. If another program started it, that can't be seen."""
    words = facts["command_line"]
    if not facts["started_by_server"]:
        check.skip(f"uvicorn's time limit at its end was not checked: {words[0]} started it.")
        return
    named = any(word.partition("=")[0] == "--timeout-graceful-shutdown" for word in words)
    if not named and "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN" not in facts["environment"]:
        check.find(Problem.NO_GRACE, "no --timeout-graceful-shutdown in its command line")


def _check_arrival(check: Check, site: Site, request: dict[str, Any]) -> None:
    """Check that the proxy passed on the request's host, and that Django sees https as secure."""
    if request["origin"] == "bad_origin":
        seen = f"{site.root.netloc} was asked for, {request['host']} arrived"
        check.find(Problem.HOST_CHANGED, seen)
    if site.root.scheme == "https" and not request["secure"]:
        check.find(Problem.TAKEN_FOR_HTTP, "request.is_secure() is False")


def _check_hub(check: Check, site: Site, facts: dict[str, Any], head: Position | None, patience: float) -> None:
    """Check that the process's hub follows the log that this command sees."""
    hub = facts["hub"]
    if hub is None:
        check.find(Problem.HUB_BROKEN, facts["trouble"])
        return
    hint, left_out = facts.get("hint", "layer"), facts.get("ephemeral_left_out", 0)
    check.say(f"hub at {hub['position']} with {hub['subscribers']} clients; its hint: {hint}, {hub['layer']}")
    if left_out:
        check.say(f"{left_out} ephemeral events were too large for NOTIFY", ephemeral_left_out=left_out)
    if head is None:
        check.skip("The hub's position was not compared: see the findings of the database.")
        return
    position = parse_position(hub["position"])
    if position.epoch != head.epoch:
        check.find(Problem.OTHER_LOG, f"the server's hub is at {position}, this command's log at {head}")
    elif position.number < head.number:
        _wait_for_hub(check, site, head, patience)


def _wait_for_hub(check: Check, site: Site, head: Position, patience: float) -> None:
    """Wait up to ``patience`` seconds for an answer from a hub that has reached the log's position.

    Several processes may answer in turn.
    """
    end = time.monotonic() + patience
    while True:
        hub = json_of(site.get(site.probe("sse/")).body).get("hub")
        position = parse_position(hub["position"]) if hub else None
        if position is not None and position.number >= head.number:
            return
        if time.monotonic() > end:
            check.find(Problem.HUB_BEHIND, f"a hub at {position}, the log at {head}, for {patience:.0f} s")
            return
        time.sleep(0.2)
