"""The manual's examples for bundlers and React, bundled as a project would and run in Chromium."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from tests.browser.chromium import complaints
from tests.browser.site import Site
from tests.docs_blocks import ROOT, blocks

STATIC = ROOT / "livepush" / "static" / "livepush"
EXAMPLES = {
    "react": ("recipes/react.md", ["useEffect"]),
    "bundler": ("client.md", ['groups: ["board"], tabs', "live.wake"]),
}
"""The page that each is on, and what each of its blocks contains."""
BEFORE = {
    "react": (
        'import { createElement, useEffect, useRef, useState } from "react";\n'
        'import { createRoot } from "react-dom/client";\n'
    ),
    "bundler": "",
}
AFTER = {
    "react": 'createRoot(document.querySelector("#app")).render(<Status />);\n',
    "bundler": 'live.on("status", (data) => (document.querySelector("#app").textContent = data.status));\n',
}


def example(name: str) -> str:
    """Return an example of the manual as a program."""
    where, marks = EXAMPLES[name]
    plain = [block.text for block in blocks(ROOT / "docs" / where) if not block.file]
    texts = [text for text in plain if any(mark in text for mark in marks)]
    assert len(texts) == len(marks)
    return BEFORE[name] + "".join(texts) + AFTER[name]


def bundle(name: str, folder: Path) -> Path:
    """Bundle an example as a project would, beside the files that it imports."""
    source, made = folder / "app.jsx", folder / "app.js"
    source.write_text(example(name))
    (folder / "livepush.mjs").write_bytes((STATIC / "livepush.mjs").read_bytes())
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    command = [
        ROOT / "node_modules" / ".bin" / "esbuild", source, "--bundle", f"--outfile={made}", "--log-level=warning",
        "--jsx-factory=createElement", '--define:process.env.NODE_ENV="production"',
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=folder)
    return made


@pytest.mark.long
@pytest.mark.parametrize("name", list(BEFORE))
def test_the_example_shows_what_comes(site: Site, browser: Browser, tmp_path: Path, name: str) -> None:
    made = bundle(name, tmp_path)
    tag = (
        '<script defer src="/static/livepush/livepush.js" data-livepush data-url="/livepush/" '
        f"""data-groups='["board"]' data-position="{site.elsewhere.position()}"></script>"""
    )
    html = f'<!doctype html>{"" if name == "bundler" else tag}<div id="app"></div><script defer src="/app.js"></script>'

    def answer(route: Route) -> None:
        route.fulfill(body=html, content_type="text/html")

    with browser.new_context() as context:
        page = context.new_page()
        said = complaints(page)
        page.add_init_script(
            "document.addEventListener('livepush:state', ({ detail }) => {"
            " document.documentElement.dataset.state = detail.state; })"
        )
        page.route("**/one/", answer)
        page.route("**/app.js", lambda route: route.fulfill(path=made, content_type="text/javascript"))
        page.goto(f"{site.server.url}/one/")
        page.wait_for_function("() => document.querySelector('html').dataset.state === 'open'")
        for number in range(3):
            site.elsewhere.send("board", "status", {"status": f"shipped {number}"})
        page.wait_for_function("() => document.querySelector('#app').textContent === 'shipped 2'")
        for event, state in [("pagehide", "paused"), ("pageshow", "open")]:
            page.evaluate(f"dispatchEvent(new Event('{event}'))")
            page.wait_for_function(f"() => document.querySelector('html').dataset.state === '{state}'")
        assert said == []
