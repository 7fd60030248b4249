"""What the manual shows works, and what it lists is what there is."""

from __future__ import annotations

import ast
import io
import itertools
import json
import logging
import re
import shlex
import subprocess
import sys
import tomllib
import unittest
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import global_settings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, get_commands, load_command_class
from django.dispatch import Signal
from django.template import engines
from django.test import RequestFactory, override_settings
from django.urls import Resolver404, resolve, reverse
from django.utils.module_loading import import_string

import livepush
from livepush import audit, checks, conf, exceptions, log, signals, testing, wire
from livepush.access import rules
from livepush.bridges.metrics.catalog import METRICS
from livepush.bridges.publishing import cloudevents, drafts
from livepush.inbox import kinds
from livepush.publish import model_events, model_signals
from livepush.receiving import handlers
from livepush.roster import rules as presence_rules
from livepush.streams import formats, pieces
from livepush.streams.buffer import Ending, Passage
from livepush.streams.models import StreamState
from tests.docs_blocks import PAGES, RECIPES, ROOT, Block, apply_diff, blocks
from tests.servers import pushpin
from tests.shop import live as shop_live
from tests.shop import models as shop_models

MANUAL = "\n".join(page.read_text() for page in PAGES)
BLOCKS = [block for page in PAGES for block in blocks(page)]
TUTORIAL = "quickstart.md"
"""Its files make one project, which ``tests/browser/test_quickstart.py`` builds and uses."""


def page(name: str) -> str:
    return next(page for page in PAGES if page.name == name).read_text()


def tables(name: str) -> list[list[list[str]]]:
    """Return the tables of a page: each a list of rows, without the head."""
    found: list[list[list[str]]] = []
    for is_row, lines in itertools.groupby(page(name).split("\n"), lambda line: line.startswith("|")):
        if is_row:
            cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]
            found.append(cells[2:])
    return found


def rows(name: str, first: str) -> list[list[str]]:
    """Return the table of a page in which a row begins with some text."""
    return next(table for table in tables(name) if any(row[0] == first for row in table))


def unquoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Blocks


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[dict[str, Any]]:
    """A namespace as the reader of a page has it: an app ``shop``, with no rules and model events yet."""
    for name in ("shop", "shop.live", "mysite", "mysite.authenticators"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "shop.models", shop_models)
    own = [rule for rule in rules.rules if rule.function.__module__.startswith("livepush.")]
    monkeypatch.setattr(rules, "rules", own)
    monkeypatch.setattr(handlers, "handlers", [])
    monkeypatch.setattr(kinds, "registry", {})
    monkeypatch.setattr(presence_rules, "registry", [])
    registered = model_events.registry.pop(shop_models.Order)
    model_signals.connect(registered, connect=False)
    user = User.objects.create(username="ann")
    order = shop_models.Order.objects.create(customer=user)
    heard = {signal: list(signal.receivers) for signal in vars(signals).values() if isinstance(signal, Signal)}
    yield {"user": user, "order": order, "__file__": str(ROOT / "mysite" / "settings.py")}
    for signal, receivers in heard.items():
        signal.receivers[:] = receivers
        signal.sender_receivers_cache.clear()
    shown = model_events.registry.pop(shop_models.Order, None)
    if shown is not None:
        model_signals.connect(shown, connect=False)
    model_events._register(shop_models.Order, shop_live.OrderLive)


@pytest.mark.parametrize("name", [page.name for page in PAGES if page.name != TUTORIAL])
def test_the_python_of_a_page_runs_from_top_to_bottom(name: str, shop: dict[str, Any]) -> None:
    shop["__name__"] = "shop.live"
    shop["epoch_before"] = log.state("default").position.epoch
    for block in BLOCKS:
        if (block.page, block.language) != (name, "python"):
            continue
        if block.file == "mysite/settings.py":
            check_settings(block)
        elif block.file == "mysite/asgi.py":
            assert callable(run(block, {"__name__": "mysite.asgi"})["application"])
        elif block.file in ("mysite/authenticators.py", "mysite/live.py"):
            for each in ast.parse(block.text, str(block)).body:  # tests/projects/test_recipes.py runs it
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                    setattr(sys.modules["mysite.authenticators"], each.name, lambda request: None)
        else:
            before = set(shop)
            run(block, shop)
            vars(sys.modules["shop.live"]).update({key: shop[key] for key in set(shop) - before})  # for dotted paths
            for found in [shop[key] for key in set(shop) - before]:
                if isinstance(found, type) and issubclass(found, unittest.TestCase) and found.__module__ == "shop.live":
                    run_tests(found, block)
        if block.then:
            run(block._replace(text=block.then, line=block.line), shop)


def run(block: Block, namespace: dict[str, Any]) -> dict[str, Any]:
    code = compile("\n" * block.line + block.text, block.page, "exec")
    exec(code, namespace)
    return namespace


def run_tests(case: type[unittest.TestCase], block: Block) -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    told = io.StringIO()
    result = unittest.TextTestRunner(stream=told).run(suite)
    assert result.testsRun, block
    assert result.wasSuccessful(), f"{block}\n{told.getvalue()}"


def check_settings(block: Block) -> None:
    """Run settings; each has to be one that something reads, and what it names has to exist."""
    found = run(block, {"__file__": str(ROOT / "mysite" / "settings.py")})
    values = {name: value for name, value in found.items() if name.isupper() and name != "BASE_DIR"}
    assert values, block
    others = {"ASGI_APPLICATION", "CHANNEL_LAYERS", "LIVEPUSH"}
    assert all(hasattr(global_settings, name) or name in others for name in values), block
    with override_settings(**({"LIVEPUSH": values["LIVEPUSH"]} if "LIVEPUSH" in values else {})):
        assert checks.check_settings(None) == []
    for layer in values.get("CHANNEL_LAYERS", {}).values():
        import_string(layer["BACKEND"])(**layer["CONFIG"])
    for database in values.get("DATABASES", {}).values():
        import_string(f"{database['ENGINE']}.base.DatabaseWrapper")


def python_of_the_tutorial() -> list[Block]:
    return [block for block in BLOCKS if (block.page, block.language) == (TUTORIAL, "python")]


@pytest.mark.parametrize("block", python_of_the_tutorial(), ids=str)
def test_the_tutorials_python_compiles_and_names_its_file(block: Block) -> None:
    compile(block.text, str(block), "exec")
    assert block.file, "the test of the tutorial would not know what to do with it"


def check_html(block: Block) -> None:
    """Render a template. One that takes HTML from a stream is left to ``tests/browser/test_html.py``."""
    request = RequestFactory().get("/")
    request.user = User.objects.create(username="ann")
    order = shop_models.Order.objects.create()
    text = (
        engines["django"]
        .from_string(block.text)
        .render({"order": order, "user": request.user, "chat": {"stream": "abc"}}, request)
    )
    assert "{%" not in text
    assert "{{" not in text
    plain = block.text.replace("{% livepush_sse ", "")
    assert text.count("<script defer") == plain.count("{% livepush ") + ("{% livepush_" in plain) + (
        "{% livepush_presence" in plain
    )
    assert text.count("<script defer") or "data-livepush-" in text or "&amp;since=" in text
    assert 'data-position=""' not in text


def check_json(block: Block) -> None:
    """Parse JSON; what has a fixed form has to be what the code makes or takes."""
    found = json.loads(block.text)
    kind = found.get("type", "")
    if "command" in found:
        wire.parse_command(block.text, 100)
    elif "key" in found:
        assert wire.parse_message(block.text.encode()).group == found["group"]
    elif "errors" in found:
        error = wire.WireError(found["code"], found["message"])
        error.errors = found["errors"]
        assert {"ok": False, **error.fields()} == found
    elif found.keys() & {"accepted", "recipients", "specversion"} or ("group" in found and "time" not in found):
        check_publishing(found, block.text.encode())
    elif "code" in found and not kind:
        assert found.keys() == {"code", "message"}
        assert json.loads(wire.WireError(**found).body()) == found
    elif "parts" in found:
        passage = Passage(0, pieces.loads(json.dumps(found["parts"])), found["offset"])
        ending = Ending(StreamState(found["state"]), found["error"])
        assert json.loads(formats.answer(passage, ending, found["metadata"])) == found
    elif "events" in found:
        assert list(found) == list(json.loads(wire.poll_answer([], wire.Position("a", 1))))
        for event in found["events"]:
            check_envelope(event)
    elif kind.startswith(wire.RESERVED_PREFIX):
        check_own(found)
    else:
        check_envelope(found)


def check_publishing(found: dict[str, Any], body: bytes) -> None:
    """Parse what is published as the view does; of an answer see whether the positions are there."""
    if "accepted" in found:
        assert len(found["positions"]) == found["accepted"]
    elif "recipients" in found:
        assert drafts.notifications(body)[0].recipients
    elif "specversion" in found:
        assert cloudevents.structured(body)[0].data == found["data"]
    else:
        assert drafts.events(body)[0].groups == (found["group"],)


def check_envelope(found: dict[str, Any]) -> None:
    epoch, number = wire.parse_position(found["id"])
    groups = tuple(found.get("groups", [found["group"]]))
    event = wire.Event(number, groups, found["type"], wire.dumps(found["data"]), found["time"])
    event = event._replace(sender=wire.dumps(found["from"])) if "from" in found else event
    assert json.loads(wire.envelope(event, epoch)) == found
    assert [wire.check_group(group) for group in groups]
    assert wire.type_problem(found["type"]) is None


def check_own(found: dict[str, Any]) -> None:
    fields = {name: value for name, value in found.items() if name not in ("type", "id")}
    kind = found["type"].removeprefix(wire.RESERVED_PREFIX)
    (made,) = wire.system_frames(kind, wire.Format.TEXT, **fields)
    assert json.loads(made) == found
    if kind == "hello":
        position = wire.parse_position(fields.pop("position"))
        named = {name: tuple(fields.pop(name)) for name in ("groups", "refused", "failed") if name in fields}
        assert fields.pop("protocol") == wire.PROTOCOL
        (greeting,) = wire.hello(position, wire.Format.TEXT, **fields, **named)
        assert json.loads(greeting) == found


def check_eventstream(block: Block) -> None:
    """Make each event again from its fields."""
    for text in block.text.removesuffix("\n").split("\n\n"):
        if text == ":":
            assert f"{text}\n".encode() == wire.HEARTBEAT
            continue
        lines = [line.split(": ", 1) for line in text.split("\n")]
        fields, data_lines = dict(lines), [value for name, value in lines if name == "data"]
        kind = fields.get("event", "message")
        if len(data_lines) > 1:
            epoch, number = wire.parse_position(fields["id"])
            event = wire.Event(number, (), kind, wire.dumps("\n".join(data_lines)), "")
            assert wire.encode(event, epoch, wire.Format.SSE_TEXT) == f"{text}\n\n"
            continue
        data = json.loads(fields["data"])
        if kind.startswith(wire.RESERVED_PREFIX):
            check_own(data)
            more = {name: value for name, value in data.items() if name not in ("type", "id")}
            (made,) = wire.system_frames(kind.removeprefix(wire.RESERVED_PREFIX), wire.Format.SSE, **more)
            assert made.decode() == f"{text}\n\n"
        else:
            epoch, number = wire.parse_position(fields["id"])
            assert wire.sse_event(wire.Event(number, (), kind, fields["data"], ""), epoch) == f"{text}\n\n"


def check_diff(block: Block) -> None:
    """See whether it is a diff, for a file; the quickstart's test applies it."""
    assert block.file
    before = "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[0] in " -")
    assert apply_diff(block.text, before)[1] > 0


def check_javascript(block: Block) -> None:
    """Left to ``tests/browser/test_javascript.py``, which runs it in Chromium."""
    assert block.text.strip()


def check_modules(block: Block) -> None:
    """Left to ``tests/browser/test_frameworks.py``, which bundles it and runs it in Chromium."""


def check_css(block: Block) -> None:
    """Look for the states that a selector names."""
    states = re.findall(r"^  (\w+): \"\1\",$", (ROOT / "client" / "src" / "types.js").read_text(), re.MULTILINE)
    assert set(re.findall(r'data-livepush-state="(\w+)"', block.text)) <= {*states}
    assert "open" in states


def check_nginx(block: Block) -> None:
    """See whether the braces pair up, each directive ends, and no client can choose its own address."""
    depth = 0
    for line in block.text.split("\n"):
        line = line.split("#")[0].strip()
        depth += line.count("{") - line.count("}")
        assert depth >= 0, line
        assert not line or line[-1] in "{};", line
    assert depth == 0
    assert block.text.count("proxy_pass ") == block.text.count("X-Forwarded-For $proxy_add_x_forwarded_for;")


def check_bash(block: Block) -> None:
    """See whether each command exists and takes these arguments."""
    if block.text.startswith("TOKEN="):
        return  # tests/bridges/test_mercure.py runs it
    for line in block.text.strip().split("\n"):
        words = shlex.split(line)
        assert words[0] in COMMANDS, f"{block}: the test does not know {words[0]!r}"
        COMMANDS[words[0]](words)


def check_pip(words: list[str]) -> None:
    project = project_table()
    assert words[1] == "install"
    name, _, extras = words[2].rstrip("]").partition("[")
    if name == project["name"]:
        assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])


def check_manage(words: list[str]) -> None:
    assert words[1] == "manage.py"
    class_ = command(words[2])
    parser = class_.create_parser("manage.py", words[2])
    parser.parse_args(words[3:])


def command(name: str) -> BaseCommand:
    app = get_commands().get(name)
    assert app is not None, f"there is no command {name!r}"
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def check_curl(words: list[str]) -> None:
    """See whether the address is there, and whether JSON says that it is JSON; the quickstart's test asks it."""
    address = next(urlsplit(word) for word in words if word.startswith("http"))
    try:
        resolve(address.path)
    except Resolver404:
        pytest.fail(f"{address.path} is nowhere")
    wire.parse_query(address.query.encode(), max_groups=100)
    assert not any(word.endswith(".json") for word in words) or "Content-Type: application/json" in words


def check_server(words: list[str]) -> None:
    """See whether the server's help names the options."""
    told = help_of(words[0])
    for word in words[1:]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told), f"{words[0]} has no {word}"
    assert words[-1] == "mysite.asgi:application"


@cache
def help_of(server: str) -> str:
    """Return a server's ``--help``."""
    done = subprocess.run([sys.executable, "-m", server, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words[1] in targets, f"the Makefile has no {words[1]!r}"


def check_of_environment(words: list[str]) -> None:
    """Check a program of a virtual environment as if it were called without its folder."""
    plain = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    COMMANDS[plain[0]](plain)


def left_to_a_test(words: list[str]) -> None:
    """Leave a command to ``tests/integration/test_blank_server.py``, which does what it does."""


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    ".venv/bin/django-admin": check_of_environment,
    ".venv/bin/pip": check_of_environment,
    ".venv/bin/python": check_of_environment,
    **dict.fromkeys(("apt-get", "chmod", "nginx", "python3", "sudo", "systemctl", "useradd"), left_to_a_test),
    "cd": lambda words: None,
    "curl": check_curl,
    "daphne": check_server,
    "django-admin": lambda words: check_manage(["python", "manage.py", *words[1:]]),
    "granian": check_server,
    "gunicorn": check_server,
    "hypercorn": check_server,
    "make": check_make,
    "pip": check_pip,
    "python": check_manage,
    "uvicorn": check_server,
}


def check_unit(block: Block) -> None:
    """See whether systemd would take the unit; ``tests/integration/test_deploying.py`` runs its command."""
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block.text)
    assert list(unit) == ["DEFAULT", "Unit", "Service", "Install"]
    check_server([Path(words[0]).name, *words[1:]] if (words := shlex.split(unit["Service"]["ExecStart"])) else [])


def check_dockerfile(block: Block) -> None:
    """See whether each line is an instruction; ``tests/integration/test_deploying.py`` runs the command."""
    for line in block.text.splitlines():
        assert line.split()[0] in ("FROM", "ENV", "WORKDIR", "COPY", "RUN", "EXPOSE", "CMD"), line
    check_server(json.loads(block.text.rpartition("CMD ")[2]))


def check_proxy(block: Block) -> None:
    """Left to ``tests/integration/test_deploying.py``, which runs each, but Traefik, which Debian does not have."""
    assert "127.0.0.1" in block.text


def check_log(block: Block) -> None:
    """Have the audit log what a line says; it has to come out as that line."""
    name, *words = block.text.split()
    fields: dict[str, Any] = {"tenant": None, **dict(word.split("=") for word in words)}
    fields |= {"user": User(pk=fields["user"]), "groups": fields["groups"].split(",")}
    fields["seconds"] = float(fields["seconds"])
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    level = audit.logger.level
    audit.logger.addHandler(handler)
    audit.logger.setLevel(logging.INFO)
    try:
        audit.tell(name, **fields)
    finally:
        audit.logger.setLevel(level)
        audit.logger.removeHandler(handler)
    assert said == [block.text.strip()]


def check_conf(block: Block) -> None:
    """See that Debian's configuration has each option of the manual; ``tests/servers/pushpin.py`` runs with them."""
    found, debians = ConfigParser(interpolation=None), ConfigParser(interpolation=None)
    found.read_string(block.text)
    debians.read(pushpin.DEBIANS)
    assert not [name for part in found.sections() for name in found[part] if name not in debians[part]]


def check_routes(block: Block) -> None:
    """See that ``tests/servers/pushpin.py`` runs with it."""
    assert block.text == pushpin.ROUTES


CHECKS: dict[str, Callable[[Block], None]] = {
    "apache": check_proxy,
    "bash": check_bash,
    "caddy": check_proxy,
    "css": check_css,
    "diff": check_diff,
    "dockerfile": check_dockerfile,
    "eventstream": check_eventstream,
    "haproxy": check_proxy,
    "html": check_html,
    "ini": check_unit,
    "javascript": check_javascript,
    "conf": check_conf,
    "json": check_json,
    "jsx": check_modules,
    "log": check_log,
    "mjs": check_modules,
    "nginx": check_nginx,
    "routes": check_routes,
    "vcl": check_proxy,
    "yaml": check_proxy,
}


@pytest.mark.django_db
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language != "python"], ids=str)
def test_each_other_block_is_checked(block: Block) -> None:
    assert block.language in CHECKS, f"{block}: nothing checks blocks of {block.language!r}"
    CHECKS[block.language](block)


def test_make_targets_that_the_text_names_are_there() -> None:
    for target in set(re.findall(r"`make ([a-z-]+)", MANUAL)):
        check_make(["make", target])


# Lists


def test_the_settings_are_all_listed_with_their_defaults_and_meanings() -> None:
    (body,) = [
        node.body
        for node in ast.parse((ROOT / "livepush" / "conf.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    ]
    meanings = {
        field.target.id: " ".join(text.value.value.split()).replace("``", "`")  # type: ignore[union-attr, attr-defined]
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
    }
    units = {
        "addresses", "alias", "bytes", "bytes a second", "clients", "commands a second", "connections", "dotted paths",
        "events", "events a second", "groups", "messages a second", "name", "names", "origins", "seconds", "threads",
        "word", "words", "yes or no",
    }  # fmt: skip
    listed = rows("settings.md", "`DATABASE`")
    assert [unquoted(row[0])[0] for row in listed] == list(conf.NAMES)
    for (name, default, unit, meaning), key in zip(listed, conf.NAMES, strict=True):
        expected = getattr(conf.Settings(), key)
        assert ast.literal_eval(unquoted(default)[0]) == expected, name
        assert isinstance(expected, bool) == (unit == "yes or no"), name
        assert unit in units, name
        assert meaning == meanings[key]


def test_the_metrics_are_all_listed_with_their_labels_and_meanings() -> None:
    listed = rows("monitoring.md", "`livepush_connections`")
    assert [(unquoted(row[0])[0], row[1], tuple(unquoted(row[2])), row[3]) for row in listed] == [
        (name, *metric) for name, metric in METRICS.items()
    ]


def test_what_settings_md_says_of_zero_is_so() -> None:
    for name in conf.NAMES:
        if isinstance(getattr(conf.Settings(), name), bool | str | dict | tuple):
            continue
        with override_settings(LIVEPUSH={name: 0}):
            if name in ("PRUNE_INTERVAL", "DRAIN", "DRAIN_STREAMS", "MAX_STREAM_AGE", "MAX_GROUPS_ANONYMOUS"):
                assert getattr(conf.get_settings(), name) == 0
            else:
                with pytest.raises(ImproperlyConfigured):
                    conf.get_settings()


def test_the_answers_to_bad_requests_are_those_that_the_servers_give() -> None:
    from tests.integration.test_errors import ANSWERS

    transports = ("sse", "websocket", "poll", "poll (WSGI)")
    problems = list(dict.fromkeys(problem for problem, _ in ANSWERS))
    assert {transport for _, transport in ANSWERS} == set(transports)
    expected = [[problem, *(ANSWERS.get((problem, each), "–") for each in transports)] for problem in problems]
    assert rows("wire-protocol.md", problems[0]) == expected


def test_the_close_codes_are_those_of_the_code() -> None:
    assert rows("wire-protocol.md", "4400") == [[str(int(close)), close.reason] for close in wire.Close]


def test_the_error_codes_are_those_of_the_code() -> None:
    source = "".join(path.read_text() for path in (ROOT / "livepush").rglob("*.py"))
    raised = set(re.findall(r'(?:WireError|refusal)\(\s*"(\w+)"', source)) | set(re.findall(r'"code": "(\w+)"', source))
    assert {unquoted(row[0])[0] for row in rows("wire-protocol.md", "`bad_query`")} == raised


def test_the_findings_are_those_of_the_checks() -> None:
    source = "".join(path.read_text() for path in (ROOT / "livepush").rglob("*.py"))
    listed = [unquoted(row[0])[0] for row in rows("commands.md", "`livepush.E001`")]
    assert listed == sorted(set(re.findall(r'id="(livepush\.[EW]\d+)"', source)))


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "livepush" / "management" / "commands").glob("livepush_*.py"))
)
def test_each_option_of_a_command_is_documented(name: str) -> None:
    parser, plain = ArgumentParser(), ArgumentParser()
    command(name).add_arguments(parser)
    mine = {option for action in parser._actions for option in action.option_strings}
    mine -= {option for action in plain._actions for option in action.option_strings}
    (text,) = re.findall(rf"^## {name}\n(.*?)^## ", page("commands.md"), re.DOTALL | re.MULTILINE)
    assert {unquoted(line)[0] for line in text.split("\n") if line.startswith("| `--")} == mine


def test_the_handshake_is_documented() -> None:
    from livepush.access.identity import Handshake

    listed = [unquoted(row[0])[0] for row in rows("rules.md", "`request.headers`")]
    assert listed == [f"request.{name}" for name in Handshake.__dataclass_fields__]


@pytest.mark.parametrize(
    "name",
    [f"livepush.{name}" for name in livepush.__all__] + list(exceptions.__all__) + list(testing.__all__),
)
def test_each_public_name_is_documented(name: str) -> None:
    assert re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", "\n".join(code_of_the_manual())), name


def code_of_the_manual() -> list[str]:
    return [*(block.text for block in BLOCKS), *re.findall(r"`([^`\n]+)`", MANUAL)]


def test_each_endpoint_is_documented() -> None:
    listed = [unquoted(row[0])[0] for row in rows("wire-protocol.md", "`/livepush/sse/`")]
    assert sorted(listed) == sorted(reverse(f"livepush:{name}") for name in ("sse", "ws", "poll"))


def test_the_client_api_is_that_of_the_client() -> None:
    """The declarations are held against the sources by ``tsc``; see ``client/test/declarations.ts``."""
    declared = (ROOT / "livepush" / "static" / "livepush" / "livepush.d.ts").read_text()
    (body,) = re.findall(r"class LivepushClient \{\n(.*?)\n\}", declared, re.DOTALL)
    names = set(re.findall(r"^  (?:readonly )?(\w+)[(:<]", body, re.MULTILINE)) - {"constructor"}
    listed = set(re.findall(r"^\| `livepush\.(\w+)", page("client.md"), re.MULTILINE))
    assert listed == names | {"scan"}
    (states,) = re.findall(r'StateName =\n((?:  \| "\w+";?\n)+)', declared)
    assert [unquoted(row[0])[0] for row in rows("client.md", "`idle`")] == re.findall(r'"(\w+)"', states)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_relative_link_leads_somewhere() -> None:
    for source in [*PAGES, *RECIPES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", source.read_text()):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            found = (source.parent / path).resolve() if path else source
            assert found.is_file(), f"{source.name}: {target}"
            assert not anchor or anchor in anchors(found.read_text()), f"{source.name}: {target}"


def test_the_index_leads_to_every_page_and_the_readme_to_the_index() -> None:
    names = {page.name for page in PAGES} - {"README.md", "index.md"} | {"recipes/index.md"}
    assert names <= set(re.findall(r"\((\S+\.md)", page("index.md")))
    assert "index.md" in re.findall(r"/docs/(\S+\.md)", page("README.md"))


def test_the_changelog_has_its_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)  # a date may follow
    assert versions[0] == livepush.__version__ == project_table()["version"]
    assert re.findall(r"^### (.+)$", text, re.MULTILINE) == ["Breaking", "Features", "Fixes"] * len(versions)


def test_the_files_that_releasing_md_names_have_the_version() -> None:
    (step,) = re.findall(r"^4\. .*?(?=^5\. )", page("releasing.md"), re.DOTALL | re.MULTILINE)
    names = re.findall(r"`(\S+\.(?:py|toml|json))`", step)
    assert len(names) == 6
    assert [name for name in names if f'"{livepush.__version__}"' not in (ROOT / name).read_text()] == []


@cache
def project_table() -> dict[str, Any]:
    """Return ``[project]`` of ``pyproject.toml``."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found
