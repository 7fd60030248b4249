"""Elements that take part without a line of JavaScript of their own, alone and with htmx and Turbo."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.browser import libraries
from tests.browser.chromium import complaints
from tests.browser.site import Site, is_open
from tests.docs_blocks import ROOT

POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
MODULES = ROOT / "node_modules"


Show = Callable[..., Page]


@pytest.fixture
def show(site: Site, browser: Browser, group: str) -> Iterator[Show]:
    """Shows pages of the site's origin that a test makes up, by path; all other requests go to the server."""
    context = browser.new_context()
    said: list[str] = []

    def shown(scripts: tuple[str, ...] = (), policy: str = POLICY, **pages: Callable[[], str]) -> Page:
        page = context.new_page()
        said.extend(complaints(page))
        head = "".join(f'<script defer src="/modules/{script}"></script>' for script in scripts)
        tag = (
            '<script defer src="/static/livepush/livepush.js" data-livepush data-url="/livepush/" '
            'data-attributes="/static/livepush/livepush-attributes.js" '
            """data-groups='["%s"]' data-position="%s"></script>"""
        )

        def answer(make: Callable[[], str]) -> Callable[[Route], None]:
            def fulfil(route: Route) -> None:
                here = site.elsewhere.position()
                body = make().replace("TAG", tag % (group, here)).replace("OTHER", tag % (f"{group}-other", here))
                html = (
                    f'<!doctype html><html lang="en"><head><title>page</title>{head}</head><body>{body}</body></html>'
                )
                route.fulfill(body=html, content_type="text/html", headers={"Content-Security-Policy": policy})

            return fulfil

        for name, make in pages.items():
            page.route(f"**/{name}/", answer(make))
        page.route("**/modules/**", lambda route: route.fulfill(path=MODULES / route.request.url.split("/modules/")[1]))
        page.goto(f"{site.server.url}/{next(iter(pages))}/")
        is_open(page)
        return page

    yield shown
    context.close()
    assert said == []


def test_an_element_gets_the_types_that_it_names(site: Site, show: Show, group: str) -> None:
    page = show(one=lambda: 'TAG<p id="a" data-livepush-on="moved  other"></p><p id="b" data-livepush-on="*"></p>')
    page.evaluate(
        """() => {
            window.heard = [];
            for (const id of ["a", "b"]) for (const name of ["livepush:event", "livepush:event:moved"]) {
                const element = document.getElementById(id);
                element.addEventListener(name, ({ detail }) => heard.push([id, name, detail.data]));
            }
            document.body.addEventListener("livepush:event", () => heard.push("it bubbles"));
        }"""
    )
    for number, name in enumerate(("moved", "third", "other")):
        site.elsewhere.send(group, name, number)
    page.wait_for_function("() => heard.length === 7")
    assert page.evaluate("heard") == [
        ["a", "livepush:event:moved", 0],
        ["a", "livepush:event", 0],
        ["b", "livepush:event:moved", 0],
        ["b", "livepush:event", 0],
        ["b", "livepush:event", 1],
        ["a", "livepush:event", 2],
        ["b", "livepush:event", 2],
    ]


def test_a_region_is_fetched_anew_once_for_a_burst_and_runs_no_script(site: Site, show: Show, group: str) -> None:
    fetched = 0

    def region() -> str:
        nonlocal fetched
        fetched += 1
        evil = "<script>window.ran = true</script>" if fetched > 1 else ""
        return f'TAG<section id="list" data-livepush-refresh="moved"><p>{fetched}</p>{evil}</section><p>{fetched}</p>'

    page = show(one=region, policy="")
    site.elsewhere.do("send_many", groups=group, type="moved", count=30)
    page.wait_for_function("() => document.querySelector('#list p').textContent === '2'")
    site.elsewhere.send(group, "other")
    page.wait_for_function("() => livepush.position")
    assert page.evaluate("[document.querySelector('#list + p').textContent, window.ran]") == ["1", None]
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => document.querySelector('#list p').textContent === '3'")
    assert fetched == 3


def test_a_region_is_fetched_under_a_strict_policy_from_an_address_of_its_own(
    site: Site, show: Show, group: str
) -> None:
    page = show(
        one=lambda: 'TAG<ul data-livepush-refresh="*" data-livepush-url="/rows/"></ul>',
        rows=lambda: "<li>first</li><li>second</li>",
    )
    page.evaluate("addEventListener('livepush:refreshed', ({ target }) => { window.refreshed = target.tagName })")
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => window.refreshed === 'UL'")
    assert page.inner_html("ul") == "<li>first</li><li>second</li>"


def test_the_script_that_fetches_regions_comes_with_the_first_of_them(site: Site, show: Show, group: str) -> None:
    asked: list[str] = []
    page = show(one=lambda: "TAG<main></main>", rows=lambda: "<li>new</li>")
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("livepush.on('moved', () => { window.heard = true; }) && 0")
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => window.heard")
    page.evaluate(
        """() => {
            const list = document.createElement("ul");
            list.dataset.livepushRefresh = "*";
            list.dataset.livepushUrl = "/rows/";
            document.querySelector("main").append(list);
        }"""
    )
    assert not any("livepush-attributes" in url for url in asked)
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => document.querySelector('ul').textContent === 'new'")


@pytest.mark.long
def test_a_region_is_fetched_when_its_script_comes_at_last(site: Site, show: Show, group: str) -> None:
    page = show(one=lambda: "TAG<main></main>", rows=lambda: "<li>new</li>")
    broken = iter([True, True])
    page.route(
        re.compile("/livepush-attributes.js"),
        lambda route: (
            route.fulfill(body="throw 0", content_type="text/javascript") if next(broken, None) else route.continue_()
        ),
    )
    page.evaluate(
        """() => {
            document.querySelector("main").dataset.livepushRefresh = "*";
            document.querySelector("main").dataset.livepushUrl = "/rows/";
        }"""
    )
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => document.querySelector('main').textContent === 'new'")
    assert next(broken, None) is None


def test_a_region_asks_no_other_host_whatever_a_user_has_written(site: Site, show: Show, group: str) -> None:
    region = '<ul data-livepush-refresh="*" data-livepush-url="%s"></ul>'
    page = show(
        (),
        "",
        one=lambda: f"TAG{region % 'https://elsewhere.test/rows/'}{region % '/rows/'}",
        rows=lambda: "<li>own</li>",
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Math.random = () => 0.5")  # both wait as long
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => document.querySelector('ul:last-of-type').textContent === 'own'")
    assert page.inner_html("ul:first-of-type") == ""
    assert not any("elsewhere.test" in url for url in asked)


def test_a_region_is_fetched_anew_after_a_reset(site: Site, show: Show, group: str) -> None:
    page = show(one=lambda: 'TAG<section id="list" data-livepush-refresh="moved"></section>')
    page.evaluate("addEventListener('livepush:refreshed', () => { window.refreshed = true })")
    page.evaluate("document.dispatchEvent(new CustomEvent('livepush:reset', { detail: {} }))")
    page.wait_for_function("() => window.refreshed")


def test_htmx_hears_events_and_refreshes(site: Site, show: Show, group: str) -> None:
    page = show(
        ("htmx.org/dist/htmx.min.js",),
        "",
        one=lambda: (
            'TAG<p id="a" data-livepush-on="moved" hx-get="/rows/" hx-trigger="livepush:event"></p>'
            '<p id="b" data-livepush-refresh="moved" hx-get="/rows/" hx-trigger="livepush:refresh"></p>'
        ),
        rows=lambda: "<b>fetched</b>",
    )
    page.wait_for_function("() => window.htmx")
    site.elsewhere.send(group, "moved")
    for name in ("a", "b"):
        page.wait_for_function("(id) => document.querySelector(`#${id} b`)", arg=name)


@pytest.mark.parametrize("library", [libraries.HTMX2, libraries.HTMX4])
def test_htmx_serves_what_comes_with_a_region(site: Site, show: Show, group: str, library: str) -> None:
    page = show(
        (library,),
        "",
        one=lambda: (
            'TAG<section id="list" data-livepush-refresh="moved">'
            '<button hx-post="/posted/" hx-swap="outerHTML">post</button></section>'
        ),
        posted=lambda: "<b>posted</b>",
    )
    page.evaluate("addEventListener('livepush:refreshed', () => { window.refreshed = true })")
    site.elsewhere.send(group, "moved")
    page.wait_for_function("() => window.refreshed")
    page.click("text=post")
    expect(page.locator("#list b")).to_have_text("posted")


@pytest.mark.parametrize("library", [libraries.HTMX2, libraries.HTMX4])
def test_the_groups_of_a_tag_that_htmx_swaps_out_are_dropped(site: Site, show: Show, group: str, library: str) -> None:
    page = show(
        (library,),
        "",
        one=lambda: 'TAG<main>OTHER</main><button hx-get="/text/" hx-target="main">swap</button>',
        text=lambda: "<p>no tag</p>",
    )
    page.wait_for_function("() => livepush.groups.length === 2")
    page.click("text=swap")
    page.wait_for_function("(group) => livepush.groups.join() === group", arg=group)


def is_refresh(request: Request) -> bool:
    return "x-livepush-refresh" in request.headers


@pytest.mark.parametrize(
    ("scripts", "body"),
    [
        ((libraries.TURBO,), "<div>"),
        ((libraries.HTMX2,), '<div hx-boost="true">'),
        ((libraries.HTMX4, libraries.HTMX4_CACHE), '<div hx-boost:inherited="true">'),
    ],
    ids=["turbo", "htmx2", "htmx4-cache"],
)
def test_a_region_that_was_old_when_its_body_was_copied_is_fetched_once_the_copy_is_shown(
    site: Site, show: Show, group: str, scripts: tuple[str, ...], body: str
) -> None:
    shown = ["old"]
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if is_refresh(route.request) and not held:
            held.append(route)
        else:
            route.fallback()

    page = show(
        scripts,
        "",
        one=lambda: f'{body}TAG<p id="list" data-livepush-refresh="moved">{shown[-1]}</p><a href="/two/">two</a></div>',
        two=lambda: f'{body}TAG<h1 id="two">2</h1></div>',
    )
    page.route("**/one/", hold_the_first)
    shown.append("new")
    with page.expect_request(is_refresh):
        site.elsewhere.send(group, "moved")
    page.click("text=two")
    page.wait_for_selector("#two")
    page.go_back()
    expect(page.locator("#list")).to_have_text("new")


def test_the_groups_follow_turbos_pages_over_one_connection(site: Site, show: Show, group: str) -> None:
    page = show(
        ("@hotwired/turbo/dist/turbo.es2017-umd.js",),
        "",
        one=lambda: 'TAG<a href="/two/">two</a>',
        two=lambda: 'OTHER<a id="back" href="/one/">one</a>',
    )
    page.evaluate(
        """() => {
            window.same = true;
            window.got = [];
            document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
        }"""
    )
    page.click("text=two")
    page.wait_for_selector("#back")
    page.wait_for_function("(group) => livepush.groups.join() === group", arg=f"{group}-other")
    site.elsewhere.send(group, "moved", "before")
    site.elsewhere.send(f"{group}-other", "moved", "after")
    page.wait_for_function("() => got.length")
    assert page.evaluate("[got, same]") == [["after"], True]


HEAR = """() => {
    window.got = [];
    document.addEventListener("livepush:event", ({ detail }) => {
        got.push([document.querySelector("h1").id, detail.data]);
    });
}"""
"""Notes each event with the page that got it."""


def two_bodies(show: Show) -> Page:
    """Show a page whose body Turbo swaps for that of another page with the same group."""
    page = show(
        ("@hotwired/turbo/dist/turbo.es2017-umd.js",),
        "",
        one=lambda: '<h1 id="one">1</h1>TAG<a href="/two/">two</a>',
        two=lambda: '<h1 id="two">2</h1>TAG',
    )
    page.evaluate(HEAR)
    return page


def test_a_body_that_turbo_swaps_in_is_told_what_came_while_it_was_on_its_way(
    site: Site, show: Show, group: str
) -> None:
    page = two_bodies(show)
    page.evaluate(
        """() => addEventListener("turbo:before-render", (event) => {
            event.preventDefault();
            window.go = event.detail.resume;
        })"""
    )
    site.elsewhere.send(group, "moved", "before")
    page.wait_for_function("() => got.length")
    page.click("text=two")
    page.wait_for_function("() => window.go")
    site.elsewhere.send(group, "moved", "meanwhile")
    page.wait_for_function("() => got.length === 2")
    page.evaluate("go()")
    page.wait_for_function("() => got.length === 3")
    site.elsewhere.send(group, "moved", "after")
    page.wait_for_function("() => got.length === 4")
    told = [["one", "before"], ["one", "meanwhile"], ["two", "meanwhile"], ["two", "after"]]
    assert page.evaluate("got") == told


def test_the_groups_follow_a_page_that_turbo_morphs(site: Site, show: Show, group: str) -> None:
    tags = iter(["TAG", "OTHER"])
    page = show(
        ("@hotwired/turbo/dist/turbo.es2017-umd.js",),
        "",
        one=lambda: f'<meta name="turbo-refresh-method" content="morph"><h1 id="one">1</h1>{next(tags)}',
    )
    is_open(page)
    page.evaluate(HEAR)
    page.evaluate(
        """() => {
            document.head.append(document.querySelector("meta"));
            window.tag = document.querySelector("[data-livepush]");
            Turbo.session.refresh(location.href);
        }"""
    )
    page.wait_for_function("(group) => livepush.groups.join() === group", arg=f"{group}-other")
    site.elsewhere.send(group, "moved", "before")
    site.elsewhere.send(f"{group}-other", "moved", "after")
    page.wait_for_function("() => got.length")
    assert page.evaluate("[got, tag.isConnected]") == [[["one", "after"]], True]


@pytest.mark.long
def test_a_body_that_turbo_brings_back_is_told_what_it_has_not_had(site: Site, show: Show, group: str) -> None:
    page = two_bodies(show)
    site.elsewhere.send(group, "moved", 1)
    page.wait_for_function("() => got.length")
    page.click("text=two")
    page.wait_for_selector("#two")
    site.elsewhere.send(group, "moved", 2)
    page.wait_for_function("() => got.length === 2")
    page.go_back()
    page.wait_for_function("() => got.length === 3")
    site.elsewhere.send(group, "moved", 3)
    page.wait_for_function("() => got.length === 4")
    assert page.evaluate("got") == [["one", 1], ["two", 2], ["one", 2], ["one", 3]]
