"""Makes the site's tenants, and does for one of them what it is told: as ``tests.servers.publisher``, with more."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import contextlib
import json
import sys
import traceback
from typing import Any

import django

django.setup()

from django.core.management import call_command

from livepush import tenants
from tests.projects.schemas.customers.models import Customer, Domain
from tests.projects.schemas.notes.models import Note
from tests.servers import publisher


def make_tenants(*names: str) -> None:
    call_command("migrate_schemas", schema_name="public", verbosity=0)
    for name in names:
        customer = Customer.objects.create(schema_name=name)
        Domain.objects.create(domain=f"{name}.localhost", tenant=customer, is_primary=True)


def write(text: str) -> int:
    """Save a note in the tenant's schema."""
    return int(Note.objects.create(text=text).pk)


def notes() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("text", flat=True))


COMMANDS: dict[str, Any] = {**publisher.COMMANDS, "write": write, "notes": notes}

if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # django-tenants tells of each migration
        make_tenants(*sys.argv[1:])
    print(json.dumps({"result": None}), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            with tenants.active(arguments.pop("tenant", None)):
                answer = {"result": COMMANDS[name](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
