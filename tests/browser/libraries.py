"""Pages of the site with a library that swaps their bodies: Turbo, htmx 2 or htmx 4."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.sync_api import BrowserContext, Route

from tests.docs_blocks import ROOT

MODULES = ROOT / "node_modules"
BELLS = "**/bell/**"
"""The addresses of the pages with a bell."""
TURBO = "@hotwired/turbo/dist/turbo.es2017-umd.js"
HTMX2 = "htmx2/dist/htmx.min.js"
HTMX2_SSE = "htmx-ext-sse/dist/sse.min.js"
HTMX4_SSE = "htmx.org/dist/ext/hx-sse.min.js"
HTMX4 = "htmx.org/dist/htmx.min.js"
HTMX4_CACHE = "htmx.org/dist/ext/hx-history-cache.min.js"


def dress(html: str, scripts: Sequence[str], body: str = "<body>", head: str = "") -> str:
    """Return a page with scripts, as its template would have them, and with another beginning of its body."""
    tags = "".join(f'<script defer src="/modules/{script}"></script>' for script in scripts)
    end = "</head>" if "</head>" in html else "<body>"
    return html.replace(end, f"{head}{tags}{end}").replace("<body>", body)


def give(
    context: BrowserContext, scripts: Sequence[str], body: str = "<body>", head: str = "", pages: str = BELLS
) -> None:
    """Give the bell's pages, or others, scripts, as their templates would, and how their body begins.

    The context needs ``bypass_csp``: the libraries put styles into the page.
    """

    def answer(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=dress(response.text(), scripts, body, head))

    context.route(pages, answer)
    context.route("**/modules/**", lambda route: route.fulfill(path=MODULES / route.request.url.split("/modules/")[1]))
