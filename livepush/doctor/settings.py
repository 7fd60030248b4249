"""Reports the findings of ``manage.py check`` about livepush's settings."""

from __future__ import annotations

from django.core import checks

from livepush.conf import get_settings
from livepush.doctor.check import Check, Finding
from livepush.doctor.problems import Level
from livepush.doctor.units import duration


def check_settings(check: Check) -> None:
    """Report the findings of ``manage.py check`` about livepush."""
    for message in checks.run_checks(tags=["livepush"]):
        if message.is_silenced():
            continue
        level = Level.ERROR if message.level >= checks.ERROR else Level.WARNING
        finding = Finding(message.id or "", level, str(message.msg), "", "", str(message.hint or ""))
        check.findings.append(finding)
    if not check.has_errors:
        settings = get_settings()
        check.say(
            f"retention {duration(settings.RETENTION)}, heartbeat {settings.HEARTBEAT:g} s", database=settings.DATABASE
        )
