"""The translations: complete, compiled, and shown."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.template import engines
from django.test import RequestFactory, override_settings
from django.utils import translation

import livepush
from livepush.inbox.marking import Action, mark
from livepush.inbox.reading import Inbox

ROOT = Path(__file__).resolve().parents[2]
APPS = (ROOT / "livepush", ROOT / "demo_project" / "parcels")
CATALOGS = [catalog for app in APPS for catalog in sorted(app.glob("locale/*/LC_MESSAGES/django.po"))]
NAMES = [str(catalog.relative_to(ROOT).parents[1]) for catalog in CATALOGS]
PLACEHOLDER = re.compile(r"%(?:%|\(\w+\))?[a-z]")
TITLES = {
    "ar": "الإشعارات",
    "de": "Benachrichtigungen",
    "en": "Notifications",
    "es": "Notificaciones",
    "fr": "Notifications",
    "ja": "通知",
}
READ_ALL = {
    "ar": "تحديد الكل كمقروء",
    "de": "Alle als gelesen markieren",
    "en": "Mark all as read",
    "es": "Marcar todas como leídas",
    "fr": "Tout marquer comme lu",
    "ja": "すべて既読にする",
}


ARCHIVED = {
    "ar": "تمت الأرشفة: a",
    "de": "Archiviert: a",
    "en": "Archived: a",
    "es": "Archivada: a",
    "fr": "Archivée : a",
    "ja": "アーカイブしました: a",
}


@pytest.fixture(scope="module")
def tools():
    """The programs of GNU gettext, which are there where it counts."""
    if shutil.which("msgfmt") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("gettext is missing: apt-get install gettext.")


@pytest.fixture(scope="module")
def extracted(tools, tmp_path_factory):
    """A copy of the apps whose catalogs were brought up to date."""
    root = tmp_path_factory.mktemp("extracted")
    for app in APPS:
        shutil.copytree(app, root / app.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__", "static"))
    copies = [root / app.relative_to(ROOT) for app in APPS]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, ROOT / "scripts" / "messages.py", *copies], check=True, env=environment)
    return root


def messages(catalog):
    """Return the translations in a compiled catalog, by message."""
    with catalog.open("rb") as file:
        found = gettext.GNUTranslations(file)
    return {message: text for message, text in found._catalog.items() if message}


def selected(catalog, *options):
    """Return the messages that ``msgattrib`` finds in a catalog."""
    command = ["msgattrib", *options, "--no-wrap", catalog]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line for line in text.splitlines() if re.match(r'(#~ )?msgid "[^"]', line)]


def test_each_app_has_a_catalog_for_each_language():
    assert sorted(NAMES) == [
        f"{app}/locale/{language}" for app in ("demo_project/parcels", "livepush") for language in sorted(TITLES)
        if language != "en"
    ]  # fmt: skip


@pytest.mark.parametrize("catalog", CATALOGS, ids=NAMES)
def test_what_is_compiled_is_what_the_catalog_says(catalog, tools, tmp_path):
    subprocess.run(["msgfmt", "-o", tmp_path / "django.mo", catalog], check=True)
    assert messages(catalog.with_suffix(".mo")) == messages(tmp_path / "django.mo")


@pytest.mark.long
@pytest.mark.parametrize("catalog", CATALOGS, ids=NAMES)
def test_every_message_is_in_the_catalog_and_no_other(catalog, extracted):
    fresh = extracted / catalog.relative_to(ROOT)
    assert selected(fresh, "--untranslated") == []
    assert sorted(selected(catalog)) == sorted(selected(fresh))


@pytest.mark.parametrize("catalog", CATALOGS, ids=NAMES)
def test_no_translation_is_missing_or_a_guess_or_left_over(catalog, tools):
    for option in ("--untranslated", "--only-fuzzy", "--only-obsolete"):
        assert selected(catalog, option) == []


@pytest.mark.parametrize("catalog", CATALOGS, ids=NAMES)
def test_the_catalog_names_no_date_and_nobody(catalog):
    header = catalog.read_text("utf-8").partition("\n\n")[0]
    assert re.findall(r'^"([\w-]+):', header, re.MULTILINE) == [
        "Project-Id-Version", "Language", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Plural-Forms",
    ]  # fmt: skip


@pytest.mark.parametrize("catalog", CATALOGS, ids=NAMES)
def test_translations_have_the_placeholders_of_their_messages(catalog, tools, tmp_path):
    subprocess.run(["msgfmt", "--check-format", "-o", tmp_path / "django.mo", catalog], check=True)
    for message, text in messages(tmp_path / "django.mo").items():
        said, plural = (message[0], True) if isinstance(message, tuple) else (message, False)
        expected, found = sorted(PLACEHOLDER.findall(said)), sorted(PLACEHOLDER.findall(text))
        spelled_out = plural and not found and all(name.startswith("%(") for name in expected)  # “two rows”
        assert found == expected or spelled_out, (said, text)


@pytest.fixture
def reader(transactional_db, client):
    user = User.objects.create_user("ann")
    client.force_login(user)
    return user


@pytest.fixture
def localized():
    first, *others = settings.MIDDLEWARE
    with override_settings(MIDDLEWARE=[first, "django.middleware.locale.LocaleMiddleware", *others]):
        yield


@pytest.mark.parametrize("language", sorted(TITLES))
def test_the_inbox_is_shown_in_the_readers_language(reader, localized, client, language):
    livepush.notify(reader, "a")
    page = client.get("/livepush/inbox/", headers={"Accept": "text/html", "Accept-Language": language}).text
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page
    assert f"<title>{TITLES[language]}</title>" in page
    assert f">{READ_ALL[language]}</button>" in page


@pytest.mark.parametrize("language", sorted(TITLES))
def test_what_was_done_is_said_in_the_readers_language(reader, localized, client, language):
    livepush.notify(reader, "a")
    outcome = mark(reader, Action.ARCHIVE, [Inbox(reader).page().entries[0].number])
    page = client.get(f"/livepush/inbox/?undo={outcome.version}", headers={"Accept-Language": language}).text
    assert f'<p part="undo">{ARCHIVED[language]} <button' in page


@pytest.mark.parametrize("language", sorted(TITLES))
def test_the_bell_is_shown_in_the_language_that_is_active(reader, language):
    request = RequestFactory().get("/")
    request.user = reader
    with translation.override(language):
        bell = engines["django"].from_string("{% load livepush %}{% livepush_bell %}").render({}, request)
    assert f'<span class="sr">{TITLES[language]}</span>' in bell


@pytest.mark.parametrize("language", sorted(TITLES))
def test_a_number_of_new_notifications_has_a_place_in_every_language(reader, language):
    request = RequestFactory().get("/")
    request.user = reader
    with translation.override(language):
        toasts = engines["django"].from_string("{% load livepush %}{% livepush_toasts %}").render({}, request)
    texts = re.findall(r'data-(?:more|many)="([^"]+)"', toasts)
    assert [text.count("%") for text in texts] == [1, 1]
    assert all("%s" in text for text in texts)
