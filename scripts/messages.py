"""Extract what is translated of the apps, and compile the translations.

An untranslated message is left empty, never guessed from a similar one; ``tests/inbox/test_translations.py`` names it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from django.core.management import call_command
from django.core.management.commands import makemessages

ROOT = Path(__file__).resolve().parent.parent
APPS = (ROOT / "livepush", ROOT / "demo_project" / "parcels")
PLURALS = {
    "ar": "nplurals=6; plural=n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : "
    "n%100>=11 && n%100<=99 ? 4 : 5;",
    "de": "nplurals=2; plural=(n != 1);",
    "es": "nplurals=3; plural=n == 1 ? 0 : n != 0 && n % 1000000 == 0 ? 1 : 2;",
    "fr": "nplurals=3; plural=(n == 0 || n == 1) ? 0 : n != 0 && n % 1000000 == 0 ? 1 : 2;",
    "ja": "nplurals=1; plural=0;",
}
"""The languages, with their plural forms as Django has them, whose catalogs ours are merged with."""
HEADER = r"""msgid ""
msgstr ""
"Project-Id-Version: livepush\n"
"Language: {language}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: {plurals}\n"
"""


class Extract(makemessages.Command):
    """Django's command, which takes no translation over from a similar message."""

    msgmerge_options = [*makemessages.Command.msgmerge_options, "--no-fuzzy-matching"]


def update(app: Path) -> None:
    """Bring an app's catalogs up to date with its code and templates."""
    for language in PLURALS:
        (app / "locale" / language / "LC_MESSAGES").mkdir(parents=True, exist_ok=True)
    with chdir(app):
        call_command(Extract(), locale=list(PLURALS), no_location=True, no_wrap=True, no_obsolete=True, verbosity=0)
    for language in PLURALS:
        catalog = app / "locale" / language / "LC_MESSAGES" / "django.po"
        catalog.write_text(ordered(catalog.read_text("utf-8"), language), "utf-8")
        subprocess.run(["msgfmt", "--check-format", "-o", catalog.with_suffix(".mo"), catalog], check=True)


def ordered(text: str, language: str) -> str:
    """Return a catalog by the messages' alphabet, without dates and names, so that only changes change it."""
    header = HEADER.format(language=language, plurals=PLURALS[language])
    _, *messages = text.strip().split("\n\n")
    return "\n".join([header, *(f"{message}\n" for message in sorted(messages, key=_key))])


def _key(message: str) -> tuple[str, str, str]:
    lines = message.splitlines()
    found = {name: next((line for line in lines if line.startswith(f"{name} ")), "") for name in ("msgid", "msgctxt")}
    return found["msgid"].casefold(), found["msgid"], found["msgctxt"]


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]) if sys.argv[1:] else APPS:
        update(each)
