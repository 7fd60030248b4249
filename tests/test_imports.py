"""Packages and arrows: which package may import which, and a public interface that holds what it says.

``ARROWS`` is an allow-list: an arrow that is not drawn here fails, and so does a package that is not listed.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import livepush
from livepush import conf, exceptions, wire
from scripts import journey

PACKAGE = Path(livepush.__file__).parent

ARROWS: dict[str, set[str]] = {
    # Leaves
    "wire": set(),
    "exceptions": set(),
    "conf": set(),
    "fields": set(),
    "keys": set(),
    "notes": {"forking"},
    "cancelling": set(),
    "progress": set(),
    "ending": set(),
    "forking": set(),
    "signals": set(),
    "logs": set(),
    "tallies": {"forking"},
    "green": set(),
    "borrowing": set(),
    "longlived": set(),
    # The engine
    "models": {"wire", "fields"},
    "log": {"wire", "models"},
    "hub": {"wire", "forking"},
    "tenants": {"wire", "conf", "exceptions", "notes", "cancelling"},
    "hints": {"wire", "conf", "notes", "cancelling", "ending", "forking", "green", "borrowing"},
    "publish": {
        "log", "hub", "hints", "tenants", "wire", "conf", "notes", "exceptions", "tallies", "cancelling", "keys",
    },
    "audit": {"signals", "tenants", "notes", "ending", "forking", "longlived"},
    "access": {"tenants", "wire", "conf", "notes", "exceptions", "cancelling", "forking", "green", "keys"},
    "process": {
        "audit", "hub", "log", "hints", "publish", "wire", "conf", "notes", "forking", "progress", "borrowing",
        "longlived",
    },
    "rights": {"process", "access", "publish", "log", "hub", "tenants", "wire", "conf", "exceptions",
        "notes",
    },
    "consumers": {
        "receiving", "audit", "rights", "process", "access", "tenants", "hub", "publish", "log", "wire", "conf",
        "exceptions", "notes", "tallies",
    },
    "receiving": {"publish", "access", "log", "tenants", "fields", "wire", "conf", "exceptions", "cancelling", "green"},
    "page": {"publish", "log", "hub", "wire", "conf", "notes"},
    # What stands on it
    "inbox": {
        "rights", "publish", "log", "access", "consumers", "tenants", "models", "fields", "signals", "wire", "conf",
        "exceptions", "notes", "progress", "cancelling", "keys",
    },
    "streams": {
        "process", "rights", "consumers", "access", "publish", "log", "hub", "hints", "inbox", "tenants", "routing",
        "fields", "wire",
        "conf", "exceptions", "notes", "ending", "forking", "cancelling",
    },
    "roster": {
        "rights", "process", "publish", "log", "hub", "access", "consumers", "inbox", "tenants", "fields", "wire",
        "conf", "notes", "exceptions",
    },
    "bridges": {
        "models", "audit", "access", "consumers", "process", "publish", "log", "hub", "hints", "inbox", "receiving",
        "rights", "roster", "tenants", "fields", "wire", "conf", "exceptions", "notes", "tallies", "cancelling",
        "forking", "progress", "green",
    },
    "doctor": {
        "process", "consumers", "access", "hub", "publish", "log", "hints", "routing", "models", "wire", "conf",
        "cancelling",
    },
    # What Django and Channels look for
    "routing": {"consumers", "process", "wire"},
    "asgi": {"routing"},
    "urls": {"bridges", "consumers", "inbox", "page", "roster", "streams"},
    "apps": {
        "bridges", "checks", "deploy_checks", "hint_checks", "name_checks", "server_checks", "routing", "page",
        "receiving", "inbox", "rights", "roster", "streams", "doctor", "hints",
    },
    "checks": {"model_checks", "access", "hints", "inbox", "tenants", "conf"},
    "hint_checks": {"hints", "conf"},
    "name_checks": {"conf"},
    "server_checks": {"conf"},
    "deploy_checks": {"conf", "wire"},
    "model_checks": {"access", "publish", "models", "wire", "conf"},
    "admin": {"bridges", "inbox", "roster", "streams", "models", "publish", "wire"},
    "templatetags": {
        "access", "inbox", "page", "roster", "streams", "publish", "tenants", "wire", "conf", "exceptions",
    },
    "management": {
        "bridges", "rights", "access", "doctor", "inbox", "receiving", "roster", "streams", "log", "hints", "publish",
        "tenants", "wire", "conf", "exceptions",
    },
    "testing": {"receiving", "inbox", "process", "publish", "models", "wire", "conf", "exceptions"},
    "pytest_plugin": {"testing"},
    "migrations": {"fields"},
}  # fmt: skip
"""The packages that each package may import."""
STANDARD_LIBRARY_ONLY = ["wire", "doctor/web.py"]
NO_DJANGO = ["wire", "hub"]
LAYER = ["checks.py", "hints/layer.py"]
"""The files that import Channels' layers."""


def modules(path: Path) -> list[Path]:
    """Return a file, or the files of a folder."""
    return [path] if path.suffix else sorted(path.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs."""
    return set(imported(path, path.read_text()))


@cache
def imported(path: Path, text: str) -> frozenset[str]:
    """Return the modules that a file imports that holds this text."""
    found = set()
    tree = ast.parse(text)
    typing_only = [
        node for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    ]  # fmt: skip
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "livepush" else {node.module or ""}
    return frozenset(found)


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def arrows(path: Path) -> set[str]:
    """Return the packages, but for its own, that a file imports."""
    parts = [name.split(".") for name in imports(path) if name.startswith("livepush.")]
    packages = {part[1] for part in parts if not (part[1].startswith("__") or part[1][0].isupper())}
    return packages - {package_of(path)}


def forbidden(path: Path, allowed: dict[str, set[str]]) -> set[str]:
    """Return the packages that a file imports and may not; a package that is not listed may import none."""
    if package_of(path) not in allowed:
        return {f"{package_of(path)} is no package that is listed"}
    return arrows(path) - allowed[package_of(path)]


FILES = [path for path in modules(PACKAGE) if path.parent != PACKAGE or path.stem != "__init__"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_package_may(file):
    assert forbidden(file, ARROWS) == set()


@pytest.mark.parametrize("file", modules(PACKAGE / "bridges"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_bridge_imports_another(file):
    own = file.relative_to(PACKAGE / "bridges").parts[0]
    bridges = {path.name for path in (PACKAGE / "bridges").iterdir() if path.is_dir()} - {own}
    assert not {
        name for name in imports(file) if name.startswith("livepush.bridges.") and name.split(".")[2] in bridges
    }


def test_every_arrow_that_is_allowed_is_used():
    used = {package: set() for package in ARROWS}
    for file in FILES:
        used[package_of(file)] |= arrows(file)
    assert {package: allowed - used[package] for package, allowed in ARROWS.items() if allowed - used[package]} == {}


def test_the_packages_stand_in_no_circle():
    left = dict(ARROWS)
    while left:
        free = [package for package, allowed in left.items() if not allowed & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for package in free:
            del left[package]


def test_an_arrow_that_is_added_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    (tmp_path / "hub").mkdir()
    file = tmp_path / "hub" / "hub.py"
    for line in ("from livepush.log import read", "from livepush import log", "import livepush.log.reading"):
        file.write_text(f"from livepush.wire import Event\n\ndef read():\n    {line}\n")
        assert forbidden(file, ARROWS) == {"log"}
    (tmp_path / "attic.py").write_text("")
    assert forbidden(tmp_path / "attic.py", ARROWS) == {"attic is no package that is listed"}


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_bytes_are_decided_with_the_standard_library_alone(place):
    for file in modules(PACKAGE / place):
        outside = {name for name in imports(file) if not name.startswith("livepush.wire")}
        assert {name.partition(".")[0] for name in outside} <= sys.stdlib_module_names


@pytest.mark.parametrize("place", NO_DJANGO)
def test_the_hub_knows_no_django(place):
    for file in modules(PACKAGE / place):
        assert not {"django", "channels", "asgiref"} & {name.partition(".")[0] for name in imports(file)}, file


def test_two_files_alone_import_the_channel_layers():
    files = [path for path in FILES if any(name.startswith("channels") for name in imports(path))]
    assert sorted(str(path.relative_to(PACKAGE)) for path in files) == LAYER


def test_the_public_names_are_there_and_documented():
    for name in livepush.__all__:
        assert getattr(livepush, name).__doc__, name
    assert set(livepush.__all__) <= set(dir(livepush))
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        livepush.nope  # noqa: B018


def test_the_exceptions_that_are_drawn_are_those_there_are():
    for name in exceptions.__all__:
        assert name in exceptions.__doc__
    classes = {name for name in vars(exceptions) if isinstance(vars(exceptions)[name], type)}
    assert classes == set(exceptions.__all__)


def test_every_setting_is_explained():
    source = (PACKAGE / "conf.py").read_text()
    tree = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    for before, after in zip(tree.body[1::2], tree.body[2::2], strict=True):
        assert isinstance(before, ast.AnnAssign)
        assert isinstance(after, ast.Expr), before.target.id
    assert len(conf.NAMES) == len(tree.body[1::2])


def test_own_messages_are_described_with_their_grammar():
    for name in ("hello", "reset", "bye", "revoked", "position", "reply"):
        assert f"livepush.{name}" in wire.__doc__


def test_the_journey_of_an_event_crosses_six_modules_each_entered_once():
    assert journey.broken() == []
    assert journey.broken(journey.ELSEWHERE) == []
    modules = journey.entered()
    assert len(modules) == len(set(modules)) <= 6


def test_no_module_is_longer_than_a_screenful_or_six():
    lengths = sorted(len(path.read_text().splitlines()) for path in FILES if "migrations" not in path.parts)
    assert lengths[-1] <= 300
    assert lengths[len(lengths) // 2] <= 120
