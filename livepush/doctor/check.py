"""One check with its measurements and findings, and ``run``, which gives each check a thread and a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django.db import connections

from livepush.doctor.problems import Level, Problem
from livepush.doctor.proxies import remedy


class Finding(NamedTuple):
    """One thing that is wrong."""

    id: str
    level: Level
    title: str
    seen: str
    expected: str
    remedy: str


@dataclass(slots=True)
class Check:
    """The outcome of one check. It is partial if the time limit passed first."""

    name: str
    says: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """One sentence for each thing that could not be checked, with the reason."""
    late: Problem | None = None
    """The problem to report if the time limit passes now."""

    def say(self, text: str, **figures: Any) -> None:
        """Note a measurement: ``text`` for people, ``figures`` for machines."""
        self.says.append(text)
        self.figures.update(figures)

    def find(self, problem: Problem, seen: str) -> None:
        """Note a problem."""
        self.findings.append(
            Finding(problem.value, problem.level, problem.title, seen, problem.expected, remedy(problem))
        )

    def skip(self, sentence: str) -> None:
        """Note, in a sentence, that something could not be checked and why."""
        self.unchecked.append(sentence)

    def has(self, *problems: Problem) -> bool:
        """Return whether one of these problems was found."""
        return any(finding.id == problem.value for finding in self.findings for problem in problems)

    @property
    def has_errors(self) -> bool:
        """Whether one of the findings is an error."""
        return any(finding.level is Level.ERROR for finding in self.findings)

    @property
    def status(self) -> str:
        """``error``, ``warning``, ``unknown`` (something could not be checked) or ``ok``."""
        levels = {finding.level for finding in self.findings}
        for level in Level:
            if level in levels:
                return level.value
        return "unknown" if self.unchecked else "ok"


Work = Callable[[Check], None]


def run(name: str, work: Work, limit: float) -> Check:
    """Run one check and return its outcome. If the time limit (seconds) passes first, return the outcome so far."""
    return run_together({name: work}, limit)[0]


def run_together(works: dict[str, Work], limit: float) -> list[Check]:
    """Run checks side by side, each in a thread of its own; see ``run``."""
    checks = [Check(name) for name in works]
    threads = [
        threading.Thread(target=_do, args=(work, check), name="livepush-doctor", daemon=True)
        for check, work in zip(checks, works.values(), strict=True)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + limit
    outcomes = []
    for check, thread in zip(checks, threads, strict=True):
        thread.join(max(0.0, end - time.monotonic()))
        outcomes.append(_cut_short(check, limit) if thread.is_alive() else check)
    return outcomes


def _do(work: Work, check: Check) -> None:
    try:
        work(check)
    except Exception as error:
        check.skip(f"The rest was not checked: {describe_error(error)}.")
    finally:
        with suppress(Exception):  # closing a dead connection can raise
            connections.close_all()


def _cut_short(check: Check, limit: float) -> Check:
    """Return a copy of a check's outcome so far. The check's thread may go on and change the original."""
    found = replace(
        check,
        says=list(check.says),
        figures=dict(check.figures),
        findings=list(check.findings),
        unchecked=list(check.unchecked),
    )
    if found.late is None:
        found.skip(f"The rest was not checked: it took longer than {limit:g} s (--timeout).")
    else:
        found.find(found.late, f"nothing came within {limit:g} s (--timeout)")
    return found


def describe_error(error: BaseException) -> str:
    """Return an error as one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
