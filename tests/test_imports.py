"""The design's import table, and a public interface that holds what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import livepush
from livepush import conf, exceptions, wire

PACKAGE = Path(livepush.__file__).parent

FORBIDDEN = {
    "models.py": [
        "log",
        "publishing",
        "signals",
        "layer",
        "hub",
        "window",
        "connection",
        "groups",
        "auth",
        "consumers",
    ],
    "log.py": ["layer", "hub", "consumers", "connection", "publishing", "runtime", "channels"],
    "postgresql.py": ["log", "layer", "hub", "consumers", "connection", "publishing", "runtime", "channels"],
    "shortcut.py": ["models", "django", "consumers", "log", "layer", "publishing", "runtime", "hub", "connection"],
    "publishing.py": ["consumers", "connection", "runtime", "window", "auth"],
    "signals.py": ["hub", "consumers", "connection", "runtime", "layer", "log"],
    "layer.py": ["log", "models", "django.db", "hub", "publishing", "consumers"],
    "hub.py": ["models", "django", "consumers", "log", "layer", "publishing", "runtime", "channels"],
    "window.py": ["models", "django", "consumers", "log", "layer", "publishing", "runtime", "hub", "connection"],
    "connection.py": ["models", "django", "consumers", "log", "layer", "publishing", "runtime"],
    "groups.py": ["consumers", "hub", "connection", "runtime", "models", "log", "layer"],
    "auth.py": ["hub", "connection", "consumers", "runtime", "log", "models", "layer"],
    "consumers/sse.py": ["models", "layer", "log", "consumers.websocket", "consumers.poll"],
    "consumers/websocket.py": ["models", "layer", "log", "consumers.sse", "consumers.poll"],
    "consumers/poll.py": ["models", "layer", "log", "consumers.sse", "consumers.websocket"],
    "consumers/base.py": ["models", "layer", "log", "consumers.sse", "consumers.websocket", "consumers.poll"],
    "consumers/doctor.py": ["models", "layer", "log", "consumers.websocket", "consumers.poll"],
    "doctor/report.py": [
        "models",
        "log",
        "layer",
        "publishing",
        "hub",
        "connection",
        "consumers",
        "runtime",
        "channels",
    ],
    "doctor/host.py": ["hub", "connection", "consumers", "runtime", "channels"],
    "doctor/site.py": ["models", "log", "layer", "publishing", "hub", "connection", "runtime", "django.db"],
    "fields.py": ["log", "layer", "hub", "publishing", "consumers", "inbox"],
    "inbox/models.py": ["log", "layer", "hub", "publishing", "consumers", "runtime", "inbox.filing", "inbox.reading"],
    "inbox/links.py": ["models", "django", "log", "hub", "publishing"],
    "inbox/kinds.py": ["log", "layer", "hub", "publishing", "consumers", "runtime", "inbox.filing", "inbox.reading"],
    "inbox/recipients.py": ["layer", "hub", "consumers", "runtime", "inbox.filing", "inbox.reading", "inbox.notifying"],
    "inbox/notifying.py": ["log", "layer", "hub", "consumers", "runtime", "inbox.filing", "inbox.reading"],
    "inbox/filing.py": ["layer", "hub", "consumers", "runtime", "inbox.reading", "inbox.marking", "inbox.views"],
    "inbox/reading.py": ["log", "layer", "hub", "publishing", "consumers", "runtime", "inbox.marking", "inbox.views"],
    "inbox/marking.py": ["log", "layer", "hub", "consumers", "runtime", "inbox.views", "inbox.notifying"],
    "inbox/views.py": ["log", "layer", "hub", "publishing", "consumers", "runtime"],
    "views.py": ["layer", "hub", "connection", "consumers", "runtime"],
}
STANDARD_LIBRARY_ONLY = ["wire.py", "doctor/web.py"]


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs, livepush's own without ``livepush.``."""
    found = set()
    tree = ast.parse(path.read_text())
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
            found.add(node.module)
            if node.module in {"livepush", "livepush.consumers"}:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("livepush.") for name in found if name != "livepush"}


def reaches(found: set[str], forbidden: str) -> bool:
    return any(name == forbidden or name.startswith(f"{forbidden}.") for name in found)


@pytest.mark.parametrize("file", FORBIDDEN)
def test_a_file_knows_nothing_of_what_the_design_keeps_from_it(file):
    found = imports(PACKAGE / file)
    assert found, "a file without imports says nothing"
    assert [name for name in FORBIDDEN[file] if reaches(found, name)] == []


@pytest.mark.parametrize("file", STANDARD_LIBRARY_ONLY)
def test_what_is_bytes_alone_stands_on_the_standard_library(file):
    found = imports(PACKAGE / file)
    assert {name.partition(".")[0] for name in found} <= __import__("sys").stdlib_module_names


def test_one_file_alone_imports_the_channel_layers():
    files = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if reaches(imports(path), "channels")]
    assert sorted(map(str, files)) == ["checks.py", "layer.py"]


def test_the_check_of_the_imports_can_fail():
    assert reaches(imports(PACKAGE / "runtime.py"), "log")
    assert reaches(imports(PACKAGE / "views.py"), "django.http")
    assert not reaches({"logging"}, "log")


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
