"""One running project of all recipes, and people who open its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.chromium import chromium, complaints
from tests.browser.site import is_open
from tests.recipes.project import Project, running
from tests.servers.fresh import Databases

PEOPLE = """
from django.contrib.auth.models import User
from django.test import Client

user = User.objects.filter(username=name).first()
if user is None:
    user = User.objects.create_user(name, f"{name}@example.com", "secret", is_staff=name == "staff")
browser = Client()
browser.force_login(user)
result = {"id": user.pk, "session": browser.cookies["sessionid"].value}
"""


@pytest.fixture(scope="module")
def project(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with databases.fresh("postgresql") as database, running(tmp_path_factory.mktemp("project"), database) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Person:
    """Somebody in a browser of their own."""

    def __init__(self, name: str, project: Project, context: BrowserContext, said: list[list[str]]) -> None:
        self.project, self.context, self._said = project, context, said
        login = project.run(PEOPLE, name=name)
        self.id = login["id"]
        context.add_cookies([{"name": "sessionid", "value": login["session"], "url": project.url}])

    def open(self, path: str, live: bool = True) -> Page:
        """Open a page, and wait until it is live."""
        page = self.context.new_page()
        self._said.append(complaints(page))
        page.goto(self.project.url + path)
        if live:
            is_open(page)
        return page


@pytest.fixture
def person(project: Project, browser: Browser) -> Iterator[Callable[[str], Person]]:
    """Logs people in; no console may say a thing, but that the network was away, or that a message was refused."""
    people: list[Person] = []
    said: list[list[str]] = []

    def make(name: str) -> Person:
        people.append(Person(name, project, browser.new_context(), said))
        return people[-1]

    yield make
    for each in people:
        each.context.close()
    allowed = ("ERR_INTERNET_DISCONNECTED", "status of 422")
    assert [line for lines in said for line in lines if not any(each in line for each in allowed)] == []
