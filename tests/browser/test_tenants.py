"""The inbox in the pages of a tenant, who has a subdomain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser

from tests.browser.readers import has_badge
from tests.browser.site import Site, is_open
from tests.servers import processes
from tests.servers.fresh import Databases

SETTINGS = {"TENANT": "tests.shop.subdomains.Subdomains"}


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, SETTINGS) as elsewhere,
        processes.server("uvicorn", database, {"DRAIN": 0.2, **SETTINGS}, env={"LIVEPUSH_TEST_TENANTS": "1"}) as server,
    ):
        yield Site(database, elsewhere, server)


def test_who_logs_in_again_elsewhere_is_told_live_again_though_the_page_went_on_with_other_groups(
    site: Site, browser: Browser
) -> None:
    url = f"http://acme.shop.test:{site.server.port}"
    cookie = site.elsewhere.session("ann")
    own = site.user_group("ann")
    with closing(browser.new_context()) as context:

        def log_in(cookie: str) -> None:
            name, _, value = cookie.partition("=")
            context.add_cookies([{"name": name, "value": value, "url": url}])

        log_in(cookie)
        page = context.new_page()
        page.goto(f"{url}/bell/?early=board")
        is_open(page)
        context.clear_cookies()
        site.elsewhere.do("end_session", cookie=cookie, how="logout")
        page.wait_for_function("(own) => livepush.state === 'open' && livepush.refused.includes(own)", arg=own)
        log_in(site.elsewhere.session("ann"))
        page.evaluate("dispatchEvent(new Event('focus'))")
        page.wait_for_function("(own) => livepush.state === 'open' && livepush.groups.includes(own)", arg=own)
        site.elsewhere.do("notify", to="ann", title="One", tenant="acme")
        has_badge(page, "1")
