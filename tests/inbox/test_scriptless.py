"""The inbox's page without scripts: each link is followed and each button pressed, as a browser would."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from django.http import HttpResponse
from django.template import engines
from django.test import Client
from django.urls import include, path

import livepush
from livepush.inbox.reading import Tab
from tests.conftest import ALIASES
from tests.inbox.conftest import inbox_on
from tests.scale import some

using = inbox_on(ALIASES[0])
INBOX = "/livepush/inbox/"
ODD = """a "b" & 'c' <i> #1+2% ü 🎉"""
"""A category with all that an address or an attribute could stumble over."""
OWN_FRAME = "{% load livepush %}<main>{% livepush_list %}</main>"


def page_of_the_site(request):
    return HttpResponse(engines["django"].from_string(OWN_FRAME).render({}, request))


urlpatterns = [path("livepush/", include("livepush.urls")), path("mine/", page_of_the_site)]
VOID = {"input", "link", "meta", "img", "path", "circle"}


class Page(HTMLParser):
    """A page as a browser without scripts has it: links, buttons, the form's fields and what is listed."""

    def __init__(self, address, answer):
        super().__init__()
        self.address, self.links, self.buttons, self.fields = address, [], [], {}
        self.titles, self.undo, self.open = [], "", []
        assert answer.status_code == 200, answer.content
        self.feed(answer.text)
        assert not self.open, "tags that are open at the end"
        self.titles = [title.strip() for title in self.titles]

    def handle_starttag(self, tag, found):
        attributes = dict(found) | {"text": ""}
        if tag in ("a", "button"):
            {"a": self.links, "button": self.buttons}[tag].append(attributes)
        elif tag == "input":
            assert attributes["type"] == "hidden"
            self.fields[attributes["name"]] = attributes["value"]
        elif attributes.get("part") == "title":
            self.titles.append("")
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_startendtag(self, tag, found):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for tag, attributes in self.open:
            if tag in ("a", "button"):
                attributes["text"] += data
            elif attributes.get("part") == "title" and "sr" not in [each.get("class") for _, each in self.open]:
                self.titles[-1] += data
            elif attributes.get("part") == "undo":
                self.undo += data

    def link(self, text):
        (found,) = [link for link in self.links if link["text"] == text]
        return found["href"]

    @property
    def current(self):
        """The texts of the tab and the category that are chosen."""
        return [link["text"] for link in self.links if "aria-current" in link]

    @property
    def shown_buttons(self):
        return [button for button in self.buttons if "hidden" not in button and button.get("type") != "button"]


class Browser:
    """A browser without scripts, with a user's session."""

    def __init__(self, user):
        self.client = Client(enforce_csrf_checks=True, headers={"Accept": "text/html,*/*;q=0.8"})
        self.client.force_login(user)

    def open(self, address):
        return Page(address, self.client.get(address))

    def click(self, page, text):
        return self.open(urljoin(page.address, page.link(text)))

    def press(self, page, button):
        """Press a button of the form; return the page that the browser is sent to."""
        answer = self.client.post(button["formaction"], page.fields | {button["name"]: button["value"]})
        assert answer.status_code == 303, answer.content
        return self.open(answer["Location"])


@pytest.fixture
def mine(using, ann, reader):
    """Ann's inbox: 55 entries of three categories from three audiences; some read, some archived, some both."""
    mine = reader(ann)
    livepush.join(ann, "order:7")
    for number in range(55):
        recipient = [ann, "order:7", livepush.everyone][number % 3]
        livepush.notify(recipient, f"{number}", category=[ODD, "news", ""][number % 11 % 3])
    mine.do("archive", *(str(number) for number in range(0, 50, 2)))
    mine.do("unread", *(str(number) for number in range(0, 50, 4)))
    mine.do("read", *(str(number) for number in range(1, 54, 6)))
    return mine


def listed(mine, tab, category):
    return [entry.notification.title for entry in mine.inbox.page(tab, category, limit=100).entries]


def everything(mine):
    return {tab: [(e.number, e.read, e.archived) for e in mine.inbox.page(tab, limit=100).entries] for tab in Tab}


@pytest.fixture
def own_frame(settings):
    """The inbox's page as one of the project's with the tag in it, as the manual says."""
    (templates,) = settings.TEMPLATES
    loaders = [
        ("django.template.loaders.locmem.Loader", {"livepush/inbox.html": OWN_FRAME}),
        "django.template.loaders.app_directories.Loader",
    ]
    options = {**templates["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**templates, "APP_DIRS": False, "OPTIONS": options}]


@pytest.mark.long
@pytest.mark.parametrize("category", some(["", ODD]), ids=["every category", "one"])
@pytest.mark.parametrize("tab", Tab)
def test_every_link_leads_on_and_every_button_works_and_is_undone(ann, mine, tab, category):
    walk(ann, mine, tab, category)


@pytest.mark.long
def test_the_same_in_the_frame_of_the_site(ann, mine, own_frame):
    walk(ann, mine, Tab.UNREAD, ODD)


def walk(ann, mine, tab, category):
    browser = Browser(ann)
    page = browser.click(browser.open(INBOX), tab.value.capitalize())
    if category:
        page = browser.click(page, category.capitalize())
    chosen = [tab.value.capitalize(), *([category.capitalize()] if category else [])]
    assert page.current == chosen
    pages = [page]
    while any(link["text"] == "Older" for link in pages[-1].links):
        pages.append(browser.click(pages[-1], "Older"))
        assert pages[-1].current == chosen
    assert [title for each in pages for title in each.titles] == listed(mine, tab, category)
    assert len(pages) > (not category)
    for link in page.links:
        assert urlsplit(browser.open(urljoin(page.address, link["href"])).address).path == INBOX
    before, pressed = everything(mine), set()
    for each in (page, pages[-1]):
        for button in each.shown_buttons:
            if (each, button["data-f"], button["formaction"]) in pressed:
                continue
            pressed.add((each, button["data-f"], button["formaction"]))
            after = browser.press(each, button)
            assert after.current == chosen, button
            assert everything(mine) != before, button
            assert after.undo.endswith("Undo")
            (undo,) = [button for button in after.buttons if button["data-f"] == "undo"]
            again = browser.press(after, undo)
            assert (again.titles, again.undo, again.current) == (each.titles, "", chosen)
            assert everything(mine) == before
    assert {name for _, name, _ in pressed} >= ({"archive"} if tab == "archived" else {"archive", "upto", "read"})


@pytest.mark.long
def test_a_category_is_left_again(ann, mine):
    browser = Browser(ann)
    page = browser.click(browser.open(INBOX), ODD.capitalize())
    assert browser.click(page, ODD.capitalize()).current == ["All"]
    assert browser.click(page, "News").current == ["All", "News"]


@pytest.mark.long
def test_one_change_after_another_leaves_one_to_be_undone_in_the_address(ann, mine):
    browser = Browser(ann)
    page = browser.open(f"{INBOX}?tab=unread#top")
    for _ in range(3):
        page = browser.press(page, next(button for button in page.shown_buttons if button["data-f"] == "archive"))
    asked = parse_qs(urlsplit(page.address).query)
    assert (asked["tab"], len(asked["undo"])) == (["unread"], 1)


@pytest.mark.long
def test_a_list_on_another_page_says_what_was_done_there(ann, mine, settings):
    settings.ROOT_URLCONF = __name__
    browser = Browser(ann)
    page = browser.open("/mine/?page=2")
    after = browser.press(page, next(button for button in page.shown_buttons if button["data-f"] == "archive"))
    assert urlsplit(after.address).path == "/mine/"
    assert after.undo == f"Archived: {page.titles[0]} Undo"
