"""What is uploaded: the files in the wheel and in the source distribution, and what an index shows of them."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from readme_renderer import markdown

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[1]
HOME = "https://github.com/livepush/django-livepush"
OURS = (f"{HOME}/blob/main/", "https://raw.githubusercontent.com/livepush/django-livepush/main/")
"""Under these a link leads to a file of the repository."""


def files(*folders: str) -> set[str]:
    """Return the files of some folders of the repository, but for what Python leaves there."""
    found = {path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> dict[str, bytes]:
    """The wheel's files by name; those about it begin with ``INFO/``."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        return {re.sub(r"^[\w.-]+\.dist-info/", "INFO/", name): archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    return HeaderParser().parsestr(wheel["INFO/METADATA"].decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    about = {f"INFO/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert wheel.keys() == files("livepush") | about


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "locale/de/LC_MESSAGES/django.mo",
        "management/commands/livepush_send.py",
        "migrations/0001_initial.py",
        "static/livepush/livepush.js",
        "static/livepush/livepush.d.ts",
        "templates/livepush/bell.html",
        "templatetags/livepush.py",
    ],
)
def test_what_is_no_module_of_its_own_comes_along(wheel, name):
    assert f"livepush/{name}" in wheel


def test_the_source_distribution_holds_the_package_and_its_manual(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    about = {".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "SECURITY.md", "pyproject.toml"}
    assert names == files("livepush", "docs") | about


def test_pytest_finds_the_plugin(wheel):
    assert wheel["INFO/entry_points.txt"].decode() == "[pytest11]\nlivepush = livepush.pytest_plugin\n"


def test_the_metadata_are_what_an_index_takes(wheel):
    found = Metadata.from_email(wheel["INFO/METADATA"], validate=True)
    assert (found.name, found.license_expression, found.license_files) == (
        "django-livepush", "BSD-3-Clause", ["LICENSE"],
    )  # fmt: skip
    assert set(found.project_urls or {}) == {"Homepage", "Documentation", "Source", "Issues", "Security", "Changelog"}
    assert found.description_content_type == "text/markdown"


def test_an_extra_brings_only_what_it_is_named_for(metadata):
    extras = [each for each in metadata.get_all("Requires-Dist") if "extra ==" in each]
    assert [re.sub(r"[^a-z;= '-]", "", each) for each in extras] == [
        "channels-redis=; extra == 'all'",
        "daphne=; extra == 'all'",
        "prometheus-client=; extra == 'all'",
        "daphne=; extra == 'daphne'",
        "cryptography=; extra == 'demo'",
        "daphne=; extra == 'demo'",
        "markdown-it-py=; extra == 'demo'",
        "prometheus-client=; extra == 'demo'",
        "pyjwt=; extra == 'demo'",
        "segno=; extra == 'demo'",
        "pyjwt=; extra == 'grip'",
        "confluent-kafka=; extra == 'kafka'",
        "cryptography=; extra == 'mercure'",
        "pyjwt=; extra == 'mercure'",
        "prometheus-client=; extra == 'metrics'",
        "cryptography=; extra == 'pusher'",
        "channels-redis=; extra == 'redis'",
        "faststream=; extra == 'relays'",
        "opentelemetry-api=; extra == 'tracing'",
    ]


def test_the_index_shows_the_readme_with_links_that_lead_somewhere(metadata):
    page = markdown.render(metadata.get_payload())
    assert page is not None
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert not [link for link in links if not link.startswith(("#", "http://", "https://"))]
    paths = [link.removeprefix(place) for link in links for place in OURS if link.startswith(place)]
    assert "docs/quickstart.md" in paths
    assert not [path for path in paths if not (ROOT / path.partition("#")[0]).is_file()]
