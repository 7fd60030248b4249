"""What a page holds: memory, nodes, listeners and timers."""

from __future__ import annotations

from playwright.sync_api import Page

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
FIGURES = {"JSHeapUsedSize": "heap", "Nodes": "nodes", "JSEventListeners": "listeners", "Documents": "documents"}
"""What the browser counts, by its name and ours."""


def measure(page: Page) -> dict[str, float]:
    """Return what a page holds once nothing goes on in it; ``WATCH`` must run in it."""
    page.wait_for_function(AT_REST)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("HeapProfiler.enable")
    for _ in range(3):  # what one collection lets go of may have held more
        session.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    timers: dict[str, float] = page.evaluate("({ intervals: held.intervals.size, timeouts: held.timeouts.size })")
    return {**{ours: metrics[its] for its, ours in FIGURES.items()}, **timers}


def grown(before: dict[str, float], after: dict[str, float], by: float = 0.1) -> dict[str, tuple[float, float]]:
    """Return the figures that have grown by more than a part of what they were."""
    return {name: (before[name], after[name]) for name in before if after[name] > before[name] * (1 + by)}
