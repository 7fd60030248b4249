"""The admin's page with the figures of all processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import translation
from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import complaints
from tests.browser.site import Site
from tests.patience import PATIENCE_MS
from tests.servers import processes

SETTINGS = {"METRICS_TOKEN": "s3cret", "METRICS_INTERVAL": 0.2}
URL = "/admin/livepush/processfigures/"


@pytest.fixture
def admin(site: Site, browser: Browser) -> Iterator[Page]:
    """The page, as a superuser sees it."""
    name, _, key = site.elsewhere.do("session", username="root", is_staff=True, is_superuser=True).partition("=")
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([{"name": name, "value": key, "url": site.server.url}])
    page = context.new_page()
    said = complaints(page)
    page.goto(site.server.url + URL)
    yield page
    context.close()
    assert said == []


def tile(page: Page, name: str) -> object:
    return expect(page.locator(".livepush-tiles div", has_text=name).locator("dd"))


@pytest.mark.long
def test_the_page_follows_the_figures_of_all_processes(site: Site, admin: Page, browser: Browser) -> None:
    tile(admin, "Clients").to_have_text("0")
    reader = browser.new_context()
    with processes.server("daphne", site.database, SETTINGS) as other:
        for server in (site.server, other):
            reader.new_page().goto(f"{server.url}/live/?group=board")
        tile(admin, "Clients").to_have_text("2")
        tile(admin, "Processes").to_have_text("2")
        site.elsewhere.send("board", "moved")
        tile(admin, "Deliveries").to_have_text("2")
        tile(admin, "Log position").to_have_text("1")
        reader.close()
        expect(admin.get_by_role("row").filter(has_text="Disconnected")).to_contain_text("sse · gone")
    tile(admin, "Processes").to_have_text("1")


def figures(client) -> str:
    answer = client.get(reverse("admin:livepush_processfigures_changelist"))
    assert answer.status_code == 200
    return answer.text


@pytest.mark.long
@pytest.mark.django_db
def test_where_nobody_may_read_metrics_the_page_says_how_to_switch_them_on(admin_client, settings) -> None:
    assert "METRICS_TOKEN" in figures(admin_client)
    settings.LIVEPUSH = SETTINGS
    assert "No process has written down figures" in figures(admin_client)


@pytest.mark.django_db
def test_who_may_not_look_sees_nothing(client, settings) -> None:
    user = User.objects.create_user("looker", is_staff=True)
    client.force_login(user)
    url = reverse("admin:livepush_processfigures_changelist")
    assert client.get(url).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_processfigures"))
    assert client.get(url).status_code == 200
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    assert client.get(url).status_code == 403  # the figures are those of all tenants


@pytest.mark.parametrize(
    ("language", "title", "clients"),
    [("de", "Live-Zahlen", "Clients"), ("fr", "Chiffres en direct", "Clients"), ("es", "Cifras en directo", "Clientes"),
     ("ja", "ライブ統計", "クライアント"), ("ar", "أرقام مباشرة", "العملاء")],
)  # fmt: skip
def test_the_page_speaks_its_readers_language(admin_client, language: str, title: str, clients: str) -> None:
    with translation.override(language):
        page = figures(admin_client)
    assert f"<h1>{title}</h1>" in page
    assert f"<dt>{clients}</dt>" in page
    for word in ("Deliveries", "Log position", "Processes write", "could not be fetched"):
        assert word not in page
