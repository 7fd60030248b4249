"""A project made of the recipes of the manual: each page's files are an app, and all apps run in one site."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from django.core.management import call_command

from tests.docs_blocks import QUICKSTART, RECIPES, ROOT, Block, blocks
from tests.patience import wait_until
from tests.recipes import chat_steps
from tests.servers.fresh import Database, options_of
from tests.servers.processes import free_port, whole

SHOWN = [block for page in RECIPES for block in blocks(page) if block.file]
FILES = [block for block in SHOWN if not block.file.startswith("mysite/")]
"""The files that the recipes show."""
ADDED = [block for block in SHOWN if block.file == "mysite/settings.py"]
"""The settings that the recipes add to the project's."""
SHOP = [block for block in blocks(QUICKSTART) if block.file.startswith("shop/")]
"""The app of the quickstart, whose project the recipes go into."""
APPS = sorted({block.file.partition("/")[0] for block in FILES if "/" in block.file})
INSTALLED = ["shop", *APPS, chat_steps.APP]
MODULES = ROOT / "node_modules"
SETTINGS = """
INSTALLED_APPS = ["livepush", "django_tasks", "django_tasks_db", "rest_framework", *{apps}, *INSTALLED_APPS]
{tasks}
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {{name: str(BASE_DIR / "queue") for name in ("data_folder_in", "data_folder_out")}}
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = str(BASE_DIR / "mails")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
URLS = """
from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path
from tickets.ninja_api import api

urlpatterns = [
    path("admin/", admin.site.urls), path("livepush/", include("livepush.urls")), path("ninja/", api.urls),
    {paths}
    *staticfiles_urlpatterns(),
]
"""
TABLES = """
from django.core.management import call_command

call_command("makemigrations", *apps, verbosity=0)
call_command("migrate", verbosity=0)
"""
CELERY = """
from celery import Celery

app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""


def text_of(block: Block) -> str:
    """Return a file as the page shows it, but for the one import that the page says to change on Django 5.2."""
    return block.text.replace("from django.tasks import task", "from django_tasks import task")


def said(page: str, beginning: str) -> str:
    """Return what a recipe's text tells its reader to write or to run: the only code in it that begins so."""
    text = next(each for each in RECIPES if each.stem == page).read_text()
    (found,) = re.findall(f"`({re.escape(beginning)}[^`]+)`", text)
    return str(found)


def write(folder: Path, database: Database | None) -> None:
    """Write the project: that of ``startproject``, the quickstart's app, and what the pages say.

    Without a database it keeps that of ``startproject``, SQLite as Django sets it up.
    """
    call_command("startproject", "mysite", str(folder))
    for name, text in {**{block.file: text_of(block) for block in SHOP + FILES}, **chat_steps.files()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "queue").mkdir()
    for name in INSTALLED:
        (folder / name / "__init__.py").touch()
    settings = SETTINGS.format(apps=INSTALLED, tasks=said("jobs", "TASKS = "))
    if database is not None:
        settings += f"DATABASES['default'] = {connection(database)}\n"
    append(folder / "mysite" / "settings.py", settings + "".join(block.text for block in ADDED))
    (folder / "mysite" / "celery.py").write_text(CELERY)
    (folder / "mysite" / "__init__.py").write_text("from mysite.celery import app\n")
    asgi = folder / "mysite" / "asgi.py"
    asgi.write_text(asgi.read_text().replace("django.core.asgi", "livepush.asgi"))
    served = [name for name in INSTALLED if (folder / name / "urls.py").exists()]
    paths = " ".join(f'path("{name}/", include("{name}.urls")),' for name in served)
    (folder / "mysite" / "urls.py").write_text(URLS.format(paths=paths))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def connection(database: Database) -> dict[str, Any]:
    """Return Django's settings for a database of the run."""
    return {**options_of(database.kind), "NAME": database.name}


def bundle(folder: Path) -> None:
    """Put the scripts of other projects where the pages say, and bundle components as the pages say."""
    for script, place in (
        ("htmx.org/dist/htmx.min.js", "feed/static/htmx.min.js"),
        ("@hotwired/turbo/dist/turbo.es2017-umd.js", "wall/static/turbo.js"),
    ):
        (folder / place).parent.mkdir()
        (folder / place).write_bytes((MODULES / script).read_bytes())
    (folder / "node_modules").symlink_to(MODULES)
    for page in ("react", "vue"):
        _npx, program, *words = said(page, "npx ").split()
        subprocess.run([MODULES / ".bin" / program, *words, "--log-level=error"], cwd=folder, check=True)


class Elsewhere:
    """Another process of the site, in which tests run Python."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        words = [sys.executable, "-m", "tests.recipes.elsewhere"]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(words, cwd=folder, env=env, text=True, **streams)

    def run(self, code: str, /, **names: Any) -> Any:
        """Run Python; return what it calls ``result``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([code, names]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the process has ended"}')
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


class Project:
    """The running site."""

    def __init__(self, folder: Path, env: dict[str, str], elsewhere: Elsewhere, url: str) -> None:
        self.folder, self.env, self.elsewhere, self.url = folder, env, elsewhere, url

    def run(self, code: str, /, **names: Any) -> Any:
        """Run Python in another process of the site; return what it calls ``result``."""
        return self.elsewhere.run(code, **names)

    @contextlib.contextmanager
    def process(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``python …`` in the project's folder for as long as the block lasts."""
        with (self.folder / "process.log").open("w+") as log:
            how = {"stdout": log, "stderr": log, "text": True, "start_new_session": True}
            running = subprocess.Popen([sys.executable, *words], cwd=self.folder, env=self.env, **how)
            try:
                yield running
            except BaseException:
                print(f"--- {words} printed:\n{whole(log)}")
                raise
            finally:
                os.killpg(running.pid, signal.SIGKILL)  # some reload themselves in a child
                running.wait()

    def command(self, *words: str) -> str:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=self.env, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@contextlib.contextmanager
def running(folder: Path, database: Database | None) -> Iterator[Project]:
    """Write the project, make its tables and run it on a port of its own."""
    write(folder, database)
    bundle(folder)
    hidden = ("LIVEPUSH", "PYTEST", "DJANGO")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env |= {"PYTHONPATH": f"{folder}:{ROOT}", "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONUNBUFFERED": "1"}
    elsewhere = Elsewhere(folder, env)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    found = Project(folder, env, elsewhere, url)
    try:
        elsewhere.run(TABLES, apps=INSTALLED)
        with found.process("-m", "uvicorn", "--port", str(port), "mysite.asgi:application"):
            wait_until(lambda: answers(url))
            yield found
    finally:
        elsewhere.close()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/admin/login/").status_code == 200
    return False
