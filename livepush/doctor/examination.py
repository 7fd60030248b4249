"""The whole examination: runs the checks in order, and skips those that depend on a failed one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from livepush.conf import get_settings
from livepush.doctor import clock, database, web
from livepush.doctor.check import Check, Work, run, run_together
from livepush.doctor.layer import check_layer
from livepush.doctor.problems import Problem
from livepush.doctor.retention import check_retention
from livepush.doctor.server import check_server
from livepush.doctor.settings import check_settings
from livepush.doctor.site import Site, check_site
from livepush.doctor.static_files import check_script
from livepush.doctor.streams import check_idle, check_stream, check_websocket, quiet_span
from livepush.hints import Hint, chosen
from livepush.wire import Position


def examine(root: web.Root | None, limit: float, idle: bool = False) -> Iterator[Check]:
    """Yield each check when it has ended. A check takes at most ``limit`` seconds; the idle one adds its silence.

    If there is a ``root``, check the site there too.
    """
    settings = run("settings", check_settings, limit)
    yield settings
    if settings.has_errors:
        yield from _unchecked(("database", "layer", "retention", "clock"), "the settings have errors")
        return
    using = get_settings().DATABASE
    found = run("database", partial(database.check_database, using=using, patience=limit / 2), limit)
    yield found
    answers = not found.has(Problem.DATABASE_SILENT)
    if answers or chosen() is not Hint.NOTIFY:
        yield run("layer", partial(check_layer, limit=limit * 0.8), limit)
    else:
        yield from _unchecked(("layer",), "see the findings of the database")
    has_log = answers and not found.has(Problem.NOT_MIGRATED)
    if has_log:
        yield run("retention", partial(check_retention, using=using), limit)
    else:
        yield from _unchecked(("retention",), "see the findings of the database")
    site = None if root is None else Site(root, limit)
    if site is not None:
        yield from examine_site(site, using if has_log else None, limit, idle)
    yield run("clock", lambda check: _check_clocks(check, using if answers else None, site), limit)


def examine_site(site: Site, using: str | None, limit: float, idle: bool = False) -> Iterator[Check]:
    """Yield the checks of a site. ``using`` is the alias of the log's database, ``None`` if the log can't be read."""
    yield run("site", partial(check_site, site=site), limit)
    if site.is_livepush:
        yield run("script", partial(check_script, site=site), limit)
    else:
        yield from _unchecked(["script"], "see the findings of the site")
    names = ["server", "stream", "websocket"] + ["idle"] * idle
    if not site.serves:
        yield from _unchecked(names, "see the findings of the site")
        return
    if get_settings().GRIP:
        yield from _unchecked(names, "LIVEPUSH['GRIP'] is set, so Pushpin holds this site's clients")
        return
    head = None if using is None else _head(using, limit)
    server = run("server", partial(check_server, site=site, head=head, patience=limit / 2), limit)
    yield server
    if site.facts is None:
        yield from _unchecked(names[1:], "see the findings of the server")
        return
    both: dict[str, Work] = {
        "stream": partial(check_stream, site=site),
        "websocket": partial(check_websocket, site=site),
    }
    yield from run_together(both, limit)
    if idle:
        yield run("idle", partial(check_idle, site=site), limit + quiet_span(site))


def _check_clocks(check: Check, using: str | None, site: Site | None) -> None:
    if site is not None and site.ahead is None:
        check.skip("The server's clock was not compared: see the findings of the site.")
    elif site is not None and site.ahead is not None:
        clock.compare_clocks(check, "the server", site.ahead)
    if using is None:
        check.skip("The database's clock was not compared: see the findings of the database.")
    else:
        clock.compare_database_clock(check, using)


def _head(using: str, limit: float) -> Position | None:
    """Return the log's last position, or ``None`` if reading it fails or takes too long."""
    found: list[Position] = []
    run("head", lambda check: found.append(database.position(using)), limit)
    return found[0] if found else None


def _unchecked(names: Iterable[str], why: str) -> Iterator[Check]:
    for name in names:
        yield Check(name, unchecked=[f"Not checked: {why}."])
