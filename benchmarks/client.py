"""The client in Chromium: from script to hello, from event to page in eight tabs, and how soon another tab takes over;
how soon the badges of five tabs and a second browser agree; how long a large event in small pieces takes.

``make bench-client`` prints the tables of ``docs/client.md`` and ``docs/inbox.md``. Everything runs on one machine over
loopback: uvicorn, PostgreSQL, Valkey, a publisher of its own process, and a Chromium whose tabs wake and sleep as a
user's do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.__main__ import postgresql
from tests.browser.devtools import Devtools, Tab, devtools
from tests.servers import databases, processes
from tests.servers.fresh import Databases
from tests.servers.processes import Publisher

TABS = 8
ROUNDS = 7
EVENTS = 200
AGREEMENTS = 40
RATE = 20
"""Events a second."""
NOTE = """
    const now = () => performance.timeOrigin + performance.now();
    Object.assign(window, { late: [], led: 0, hello: 0 });
    document.addEventListener("livepush:event", ({ detail }) => {
        document.title = `${detail.data}`;
        late.push(now() - Date.parse(detail.time));
    });
    document.addEventListener("livepush:state", ({ detail }) => {
        if (detail.state !== "open") return;
        hello ||= performance.now();
        if (livepush.role === "leader") led ||= now();
    });
"""
BADGES = """
    const now = () => performance.timeOrigin + performance.now();
    const bell = () => document.querySelector("livepush-bell").shadowRoot;
    Object.assign(window, { shown: 0, gone: 0 });
    document.addEventListener("livepush:inbox", ({ detail: { unseen } }) => {
        const badge = bell().querySelector("livepush-badge");
        if (badge.hidden !== !unseen) throw new Error("the badge does not show it");
        if (unseen) shown ||= now();
        else if (shown) gone ||= now();
    });
"""
PIECES = """
    async (size) => {
        const { LivepushClient } = await import("/static/livepush/livepush.mjs");
        const bytes = (envelope) => new TextEncoder().encode(`data: ${JSON.stringify(envelope)}\\n\\n`);
        const hello = bytes({ type: "livepush.hello", position: "a-0", groups: ["room:1"], refused: [] });
        const event = bytes({ type: "large", id: "a-1", group: "room:1", data: "x".repeat(size) });
        const pieces = [];
        for (let at = 0; at < event.length; at += 1460) pieces.push(event.slice(at, at + 1460));
        window.fetch = async () => new Response(new ReadableStream({
            start: (controller) => { for (const piece of [hello, ...pieces]) controller.enqueue(piece); },
        }), { headers: { "content-type": "text/event-stream" } });
        const client = new LivepushClient({ url: "/livepush/", groups: ["room:1"], target: new EventTarget() });
        const begun = performance.now();
        const heard = new Promise((resolve) => client.on("large", resolve));
        client.start();
        if ((await heard).length !== size) throw new Error("the event is not whole");
        client.stop();
        return performance.now() - begun;
    }
"""
"""Has a client read an event in pieces of 1,460 bytes, as TCP segments bring it, and returns how long that takes."""
MIB = 2**20
START = "performance.getEntriesByType('resource').find(({ name }) => name.endsWith('livepush.js')).responseEnd"
Open = Callable[[int], list[Tab]]


def main() -> None:
    """Measure, and print the table."""
    with contextlib.ExitStack() as stack:
        os.environ[databases.ENV] = json.dumps({"postgresql": stack.enter_context(postgresql())})
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        made = stack.enter_context(contextlib.closing(Databases(folder)))
        database = stack.enter_context(made.fresh("postgresql"))
        redis = stack.enter_context(processes.valkey())
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis}
        publisher = stack.enter_context(processes.publisher(database, **env))
        server = stack.enter_context(processes.server("uvicorn", database, env=env))
        browser = stack.enter_context(devtools(folder / "profile"))
        other = stack.enter_context(devtools(folder / "other"))
        print("| what | median | worst |\n|---|---|---|")
        measured = (
            hellos(browser, server.url),
            delays(browser, server.url, publisher),
            takeovers(browser, server.url),
            agreements(browser, other, server.url, publisher),
        )
        for name, found in itertools.chain(*measured):
            print(f"| {name} | {statistics.median(found):.0f} ms | {max(found):.0f} ms |", flush=True)
        small, large = (pieces(browser, server.url, mebibytes) for mebibytes in (1, 4))
        for mebibytes, found in ((1, small), (4, large)):
            name = f"to read an event of {mebibytes} MiB, in pieces of 1,460 bytes"
            print(f"| {name} | {statistics.median(found):.0f} ms | {max(found):.0f} ms |")
        ratio = statistics.median(large) / statistics.median(small)
        print(f"\nThe event of 4 MiB takes {ratio:.1f} times as long as the one of 1 MiB.")


def tabs(browser: Devtools, url: str, count: int) -> list[Tab]:
    """Open tabs, one after the other."""
    found = []
    for _ in range(count):
        found.append(browser.tab(f"{url}/live/?group=room:1", NOTE))
        found[-1].until("window.livepush?.state === 'open'")
    return found


@contextlib.contextmanager
def opened(browser: Devtools, url: str, count: int) -> Iterator[list[Tab]]:
    """Have some tabs for a while."""
    found = tabs(browser, url, count)
    yield found
    for tab in found:
        with contextlib.suppress(RuntimeError, TimeoutError):
            tab.close()


def hellos(browser: Devtools, url: str) -> Iterator[tuple[str, list[float]]]:
    """Measure the way from the client's script to its hello."""
    first, more = [], []
    for _ in range(ROUNDS):
        with opened(browser, url, 3) as found:
            times = [tab.evaluate(f"hello - {START}") for tab in found]
            first.append(times[0])
            more += times[1:]
    yield "from the script to hello, the first tab", first
    yield "the same, each further tab", more


def delays(browser: Devtools, url: str, publisher: Publisher) -> Iterator[tuple[str, list[float]]]:
    """Measure the way from ``send`` to the page, in eight tabs."""
    with opened(browser, url, TABS) as found:
        for tab in found:
            tab.evaluate("late.length = 0")
        for number in range(EVENTS):
            publisher.send("room:1", "count", number)
            time.sleep(1 / RATE)
        for tab in found:
            tab.until(f"late.length === {EVENTS}")
        late = [tab.evaluate("late") for tab in found]
    yield "from `send` to the page, in the tab with the connection", late[0]
    yield f"the same, in the {TABS - 1} others", [each for times in late[1:] for each in times]


def takeovers(browser: Devtools, url: str) -> Iterator[tuple[str, list[float]]]:
    """Measure from the loss of the leader to the hello of the next."""
    ways: dict[str, Callable[[Tab], object]] = {
        "is closed": Tab.close,
        "crashes": Tab.crash,
        "goes to another page (and into the back/forward cache)": lambda tab: tab.go(f"{url}/ready/"),
        "is frozen": Tab.freeze,
        "hangs": lambda tab: tab.evaluate(
            "void setTimeout(() => { const end = Date.now() + 16e3; while (Date.now() < end); })"
        ),
    }
    for name, lose in ways.items():
        times = []
        for _ in range(2 if name == "hangs" else ROUNDS):
            with opened(browser, url, 3) as found:
                begin = time.time() * 1000
                lose(found[0])
                times.append(next_leader(found[1:]) - begin)
        yield f"another tab takes over when the first {name}", times


def agreements(browser: Devtools, other: Devtools, url: str, publisher: Publisher) -> Iterator[tuple[str, list[float]]]:
    """Measure from a click on the bell, in one of five tabs, until no badge shows a count, in two browsers."""
    name, _, value = publisher.session("ann").partition("=")
    found = []
    for each, count in ((browser, 5), (other, 1)):
        each.call("Storage.setCookies", cookies=[{"name": name, "value": value, "url": url}])
        found += [each.tab(f"{url}/bell/", BADGES) for _ in range(count)]
    for tab in found:
        tab.until("window.livepush?.state === 'open'")
    clicked, *others = found[4], *found[:4], found[5]
    came, own, here, there = [], [], [], []
    for number in range(AGREEMENTS):
        for tab in found:
            tab.evaluate("void Object.assign(window, { shown: 0, gone: 0 })")
        begin = time.time() * 1000
        publisher.do("notify", to="ann", title=f"Number {number}")
        for tab in found:
            tab.until("shown")
            came.append(tab.evaluate("shown") - begin)
        click = clicked.evaluate("(() => { const at = now(); bell().querySelector('button').click(); return at; })()")
        for tab in found:
            tab.until("gone")
        own.append(clicked.evaluate("gone") - click)
        times = [tab.evaluate("gone") - click for tab in others]
        here += times[:-1]
        there.append(times[-1])
        clicked.evaluate("bell().querySelector('#panel').hidePopover()")
    yield "from `notify` to the badge, in five tabs and a second browser", came
    yield "from a click on the bell to its own badge: the list is fetched and shown, then it is seen", own
    yield "the same, to the badge in the four other tabs", here
    yield "the same, to the badge in the second browser", there


def pieces(browser: Devtools, url: str, mebibytes: int) -> list[float]:
    """Measure how long the client takes to read a large event from a stream in small pieces."""
    with opened(browser, url, 1) as (tab,):
        return [tab.evaluate(f"({PIECES})({mebibytes * MIB})") for _ in range(ROUNDS + 1)][1:]  # the first warms up


def next_leader(found: list[Tab]) -> float:
    """Return when one of some tabs led."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for tab in found:
            if when := tab.evaluate("led"):
                return float(when)
        time.sleep(0.01)
    raise TimeoutError("no tab took over")


if __name__ == "__main__":
    main()
