"""Auth groups: who gets one keeps it, though the inbox can't note it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, OperationalError, transaction
from django.test import override_settings

from livepush.inbox import recipients
from tests.conftest import ALIASES

LINE = "The change of an auth group's users was not noted: they may see its older notifications."


elsewhere = pytest.mark.skipif(len(ALIASES) < 2, reason="needs a second database, for the log")


def errors(caplog):
    return [record.message for record in caplog.records if record.name == "livepush" and record.levelname == "ERROR"]


def unreachable(*given):
    raise OperationalError("the database is gone")


@elsewhere
@pytest.mark.django_db(databases=ALIASES[:2], transaction=True)
def test_a_role_is_given_though_the_logs_database_is_unreachable(monkeypatch, caplog):
    monkeypatch.setattr(recipients.log, "state", unreachable)
    with override_settings(LIVEPUSH={"DATABASE": ALIASES[1]}):
        user = User.objects.create_user("ann")
        user.groups.add(Group.objects.create(name="staff"))
    assert user.groups.count() == 1
    assert errors(caplog) == [LINE]


def test_an_error_in_an_open_transaction_of_the_log_reaches_who_gives_the_role(using, ann, staff, monkeypatch):
    monkeypatch.setattr(recipients.log, "state", unreachable)
    with pytest.raises(DatabaseError, match="the database is gone"), transaction.atomic(using=using):
        ann.groups.add(staff)


@elsewhere
@pytest.mark.django_db(databases=["default"])
def test_a_project_s_test_may_leave_the_logs_database_out(caplog):
    with override_settings(LIVEPUSH={"DATABASE": ALIASES[1]}):
        user = User.objects.create_user("ann")
        caplog.clear()
        user.groups.add(Group.objects.create(name="staff"))
        assert user.groups.count() == 1
        assert errors(caplog) == []
