"""A page's messages in Chromium: each takes effect once, in order, whatever happens to the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser.chromium import complaints
from tests.browser.site import STORED, Site, is_open
from tests.scale import some

SETTINGS = {"MESSAGES_PER_SECOND": 200, "COMMANDS_PER_SECOND": 200}
USE = 'document.addEventListener("DOMContentLoaded", () => livepush.use("{}"));'
NOTE = 'window.got = []; document.addEventListener("livepush:event", ({ detail }) => got.push(detail));'
Enter = Callable[..., Page]


@pytest.fixture
def login(site: Site, browser: Browser) -> Iterator[Callable[[str], BrowserContext]]:
    """Returns a new browser in which somebody is logged in."""
    contexts = []

    def made(name: str = "ada") -> BrowserContext:
        context = browser.new_context()
        contexts.append(context)
        key, _, value = site.elsewhere.session(name).partition("=")
        context.add_cookies([{"name": key, "value": value, "url": site.server.url}])
        return context

    yield made
    for context in contexts:
        context.close()


def enter(context: BrowserContext, site: Site, group: str, transport: str | None = None) -> Page:
    page = context.new_page()
    page.add_init_script(NOTE)
    if transport:
        page.add_init_script(USE.format(transport))
    page.goto(f"{site.server.url}/live/?group={group}")
    is_open(page, transport)
    return page


def send(page: Page, group: str, type: str, data: object, **options: object) -> object:
    """Send a message; return the answer, or what it was refused with."""
    return page.evaluate(
        "what => livepush.send(...what).catch(error => ({code: error.code, errors: error.errors}))",
        [group, type, data, options],
    )


def begin(page: Page, group: str, *data: object, **options: object) -> None:
    """Send messages, and do not wait for the answers."""
    page.evaluate(
        "([group, data, options]) => { window.answers ??= [];"
        " for (const each of data) livepush.send(group, 'chat', each, options).then("
        "  () => answers.push(each), (error) => answers.push(error.code)) }",
        [group, list(data), options],
    )


def heard(page: Page, count: int) -> list[object]:
    page.wait_for_function("(count) => got.length >= count", arg=count)
    return [event["data"] for event in page.evaluate("got")]


def stored(site: Site, group: str) -> list[object]:
    return [each["data"] for each in site.envelopes(group)]


@pytest.mark.parametrize("transport", some(["websocket", "sse", "longpoll", "poll"], 2))
def test_a_message_reaches_others_in_its_senders_name_over_any_transport(site, login, group, transport):
    other = enter(login("ben"), site, group)
    page = enter(login("ada"), site, group, transport)
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.url.endswith("/send/") else None)
    assert send(page, group, "chat", {"text": "Hi"}) is None
    assert heard(other, 1) == [{"text": "Hi"}]
    (event,) = other.evaluate("got")
    assert event["from"]["name"] == "ada"
    assert bool(posts) is (transport != "websocket")
    assert heard(page, 1) == [{"text": "Hi"}]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_handlers_answer_and_its_refusals_come_back(site, login, group, transport):
    desk = group.replace("room", "desk")
    page = enter(login(), site, desk, transport)
    assert send(page, desk, "question", "why?") == {"asked": "why?"}
    assert send(page, desk, "aquestion", "when?") == {"asked": "when?"}
    assert send(page, desk, "question", "") == {"code": "invalid", "errors": {"text": ["Ask something."]}}
    assert send(page, desk, "order.updated", 1)["code"] == "forbidden"
    assert send(page, desk, "livepush.reset", 1)["code"] == "bad_event"
    assert stored(site, desk) == ["why?", "when?"]


def test_messages_wait_offline_and_go_out_in_order_once(site, login, group):
    context = login()
    page = enter(context, site, group)
    send(page, group, "chat", 0)  # the module is there
    context.set_offline(True)
    begin(page, group, 1, 2, 3)
    page.wait_for_function("() => livepush.pending.length === 3")
    assert [each["data"] for each in page.evaluate("livepush.pending")] == [1, 2, 3]
    context.set_offline(False)
    page.wait_for_function("() => window.answers?.length === 3")
    assert page.evaluate("answers") == [1, 2, 3]
    assert page.evaluate("livepush.pending") == []
    assert heard(page, 4) == stored(site, group) == [0, 1, 2, 3]


def test_the_first_message_waits_while_even_its_module_can_not_be_loaded(site, login, group):
    context = login()
    context.route("**/livepush-send.js*", lambda route: route.abort())
    with context.expect_event("requestfailed", lambda request: "livepush-send" in request.url):
        page = enter(context, site, group)
    begin(page, group, "first")
    context.unroute("**/livepush-send.js*")
    page.wait_for_function("() => window.answers?.length === 1")
    assert stored(site, group) == ["first"]


def test_the_first_message_of_a_page_needs_no_network_to_be_kept(site, login, group):
    context = login()
    with context.expect_event("response", lambda response: "livepush-send" in response.url):
        page = enter(context, site, group)
    context.set_offline(True)
    begin(page, group, "first", persist=True)
    page.wait_for_function("() => localStorage.livepush === '1'")
    page.close()
    context.set_offline(False)
    page = enter(context, site, group)
    page.wait_for_function("() => !localStorage.livepush")
    assert stored(site, group) == ["first"]


def test_an_answer_that_is_lost_makes_no_second_message(site, login, group):
    context = login()
    page = enter(context, site, group, "sse")
    lost = []

    def lose(route: Route) -> None:
        if len(lost) < 2:
            lost.append(route.fetch())  # the server has done it
            route.abort()
        else:
            route.continue_()

    page.route("**/send/", lose)
    begin(page, group, "a", "b")
    page.wait_for_function("() => window.answers?.length === 2")
    assert len(lost) == 2
    assert heard(page, 2) == stored(site, group) == ["a", "b"]
    page.unroute_all(behavior="wait")


def test_cuts_of_the_line_lose_and_repeat_no_message(site, login, group):
    page = enter(login(), site, group, "websocket")
    for number in range(30):
        begin(page, group, number)
        if number % 6 == 3:
            page.evaluate("livepush.cut()")
    page.wait_for_function("() => window.answers?.length === 30")
    assert heard(page, 30) == stored(site, group) == list(range(30))


def test_a_following_tab_sends_by_itself(site, login, group):
    context = login()
    enter(context, site, group, "websocket")
    follower = enter(context, site, group)
    follower.wait_for_function("() => livepush.role === 'follower'")
    assert send(follower, group, "chat", "from the second tab") is None
    assert heard(follower, 1) == ["from the second tab"]


def test_a_message_that_is_to_persist_survives_the_page(site, login, group):
    context = login()
    page = enter(context, site, group)
    send(page, group, "chat", "before")
    context.set_offline(True)
    begin(page, group, "kept", persist=True)
    begin(page, group, "gone")
    page.wait_for_function("() => localStorage.livepush === '1'")
    page.close()
    context.set_offline(False)
    page = enter(context, site, group)
    page.wait_for_function("() => !localStorage.livepush")
    assert stored(site, group) == ["before", "kept"]
    page.wait_for_function("() => !livepush.pending.length")


def test_what_one_user_left_does_not_go_out_in_the_next_ones_name(site, login, group):
    context = login("ada")
    page = enter(context, site, group)
    send(page, group, "chat", "before")
    context.set_offline(True)
    begin(page, group, "of ada", persist=True)
    page.wait_for_function("() => localStorage.livepush === '1'")
    name, _, value = site.elsewhere.session("ben").partition("=")
    context.add_cookies([{"name": name, "value": value, "url": site.server.url}])
    context.set_offline(False)
    page.wait_for_function("() => window.answers?.length === 1")
    assert page.evaluate("answers") == ["other_login"]  # the open page's message
    page.close()
    page = enter(context, site, group)
    page.wait_for_function("() => !localStorage.livepush")
    assert stored(site, group) == ["before"]


def test_a_page_that_was_closed_while_it_noted_that_nothing_is_left_costs_the_next_ones_nothing(site, login, group):
    context = login()
    page = enter(context, site, group)
    page.evaluate("localStorage.livepush = 1")  # so it would be left
    page.reload()
    page.wait_for_function("() => !localStorage.livepush")
    assert page.evaluate("livepush.pending") == []


@pytest.mark.long
def test_a_note_that_messages_are_left_is_true_whichever_page_comes_last(site, login, group):
    context = login()
    pages = [enter(context, site, group) for _ in range(3)]
    for _ in range(2):
        for page in pages[:2]:  # each stores, and takes away what was answered, while the other one does
            begin(page, group, *range(5), persist=True)
        context.set_offline(True)
        begin(pages[2], group, "last", persist=True)
        pages[2].wait_for_function("() => localStorage.livepush === '1'")
        context.set_offline(False)
        for page in pages:
            page.wait_for_function("() => !livepush.pending.length")
        pages[2].wait_for_function("() => !localStorage.livepush")


@pytest.mark.long
def test_cursors_are_gathered_and_the_newest_wins(site, login, group):
    other = enter(login("ben"), site, group, "websocket")
    for transport in ("websocket", "sse"):
        page = enter(login("ada"), site, group, transport)
        other.evaluate("got.length = 0")
        page.evaluate(
            """async group => {
                for (let n = 0; n < 200; n++) {
                    livepush.send(group, "typing", n, { ephemeral: true });
                    if (n % 20 === 0) await new Promise((done) => setTimeout(done, 20));
                }
            }""",
            group,
        )
        other.wait_for_function("() => got.at(-1)?.data === 199")
        got = heard(other, 1)
        assert len(got) < 40
        assert got == sorted(got)
    assert stored(site, group) == []
    assert send(page, group, "other", 1, ephemeral=True)["code"] == "forbidden"


SLOW_CURSORS = """
const quick = window.fetch;
window.fetch = async (url, options) => {
    if (options?.body?.includes('"ephemeral":true')) await new Promise((done) => setTimeout(done, 100));
    return quick(url, options);
};
"""


@pytest.mark.long
@pytest.mark.parametrize("transport", some(["websocket", "sse"]))
def test_typing_does_not_arrive_after_the_message_that_was_typed(site, login, group, transport):
    other = enter(login("ben"), site, group, "websocket")
    page = enter(login("ada"), site, group, transport)
    page.evaluate(SLOW_CURSORS)
    page.evaluate(
        """async group => {
            for (let n = 0; n < 10; n++) {
                for (let key = 0; key < 3; key++) {
                    livepush.send(group, "typing", n, { ephemeral: true });
                    await new Promise((done) => setTimeout(done, 5));
                }
                await livepush.send(group, "chat", n);
            }
        }""",
        group,
    )
    other.wait_for_function("() => got.some(({ type, data }) => type === 'chat' && data === 9)")
    said = [(event["type"], event["data"]) for event in other.evaluate("got")]
    assert {data for type, data in said if type == "typing"} == set(range(10))
    for place, (type, data) in enumerate(said):
        assert type == "chat" or ("chat", data) in said[place:]


def test_a_page_under_a_strict_policy_sends(site, browser, login, group):
    context = login()
    page = context.new_page()
    said = complaints(page)
    page.route("**/live/**", lambda route: _with_policy(route))
    page.goto(f"{site.server.url}/live/?group={group}&nonce=1")
    is_open(page)
    assert send(page, group, "chat", "Hi") is None
    assert said == []


def _with_policy(route: Route) -> None:
    response = route.fetch()
    body = response.text().replace("<script ", '<script nonce="n0" ')
    policy = "script-src 'nonce-n0'; object-src 'none'; base-uri 'none'; require-trusted-types-for 'script'"
    route.fulfill(response=response, body=body, headers={**response.headers, "content-security-policy": policy})


def test_the_client_of_a_bundler_sends_too(site, login, group):
    context = login()
    page = enter(context, site, group)
    reply = page.evaluate(
        """async ([url, group]) => {
            const { LivepushClient } = await import(`${url}/static/livepush/livepush.mjs`);
            document.querySelectorAll("script[data-livepush]").forEach((tag) => tag.remove());
            const client = new LivepushClient({ url: "/livepush/", groups: [group], tabs: "ada" });
            client.start();
            return [await client.send(group, "chat", "from a bundle"), client.pending];
        }""",
        [site.server.url, group],
    )
    assert reply == [None, []]
    assert stored(site, group) == ["from a bundle"]


@pytest.mark.long
def test_bytes_arrive_as_bytes_over_any_transport(site, login, group):
    pages = [enter(login("ben"), site, group, each) for each in ("websocket", "sse", "poll")]
    for page in pages:
        page.evaluate(
            """([group, n]) => livepush.send(group, "chat", new Uint8Array([0, 10, 255, n])).then(() =>
                livepush.send(group, "chat", new Uint8Array()))""",
            [group, pages.index(page)],
        )
    for page in pages:
        page.wait_for_function("() => got.length === 6")
        found = page.evaluate("got.map(({ data }) => [data instanceof Uint8Array, ...data])")
        assert found == [each for n in range(3) for each in ([True, 0, 10, 255, n], [True])]


@pytest.mark.long
def test_a_page_shows_what_is_on_its_way(site, login, group):
    page = enter(login(), site, group)
    page.evaluate(
        "window.waiting = [];"
        "document.addEventListener('livepush:pending', ({ detail }) => waiting.push(detail.pending.length))"
    )
    send(page, group, "chat", 1)
    assert page.evaluate("waiting") == [1, 0]


@pytest.mark.long
def test_a_page_hears_what_became_of_the_messages_that_an_earlier_one_has_left(site, login, group):
    desk = group.replace("room", "desk")
    context = login()
    page = enter(context, site, desk)
    send(page, desk, "question", "first")  # the module is there
    context.route("**/send/", lambda route: route.abort())
    page.evaluate(
        "(group) => { for (const each of ['why?', '']) livepush.send(group, 'question', each, {persist: true}) }", desk
    )
    page.wait_for_function(f"async () => await ({STORED})() === 2")
    page.close()
    context.unroute("**/send/")
    page = context.new_page()
    page.add_init_script(
        "window.ends = [];"
        "document.addEventListener('livepush:answered', ({detail: {data, reply, error}}) =>"
        "    ends.push([data, reply, error?.code, error?.errors]))"
    )
    page.goto(f"{site.server.url}/live/?group={desk}")
    page.wait_for_function("() => ends.length === 2")
    assert page.evaluate("JSON.stringify(ends)") == json.dumps(
        [["why?", {"asked": "why?"}, None, None], ["", None, "invalid", {"text": ["Ask something."]}]],
        separators=(",", ":"),
    )


def test_long_keys_and_large_data_go_over_the_websocket_which_stays(site, login, group):
    page = enter(login(), site, group, "websocket")
    posts = []
    page.on("request", lambda request: posts.append(request.url) if request.url.endswith("/send/") else None)
    for length in (100, 101, 200):
        assert send(page, group, "chat", "x" * 65_534, key="語" * length) is None
    assert posts == []
    assert send(page, group, "chat", "x" * 80_000)["code"] == "too_large"
    assert len(posts) == 1
    assert page.evaluate("[livepush.state, livepush.transport]") == ["open", "websocket"]
