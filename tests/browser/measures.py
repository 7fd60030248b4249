"""What a page holds: memory, nodes, listeners and timers."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import CDPSession, Page

WATCH = """
(() => {
    const [repeat, unrepeat, wait, unwait] = [setInterval, clearInterval, setTimeout, clearTimeout];
    const held = { intervals: new Set(), timeouts: new Map(), requests: new Set() };
    window.held = held;
    window.setInterval = (...given) => {
        const timer = repeat(...given);
        held.intervals.add(timer);
        return timer;
    };
    window.clearInterval = (timer) => { held.intervals.delete(timer); unrepeat(timer); };
    window.setTimeout = (work, ms, ...more) => {
        const timer = wait((...given) => { held.timeouts.delete(timer); work(...given); }, ms, ...more);
        held.timeouts.set(timer, ms ?? 0);
        return timer;
    };
    window.clearTimeout = (timer) => { held.timeouts.delete(timer); unwait(timer); };

    const { send } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.send = function (...given) {
        held.requests.add(this);
        this.addEventListener("loadend", () => held.requests.delete(this));
        send.apply(this, given);
    };
})();
"""
"""Notes the timers that go on, and the requests under way. It runs before a page's own scripts."""
FAST = """
(() => {
    const repeat = setInterval;
    window.setInterval = (work, ms, ...more) => repeat(work, ms < 1000 ? ms : ms / 100, ...more);
})();
"""
"""Has what a page does every few seconds done a hundred times as often."""
AT_REST = "() => !held.requests.size && ![...held.timeouts.values()].some((ms) => ms < 6000)"
"""Whether nothing goes on but the connection's own long waits."""
FIGURES = {"JSHeapUsedSize": "whole heap", "Nodes": "nodes", "JSEventListeners": "listeners", "Documents": "documents"}
"""What the browser counts, by its name and ours."""
OF_SCRIPTS = ("object", "closure", "array", "string", "concatenated string", "number", "regexp", "symbol", "bigint")
"""The kinds of things in the heap that scripts make. The others are the browser's: in a page that is used for long it
compiles more and more of the code, and as long as developer tools are attached, it keeps what came over the network."""


def measure(page: Page) -> dict[str, float]:
    """Return what a page holds once nothing goes on in it; ``WATCH`` must run in it."""
    page.wait_for_function(AT_REST)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.enable")
    for _ in range(3):  # what one collection lets go of may have held more
        session.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    heap = _heap(session)
    session.detach()
    timers: dict[str, float] = page.evaluate("({ intervals: held.intervals.size, timeouts: held.timeouts.size })")
    return {"heap": heap, **{ours: metrics[its] for its, ours in FIGURES.items()}, **timers}


def _heap(session: CDPSession) -> int:
    """Return how many bytes the things that scripts have made take."""
    chunks: list[str] = []
    session.on("HeapProfiler.addHeapSnapshotChunk", lambda event: chunks.append(event["chunk"]))
    session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    found: dict[str, Any] = json.loads("".join(chunks))
    meta, nodes = found["snapshot"]["meta"], found["nodes"]
    names, fields = meta["node_types"][0], meta["node_fields"]
    kinds = nodes[fields.index("type") :: len(fields)]
    sizes = nodes[fields.index("self_size") :: len(fields)]
    return sum(size for kind, size in zip(kinds, sizes, strict=True) if names[kind] in OF_SCRIPTS)


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return the figures that have grown by more than a tenth. The whole heap is only to be read."""
    names = [name for name in before if name != "whole heap"]
    return {name: (before[name], after[name]) for name in names if after[name] > before[name] * 1.1}
