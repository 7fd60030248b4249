"""The tables, the goals and the plots, from what ``python -m benchmarks`` measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.systems import SYSTEMS

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"
PUBLISHED = "publish.jsonl"
SSE, WS = "livepush-sse-uvicorn", "livepush-ws-uvicorn"
PACKAGES = ("django", "channels", "channels-redis", "redis", "uvicorn", "uvloop", "granian", "hypercorn", "daphne")
GREY, BLUE, GREEN = "#808080", "#4a90d9", "#3c9a5f"
"""All are readable on white and on black."""
Row = dict[str, Any]


class Measured:
    """All turns of all systems."""

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = [json.loads(line) for line in path.read_text().splitlines()]

    def turns(self, part: str, system: str, clients: int) -> dict[int, Row]:
        """Return a system's turns by number."""
        wanted = {"part": part, "system": system, "clients": clients}
        return {row["turn"]: row for row in self.rows if wanted.items() <= row.items()}

    def median(self, system: str, figure: str, clients: int = 1000, part: str = "fanout") -> float | None:
        """Return a figure's median, ``None`` where it was not measured."""
        values = [row[figure] for row in self.turns(part, system, clients).values() if row.get(figure) is not None]
        return statistics.median(values) if values else None

    def ratio(self, ours: str, theirs: str, figure: str, clients: int = 1000, part: str = "fanout") -> float | None:
        """Return the median of one system's figure over the other's of the same turn."""
        peers = self.turns(part, theirs, clients)
        pairs = [(row[figure], peers[n][figure]) for n, row in self.turns(part, ours, clients).items() if n in peers]
        ratios = [own / other for own, other in pairs if own is not None and other]
        return statistics.median(ratios) if ratios else None

    def count(self, system: str, clients: int = 1000, part: str = "fanout") -> int:
        """Return how many turns a system had."""
        return len(self.turns(part, system, clients))


@dataclass(frozen=True)
class Goal:
    """What should hold."""

    what: str
    limit: float
    found: float | None
    at_least: bool = False

    @property
    def holds(self) -> str:
        """Whether it does."""
        if self.found is None:
            return "not measured"
        return "yes" if (self.found >= self.limit if self.at_least else self.found <= self.limit) else "**no**"

    def line(self) -> str:
        """Return the goal's line of the table."""
        found = "" if self.found is None else number(self.found)
        return f"| {self.what} | {'≥' if self.at_least else '≤'} {number(self.limit)} | {found} | {self.holds} |"


def number(value: float) -> str:
    """Return a figure with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def inverse(value: float | None) -> float | None:
    """Return one over a ratio."""
    return 1 / value if value else None


def goals(of: Measured) -> Iterator[Goal]:
    """Yield each goal with what was found."""
    cpu = "paced_cpu"
    yield Goal(
        "CPU per delivery, paced, SSE on uvicorn: livepush / asyncio protocol", 1.1, of.ratio(SSE, "asyncio", cpu)
    )
    yield Goal("the same: livepush / Socket.IO on Node", 1.0, of.ratio(SSE, "socketio", cpu))
    yield Goal(
        "the same: plain Channels with pub/sub / livepush", 20, inverse(of.ratio(SSE, "channels-pubsub", cpu)), True
    )
    yield Goal(
        "the same: django-eventstream with Redis / livepush", 4, inverse(of.ratio(SSE, "eventstream-none", cpu)), True
    )
    yield Goal("the same, WebSocket: livepush / bare ASGI application with queues", 1.0, of.ratio(WS, "asgi-ws", cpu))
    for name, system in (("SSE", SSE), ("WebSocket", WS)):
        rate = of.median(system, "together_rate")
        yield Goal(f"1,000 events of one commit, {name}: deliveries/s", 1_000_000, rate, True)
        yield Goal(f"1,000 events of one commit, {name}: lost events", 0, of.median(system, "together_lost"))
    for name, system in (("SSE", SSE), ("WebSocket", WS)):
        yield Goal(
            f"1,000 separate sends, {name}: deliveries/s as a share of what was sent", 0.9, kept_up(of, system), True
        )
        yield Goal(f"1,000 separate sends, {name}: lost events", 0, of.median(system, "burst_lost"))
        yield Goal(
            f"1,000 separate sends, {name}: p99, livepush / Socket.IO", 1.0, of.ratio(system, "socketio", "burst_p99")
        )
    yield Goal("p99 at 10 events/s, SSE: livepush / bare ASGI application", 1.2, of.ratio(SSE, "asgi-sse", "paced_p99"))
    yield Goal(
        "p99 at 10 events/s, WebSocket: livepush / bare ASGI application", 1.2, of.ratio(WS, "asgi-ws", "paced_p99")
    )
    yield Goal("memory per idle client, SSE: KiB more than the bare ASGI application", 2, above(of, SSE, "asgi-sse"))
    yield Goal(
        "memory per idle client, WebSocket: KiB more than the bare ASGI application", 2, above(of, WS, "asgi-ws")
    )
    for name, system in (("SSE", SSE), ("WebSocket", WS)):
        share = of.median(system, "core", 4000, "idle")
        yield Goal(f"4,000 idle clients, {name}: % of a core", 1, share and 100 * share)
    yield Goal("database statements when 1,000 clients resume", 3, of.median(SSE, "statements", part="resume"))
    faster = inverse(of.ratio(SSE, "eventstream-model", "seconds", part="resume"))
    yield Goal("time when 1,000 clients resume, 50 events behind: django-eventstream / livepush", 20, faster, True)
    groups = of.ratio("livepush-groups", SSE, cpu, part="groups")
    yield Goal("CPU per delivery: with 100,000 groups / with one group", 1.2, groups)


def kept_up(of: Measured, system: str) -> float | None:
    """Return the rate of deliveries of a burst over that at which it was sent to all."""
    rows = of.turns("fanout", system, 1000).values()
    shares = [row["burst_rate"] / 1000 / row["burst_sent_rate"] for row in rows]
    return statistics.median(shares) if shares else None


def above(of: Measured, system: str, peer: str) -> float | None:
    """Return by how many KiB a client of one system is larger."""
    own, other = of.median(system, "kib"), of.median(peer, "kib")
    return None if own is None or other is None else own - other


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("paced: CPU s", "paced_cpu", lambda value: f"{value:.2f}"),
    ("p50 ms", "paced_p50", lambda value: f"{value:.1f}"),
    ("p99 ms", "paced_p99", lambda value: f"{value:.1f}"),
    ("in a loop: deliveries/s", "loop_rate", number),
    ("CPU s", "loop_cpu", lambda value: f"{value:.2f}"),
    ("burst: deliveries/s", "burst_rate", number),
    ("CPU s", "burst_cpu", lambda value: f"{value:.2f}"),
    ("not delivered after 25 s", "burst_lost", lambda value: f"{value:.1%}" if value > 0 else "0"),
    ("CPU ms per event, 10 clients", "event_ms", lambda value: f"{value:.2f}"),
    ("KiB per client", "kib", lambda value: f"{value:.1f}"),
    ("CPU ms per connect", "connect_cpu_ms", lambda value: f"{value:.2f}"),
)


def table(of: Measured, clients: int) -> Iterator[str]:
    """Yield the lines of the table for some clients."""
    keys = [key for key in SYSTEMS if of.count(key, clients)]
    if not keys:
        return
    yield f"\n### {clients:,} clients\n"
    yield f"| system | turns | {' | '.join(title for title, _, _ in COLUMNS)} |"
    yield "|---|" + "---|" * (len(COLUMNS) + 1)
    for key in keys:
        found = ((of.median(key, name, clients), show) for _, name, show in COLUMNS)
        cells = ("" if value is None else show(value) for value, show in found)
        yield f"| {SYSTEMS[key].title} | {of.count(key, clients)} | {' | '.join(cells)} |"


def published(path: Path) -> Iterator[str]:
    """Yield the last run's goals of publishing."""
    if path.exists():
        last = json.loads(path.read_text().splitlines()[-1])
        for each in last.get("goals", ()):
            holds = "yes" if each["holds"] else "**no**"
            yield f"| {each['goal']} | {each['wanted']} | {number(each['found'])} | {holds} |"


def versions() -> str:
    """Return what was measured with."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, Node {node}, {os.cpu_count()} cores; {packages}."


def text(of: Measured, results: Path) -> Iterator[str]:
    """Yield the lines of the page that change."""
    yield versions()
    yield "\n### Goals\n\n| what | goal | found | holds |\n|---|---|---|---|"
    yield from (goal.line() for goal in goals(of))
    yield from published(results.with_name(PUBLISHED))
    for clients in sorted({row["clients"] for row in of.rows if row["part"] == "fanout"}):
        yield from table(of, clients)


def style(plot: Any) -> None:
    """Give a plot colours that are readable on white and on black."""
    plot.tick_params(colors=GREY)
    for side, line in plot.spines.items():
        line.set_color(GREY)
        line.set_visible(side in ("left", "bottom"))


def bars(of: Measured, figure: str, title: str, target: Path, clients: int = 1000) -> None:
    """Draw one figure of all systems, on a logarithmic scale."""
    found = [(of.median(key, figure, clients), key) for key in SYSTEMS]
    shown = sorted(((value, key) for value, key in found if value), reverse=True)
    if not shown:
        return
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "livepush", "font.family": "sans-serif"})
    picture = Figure(figsize=(8, 0.3 * len(shown) + 1), layout="constrained")
    plot = picture.subplots()
    names = [SYSTEMS[key].title.replace("**", "").replace("`", "") for _, key in shown]
    colours = [BLUE if key.startswith("livepush") else GREY for _, key in shown]
    drawn = plot.barh(names, [value for value, _ in shown], color=colours)
    plot.bar_label(drawn, [number(value) for value, _ in shown], color=GREY, padding=3)
    plot.set_xscale("log")
    plot.set_xlabel(title, color=GREY)
    plot.margins(x=0.15)
    style(plot)
    picture.savefig(target, transparent=True, metadata={"Date": None})


def write(lines: Iterable[str]) -> None:
    """Put the lines in their place on the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}")


def main(results: Path, page: bool) -> None:
    """Print the tables; write them to the page, with the plots, where asked to."""
    of = Measured(results)
    lines = list(text(of, results))
    print("\n".join(lines))
    if page:
        write(lines)
        bars(of, "paced_cpu", "CPU seconds of the server for 100,000 deliveries (less is better)", HERE / "cpu.svg")
        bars(of, "burst_rate", "deliveries a second of 1,000 events sent at once (more is better)", HERE / "burst.svg")
