"""Each recipe works as its page shows it: in one project, with real browsers, workers and programs."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.patience import PATIENCE, wait_until
from tests.recipes.conftest import Person
from tests.recipes.project import Project
from tests.servers.processes import whole

NewPerson = Callable[[str], Person]
SEND = """
import livepush
from django.contrib.auth.models import User

livepush.send(User.objects.get(username="dora"), "news", {"n": number})
"""
NOTIFY = """
import livepush
from django.contrib.auth.models import User

livepush.notify(User.objects.get(pk=pk), title)
"""
AGE = """
from datetime import timedelta
from django.utils.timezone import now
from livepush.inbox.models import Notification

Notification.objects.update(created=now() - timedelta(hours=2))
"""
REMIND = """
from django.core.management import call_command

call_command("remind")
"""
REMIND_REFUSED = """
from io import StringIO
from smtplib import SMTPRecipientsRefused
from unittest import mock
from django.core.mail.backends.filebased import EmailBackend
from django.core.management import call_command

send, said = EmailBackend.send_messages, StringIO()

def refuse(self, messages):
    if messages[0].to == [refused]:
        raise SMTPRecipientsRefused({})
    return send(self, messages)

with mock.patch.object(EmailBackend, "send_messages", refuse):
    call_command("remind", stderr=said)
result = said.getvalue()
"""
SHIP = """
from tracking.models import Parcel

parcel = Parcel.objects.get(code=code)
parcel.status = "shipped"
parcel.save()
"""
DELIVER = """
from changes.deliveries import deliver
from changes.models import Product

deliver(Product.objects.all(), 10)
"""
OPEN_TICKET = """
from livepush.testing import capture_events
from tickets.models import Ticket

with capture_events() as events:
    Ticket.objects.create(title="Leak")
result = [sent.payload for sent in events.to("tickets")]
"""


@pytest.mark.long
def test_django_finds_nothing_wrong_with_the_recipes_in_the_project_of_the_quickstart(project: Project) -> None:
    project.command("manage.py", "check")


# Together


def test_a_chat_has_a_history_and_keeps_what_is_written_offline(person: NewPerson) -> None:
    ann, ben = person("ann"), person("ben")
    page, other = ann.open("/chat/lobby/"), ben.open("/chat/lobby/")
    page.fill("[name=text]", "Hello")
    page.press("[name=text]", "Enter")
    expect(other.locator("#messages li")).to_have_text(["ann: Hello"])
    ann.context.set_offline(True)
    page.fill("[name=text]", "Still there?")
    page.press("[name=text]", "Enter")
    ann.context.set_offline(False)
    expect(other.locator("#messages li")).to_have_text(["ann: Hello", "ann: Still there?"])
    expect(ben.open("/chat/lobby/").locator("#messages li")).to_have_text(["ann: Hello", "ann: Still there?"])


@pytest.mark.long
def test_a_chat_puts_back_what_is_refused_and_fetches_what_the_log_lost(person: NewPerson, project: Project) -> None:
    ann, ben = person("ann"), person("ben")
    page, other = ann.open("/chat/refused/"), ben.open("/chat/refused/")
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.accept()))
    page.fill("[name=text]", "   ")
    page.press("[name=text]", "Enter")
    expect(page.locator("[name=text]")).to_have_value("   ")
    assert len(said) == 1
    page.evaluate("livepush.stop()")
    for text in ("One", "Two"):
        other.fill("[name=text]", text)
        other.press("[name=text]", "Enter")
        expect(other.locator("#messages li").last).to_have_text(f"ben: {text}")
        if text == "One":
            project.command("-m", "django", "livepush_prune", "--seconds", "0")
    page.evaluate("livepush.start()")
    expect(page.locator("#messages li")).to_have_text(["ben: One", "ben: Two"])


@pytest.mark.long
def test_what_a_chats_page_was_rendered_with_is_not_shown_twice(person: NewPerson) -> None:
    page = person("ann").open("/chat/twice/")
    before = page.locator("script[data-livepush]").get_attribute("data-position")
    page.fill("[name=text]", "Once")
    page.press("[name=text]", "Enter")
    expect(page.locator("#messages li")).to_have_text(["ann: Once"])

    def serve(route: Route) -> None:
        """Serve the page as if the message had been stored between its first and its second query."""
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub('data-position="[^"]*"', f'data-position="{before}"', answer.text()))

    page.route("**/chat/twice/", serve)
    page.reload()
    page.fill("[name=text]", "Twice")
    page.press("[name=text]", "Enter")
    expect(page.locator("#messages li")).to_have_text(["ann: Once", "ann: Twice"])


@pytest.mark.long
def test_the_steps_for_who_is_here_and_who_types_work(person: NewPerson) -> None:
    page, other = person("ann").open("/chat_together/lobby/"), person("ben").open("/chat_together/lobby/")
    expect(page.locator("livepush-presence li")).to_have_text([re.compile("ann"), re.compile("ben")])
    page.locator("[name=text]").press_sequentially("Hello")
    expect(other.locator("#typing")).to_have_text("ann is typing…")
    expect(page.locator("#typing")).to_be_empty()
    page.press("[name=text]", "Enter")
    expect(other.locator("#messages li")).to_have_text(["ann: Hello"])
    expect(other.locator("#typing")).to_be_empty()


def test_who_is_no_member_any_more_loses_the_page(person: NewPerson, project: Project) -> None:
    ann, ben = person("ann"), person("ben")
    club = project.run(
        "from clubs.models import Club\nclub = Club.objects.create()\nclub.members.add(*members)\nresult = club.pk",
        members=[ann.id, ben.id],
    )
    send = "from clubs.models import Club\nimport livepush\nlivepush.send(Club.objects.get(pk=club), 'news', news)"
    page, other = ann.open(f"/clubs/{club}/"), ben.open(f"/clubs/{club}/")
    assert person("carl").context.request.get(page.url).status == 404
    project.run(send, club=club, news="At eight.")
    expect(other.locator("#news")).to_have_text("At eight.")
    project.run("from clubs.models import Club\nClub.objects.get(pk=club).members.remove(user)", club=club, user=ben.id)
    expect(other.locator("#news")).to_have_text("You are no member any more.")
    project.run(send, club=club, news="At nine.")
    expect(page.locator("#news")).to_have_text("At nine.")
    expect(other.locator("#news")).to_have_text("You are no member any more.")


def test_others_see_who_types_and_where_they_point(person: NewPerson) -> None:
    page, other = person("ann").open("/cursors/"), person("ben").open("/cursors/")
    page.fill("#text", "Once upon a time")
    expect(other.locator("#typing")).to_have_text("ann is typing…")
    page.mouse.move(100, 200)
    page.mouse.move(120, 220)
    expect(other.locator("b")).to_have_text("➤ ann")
    assert "➤ ann" not in page.locator("b").all_text_contents()


def test_a_card_moves_on_all_boards(person: NewPerson, project: Project) -> None:
    code = "from kanban.models import Card\nresult = Card.objects.create(title='Paint').pk"
    card = f"#card-{project.run(code)}"
    page, other = person("ann").open("/kanban/"), person("ben").open("/kanban/")
    page.drag_and_drop(card, "#done")
    for each in (page, other, person("carl").open("/kanban/")):
        expect(each.locator(f"#done {card}")).to_have_text("Paint")


def test_all_pages_end_with_the_text_that_was_written_last(person: NewPerson, project: Project) -> None:
    note = project.run("from editing.models import Note\nresult = Note.objects.create(text='Once').pk")
    pages = [person(name).open(f"/editing/{note}/") for name in ("ann", "ben")]
    for turn in range(5):
        for number, page in enumerate(pages):  # each writes while the other's change is on its way
            page.fill("#text", f"{turn} {number} " + "word " * turn)
    stored = "from editing.models import Note\nresult = Note.objects.get(pk=pk).text"
    wait_until(lambda: project.run(stored, pk=note).startswith("4 "))
    expect(pages[0].locator("#text")).to_have_value(re.compile("^4 "))
    wait_until(lambda: {page.input_value("#text") for page in pages} == {project.run(stored, pk=note)})


# Work that takes a while


@pytest.mark.long
def test_a_page_shows_how_far_a_celery_task_is(person: NewPerson, project: Project) -> None:
    page = person("ann").open("/jobs/")
    with project.process("-m", "celery", "-A", "mysite", "worker", "--pool", "solo"):
        page.click("text=Import")
        expect(page.locator("#state")).to_have_text("200 orders imported")
        assert page.evaluate("document.querySelector('#bar').max") == 200


@pytest.mark.long
def test_a_page_shows_how_far_a_django_task_is(person: NewPerson, project: Project) -> None:
    ann = person("ann")
    page = ann.open("/jobs/")
    project.run("from jobs.background import import_orders\nimport_orders.enqueue(user, 50)", user=ann.id)
    with project.process("manage.py", "db_worker"):
        expect(page.locator("#state")).to_have_text("50 orders imported")
        assert page.evaluate("document.querySelector('#bar').max") == 50


@pytest.mark.long
def test_an_answer_goes_on_after_a_reload_and_on_a_second_device_and_is_stopped(
    person: NewPerson, project: Project
) -> None:
    ann = person("ann")
    page, other = ann.open("/answers/"), ann.open("/answers/")
    page.fill("[name=question]", "Where?")
    page.click("text=Ask")
    for each in (page, other):
        expect(each.locator("livepush-stream")).to_contain_text("You asked: Where? Let")
    page.reload()
    expect(page.locator("livepush-stream")).to_contain_text("Let me")
    page.click("text=Stop")
    for each in (page, other):
        expect(each.locator("livepush-stream[state=stopped]")).to_contain_text("You asked: Where? Let me")
    page.fill("[name=question]", "And <b>now</b>?")
    page.click("text=Ask")
    for each in (page, other):
        said = each.locator("livepush-stream[state=finished]")
        expect(said).to_have_text("You asked: And <b>now</b>? Let me think. It is on its way. ")
    page.reload()
    expect(page.locator("livepush-stream[state=finished]")).to_contain_text("on its way. ")
    page.goto(f"{project.url}/answers/ask/")  # as after a login in between
    expect(page.locator("livepush-stream[state=finished]")).to_contain_text("on its way. ")


@pytest.mark.long
def test_a_page_follows_a_job_from_its_first_line(person: NewPerson, project: Project) -> None:
    page = person("ann").open("/imports/")
    page.fill("[name=names]", " ".join(f"product{number}" for number in range(1, 101)))
    page.click("text=Import")
    with project.process("manage.py", "db_worker"):
        said = page.locator("livepush-stream[state=finished]")
        expect(said).to_contain_text("Imported product100")
    for _ in range(2):
        assert said.inner_text().split("\n")[:100] == [f"Imported product{number}" for number in range(1, 101)]
        page.wait_for_function("document.querySelector('#bar').value === 1")
        page.reload()
    assert person("ben").context.request.get(page.url).status == 404


@pytest.mark.long
def test_a_dashboard_shows_a_figure_each_second(person: NewPerson, project: Project) -> None:
    page = person("staff").open("/dashboard/")
    with project.process("manage.py", "measure"):
        expect(page.locator("#curve")).to_have_attribute("points", re.compile(r"0,-\S+ 1,-\S+"))
    assert re.fullmatch(r"\d+\.\d\d", page.inner_text("#load"))


@pytest.mark.long
def test_others_see_the_progress_of_an_upload(person: NewPerson, project: Project, tmp_path: Path) -> None:
    page, other = person("ann").open("/uploads/"), person("ben").open("/uploads/")
    file = tmp_path / "film.bin"
    file.write_bytes(b"x" * 3_000_000)
    page.set_input_files("[name=file]", file)
    page.click("text=Upload")
    expect(other.locator("#state")).to_have_text("ann has uploaded film.bin")
    other.wait_for_function("document.querySelector('#bar').value === 1")
    assert (project.folder / "media" / "film.bin").stat().st_size == 3_000_000


# Your data, live


@pytest.mark.long
def test_a_customer_without_an_account_follows_a_parcel(browser: Browser, project: Project) -> None:
    code, address = project.run(
        "from tracking.models import Parcel\nit = Parcel.objects.create()\nresult = str(it.code), it.get_absolute_url()"
    )
    page = browser.new_page()
    page.goto(project.url + address)
    page.wait_for_function("window.livepush?.state === 'open'")
    project.run(SHIP, code=code)
    expect(page.locator("#status")).to_have_text("shipped")
    page.close()


def test_a_table_follows_saves_and_bulk_updates(person: NewPerson, project: Project) -> None:
    project.run("from changes.models import Product\nProduct.objects.create(name='Tea', stock=3)")
    page = person("ann").open("/changes/")
    expect(page.locator("#stock td")).to_have_text(["Tea", "3"])
    project.run(DELIVER)
    expect(page.locator("#stock td")).to_have_text(["Tea", "13"])
    project.run("from changes.models import Product\nProduct.objects.create(name='Coffee')")
    expect(page.locator("#stock td")).to_have_text(["Coffee", "0", "Tea", "13"])


@pytest.mark.long
def test_a_field_is_checked_while_the_form_is_filled_in(person: NewPerson) -> None:
    page = person("ann").open("/signup/")
    page.fill("[name=username]", "ann")
    page.press("[name=username]", "Tab")
    page.wait_for_function("document.querySelector('[name=username]').validationMessage.includes('already exists')")
    page.fill("[name=username]", "annabel")
    page.press("[name=username]", "Tab")
    page.wait_for_function("document.querySelector('[name=username]').validity.valid")


@pytest.mark.long
def test_a_field_that_was_refused_does_not_hold_up_the_form_while_the_page_is_offline(person: NewPerson) -> None:
    page = person("ann").open("/signup/")
    page.fill("[name=username]", "ann")
    page.press("[name=username]", "Tab")
    page.wait_for_function("document.querySelector('[name=username]').validationMessage.includes('already exists')")
    page.evaluate("livepush.stop()")
    page.fill("[name=username]", "annabel")
    page.press("[name=username]", "Tab")
    assert page.evaluate("document.querySelector('[name=username]').validity.valid")


@pytest.mark.long
def test_the_state_of_an_api_and_its_events_have_one_shape(person: NewPerson, project: Project) -> None:
    ann = person("ann")
    page = ann.open("/chat/lobby/")  # any page of the site, to ask from
    made = project.run(OPEN_TICKET)
    get = "async (path) => (await fetch(path, {headers: {Accept: 'application/json'}})).json()"
    assert page.evaluate(get, "/tickets/") == page.evaluate(get, "/ninja/tickets/") == made
    before = page.evaluate(get, "/livepush/poll/?group=tickets")["position"]
    project.run("from tickets.models import Ticket\nTicket.objects.update(is_open=True)\nTicket.objects.get().save()")
    (event,) = page.evaluate(get, f"/livepush/poll/?group=tickets&since={before}")["events"]
    assert {name: event["data"][name] for name in made[0]} == made[0]
    strangers = [httpx.get(project.url + path).status_code for path in ("/tickets/", "/ninja/tickets/")]
    assert strangers == [403, 401]


@pytest.mark.long
def test_an_unread_notification_goes_out_as_one_email(person: NewPerson, project: Project) -> None:
    ann = person("ann")
    for title in ("Shipped", "Delivered"):
        project.run(NOTIFY, pk=ann.id, title=title)
    project.run(AGE)
    project.run(NOTIFY, pk=ann.id, title="Just now")
    for _ in range(2):
        project.run(REMIND)
    (mail,) = (project.folder / "mails").iterdir()
    text = mail.read_text()
    assert "To: ann@example.com" in text
    assert "2 unread notifications" in text
    assert "Delivered\nShipped" in text
    assert "Just now" not in text


@pytest.mark.long
def test_an_address_that_the_mail_server_refuses_keeps_the_email_from_nobody_else(
    person: NewPerson, project: Project
) -> None:
    refused, other = person("cora"), person("dora")
    for each in (refused, other):
        project.run(NOTIFY, pk=each.id, title="Paid")
    project.run(AGE)
    said = project.run(REMIND_REFUSED, refused="cora@example.com")
    assert f"No email to {refused.id}: " in said
    mails = "".join(path.read_text() for path in (project.folder / "mails").iterdir())
    assert "To: dora@example.com" in mails
    assert "To: cora@example.com" not in mails


# With your tools


@pytest.mark.parametrize(("path", "rows"), [("/feed/", "#rows"), ("/wall/", "#lines")], ids=["htmx", "turbo"])
def test_html_reaches_all_pages_and_is_escaped(person: NewPerson, project: Project, path: str, rows: str) -> None:
    page, other = person("ann").open(path, live=path == "/feed/"), person("ben").open(path, live=path == "/feed/")
    other.evaluate("window.same = true")
    page.fill("[name=text]", "<b>Hello</b>")
    page.press("[name=text]", "Enter")
    for each in (page, other):
        expect(each.locator(f"{rows} li")).to_have_text(["<b>Hello</b>"])
    assert other.evaluate("window.same")


@pytest.mark.parametrize(
    ("path", "model", "field"), [("/scores/", "scores.Team", "points"), ("/votes/", "votes.Option", "votes")],
    ids=["react", "vue"],
)  # fmt: skip
def test_a_component_follows_changes(person: NewPerson, project: Project, path: str, model: str, field: str) -> None:
    make = "from django.apps import apps\napps.get_model(model)(name=name, pk=pk, **{field: number}).save()"
    project.run(make, model=model, field=field, name="Reds", number=1, pk=1)
    page = person("ann").open(path)
    expect(page.locator("#app li")).to_have_text(["Reds: 1"])
    project.run(make, model=model, field=field, name="Reds", number=2, pk=1)
    project.run(make, model=model, field=field, name="Blues", number=5, pk=2)
    expect(page.locator("#app li")).to_have_text(["Reds: 2", "Blues: 5"])
    project.run("from django.apps import apps\napps.get_model(model).objects.get(pk=1).delete()", model=model)
    expect(page.locator("#app li")).to_have_text(["Blues: 5"])


def test_a_program_follows_events_with_a_token(person: NewPerson, project: Project, tmp_path: Path) -> None:
    person("dora")
    with (tmp_path / "printed").open("w+") as printed:
        words = [sys.executable, str(project.folder / "follow.py"), project.url, "dora", "secret"]
        with subprocess.Popen(words, stdout=printed, stderr=subprocess.STDOUT) as program:
            try:
                numbers = itertools.count()
                wait_until(lambda: project.run(SEND, number=next(numbers)) or "news" in whole(printed))
                before = whole(printed).count("news")
                project.run(SEND, number=-1)
                wait_until(lambda: whole(printed).count("news") > before and '"n":-1' in whole(printed))
            finally:
                program.kill()


@pytest.mark.long
def test_curl_follows_events_with_a_token(person: NewPerson, project: Project) -> None:
    dora = person("dora")
    text = (Path(__file__).parents[2] / "docs" / "recipes" / "native.md").read_text()
    login, follow = re.findall(r"^curl .*$", text, re.MULTILINE)
    here = login.replace("username=ann", "username=dora").replace("http://127.0.0.1:8000", project.url)
    token = re.search(r"livepush_[^\"]+", subprocess.check_output(f"{here} --silent", shell=True, text=True))
    assert token is not None
    here = follow.replace("http://127.0.0.1:8000", project.url)
    here = here.replace("livepush_…", token[0]).replace("user:7", f"user:{dora.id}")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(f"exec {here} --max-time {PATIENCE}", shell=True, text=True, **streams) as curl:
        assert curl.stdout is not None
        assert "livepush.hello" in "".join(iter(curl.stdout.readline, "\n"))
        curl.kill()


@pytest.mark.long
def test_the_tests_of_the_board_pass(project: Project) -> None:
    printed = project.command("manage.py", "test", "kanban")
    assert "Ran 3 tests" in printed
    assert "OK" in printed
