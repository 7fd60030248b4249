"""The demo as it starts: its ports, what it says if the server fails, and users whom a visitor has changed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from demo_project import __main__ as demo
from tests.docs_blocks import ROOT
from tests.patience import PATIENCE

EVERYWHERE = "0.0.0.0"


def shell(folder: Path, code: str) -> str:
    """Run code in the demo's shell, on a database of its own; return what it prints."""
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.browser.demo_settings",
        "DEMO_DATABASE": str(folder / "demo.sqlite3"),
    }
    words = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_phones_are_told_the_address_in_the_qr_code(capsys: pytest.CaptureFixture[str]) -> None:
    demo.announce(8000, "192.168.1.20")
    assert "shows a QR code for http://192.168.1.20:8000/bell/\n" in capsys.readouterr().out


@pytest.mark.long
def test_an_address_that_is_not_there_leads_back_where_the_demo_is_for_phones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEMO_LAN_ADDRESS", "192.168.1.20")
    code = """
from django.test import Client
answer = Client(headers={"host": "127.0.0.1"}).get("/nowhere/")
print(answer.status_code, answer.text)
"""
    said = shell(tmp_path, code)
    assert said.startswith("404 ")
    assert "There is no such page" in said
    assert 'href="/"' in said


@pytest.mark.long
def test_each_start_gives_the_demos_users_the_passwords_that_it_prints(tmp_path: Path) -> None:
    code = """
from demo_project.__main__ import prepare
from django.contrib.auth import authenticate
from django.contrib.auth.models import User

prepare()
before = User.objects.get(username="demo").password
for user in User.objects.filter(username="admin"):
    user.set_password("guess"), setattr(user, "is_staff", False), setattr(user, "is_active", False), user.save()
prepare()
admin = authenticate(username="admin", password="admin")
print(admin, admin.is_staff, admin.is_superuser, authenticate(username="demo", password="demo").is_staff)
print(User.objects.get(username="demo").password == before)
"""
    assert shell(tmp_path, code) == "admin True True False\nTrue\n"


@pytest.mark.long
def test_a_user_who_is_deleted_in_the_admin_is_made_again(tmp_path: Path) -> None:
    code = """
from demo_project.__main__ import prepare
from demo_project.parcels import simulation
from demo_project.parcels.models import Parcel
from demo_project.showcase import stage
from django.contrib.auth.models import User

prepare()
User.objects.all().delete()
print(stage.move().customer)
User.objects.all().delete()
for _ in range(8):
    simulation.tick()
print({"demo", "mila"} <= {parcel.customer.username for parcel in Parcel.objects.all()})
print(User.objects.get(username="demo").get_full_name())
"""
    assert shell(tmp_path, code) == "mila\nTrue\nAda Lindqvist\n"


@pytest.mark.long
def test_the_partner_refuses_a_webhook_that_is_old(tmp_path: Path) -> None:
    code = """
import json, time
from demo_project.__main__ import prepare
from demo_project.showcase import partner
from django.conf import settings
from django.test import RequestFactory
from livepush.bridges.relays import signing

prepare()
body = json.dumps({"data": {"code": "LP-1", "away": False}}).encode()
for age in (0, 290, 310, -310):
    headers = signing.headers("1", int(time.time()) - age, body, [signing.key(settings.PARTNER_SECRET)])
    request = RequestFactory().post("/", body, content_type="application/json", headers=headers)
    print(partner.receive(request).status_code)
"""
    assert shell(tmp_path, code).split() == ["204", "204", "401", "401"]


def test_a_server_that_fails_at_start_ends_the_demo_with_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind((demo.HOST, 0))  # nobody listens there
        for processes, patience in ((SimpleNamespace(server_ended=True), 60), (SimpleNamespace(server_ended=False), 0)):
            with pytest.raises(SystemExit, match="The server did not start; see above"):
                demo.wait_for(taken.getsockname()[1], processes, patience)


def test_a_port_that_another_address_of_this_computer_has_is_not_free_for_phones() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert demo.choose_port([str(port)], [demo.HOST]) == port
        with pytest.raises(SystemExit, match=f"^Port {port} is taken"):
            demo.choose_port([str(port)], [demo.HOST, EVERYWHERE])


def test_demos_side_by_side_have_second_servers_on_ports_of_their_own() -> None:
    ports = [demo.second_port(port, [demo.HOST]) for port in demo.USUAL_PORTS]
    assert len(set(ports)) == len(ports)
    assert not set(ports) & set(demo.USUAL_PORTS)
    assert demo.second_port(65_535, [demo.HOST]) > 0
