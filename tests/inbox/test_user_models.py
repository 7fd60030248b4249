"""Projects with user models of their own, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.scale import some

ROOT = Path(__file__).parents[2]
MODELS = """
from django.contrib.auth.models import AbstractBaseUser, AbstractUser, BaseUserManager
from django.contrib.auth.models import Group as AuthGroup
from django.db import models

{before}

class User(AbstractBaseUser):
    name = models.CharField(max_length=50, unique=True)
    USERNAME_FIELD = "name"
    objects = BaseUserManager()
{user}

{after}
"""
PROJECT = """
import json, logging, sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="tests-only", ALLOWED_HOSTS=["*"], ROOT_URLCONF="people.urls", AUTH_USER_MODEL="people.User",
    USE_TZ=True, STATIC_URL="/static/", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages",
        "django.contrib.sessions", "livepush", "people",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
        "context_processors": ["django.template.context_processors.request"]}}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.checks import run_checks
from django.core.management import call_command
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
import livepush
from livepush.inbox.models import Membership, Notification

call_command("migrate", verbosity=0, run_syncdb=True)
User, client, lines = get_user_model(), Client(), []


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


logging.getLogger("livepush").addHandler(Lines())
"""
BELL = "{% load livepush %}{% livepush_bell %}{% livepush_badge %}"
URLS = f"""
from django.http import HttpResponse
from django.template import engines
from django.urls import include, path

def bell(request):
    return HttpResponse(engines["django"].from_string({BELL!r}).render({{}}, request))

urlpatterns = [path("bell/", bell), path("livepush/", include("livepush.urls"))]
"""


@pytest.fixture
def run(tmp_path):
    """Run code in a project with a user model; return what it leaves in ``found``."""

    def run(code, user="", before="", after=""):
        people = tmp_path / "people"
        people.mkdir()
        (people / "__init__.py").touch()
        parts = {"user": indent(dedent(user), "    "), "before": dedent(before), "after": dedent(after)}
        (people / "models.py").write_text(MODELS.format(**parts))
        (people / "urls.py").write_text(URLS)
        script = f"{PROJECT}\nfound = {{}}\n{dedent(code)}\nprint(json.dumps(found))"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.long
@pytest.mark.parametrize(
    "model",
    some([
        {},
        {"after": "class Team(models.Model):\n    of = models.ForeignKey(User, models.CASCADE, related_name='groups')"},
        {"after": "class Team(models.Model):\n    members = models.ManyToManyField(User, related_name='groups')"},
        {"before": "class Team(models.Model):\n    pass", "user": "groups = models.ManyToManyField(Team)"},
        {"user": "groups = models.JSONField(default=list)"},
        {"user": "@property\ndef groups(self):\n    return ['a']"},
    ]),
    ids=["none", "foreign-key", "many-to-many-of-another", "many-to-many-to-another", "json", "property"],
)  # fmt: skip
def test_a_site_whose_users_have_no_auth_groups_starts_and_shows_the_bell(run, model):
    code = """
        ann = User.objects.create(name="ann")
        if hasattr(getattr(ann, "groups", None), "create"):
            ann.groups.create()
        Group.objects.create(pk=1, name="staff")
        client.force_login(ann)
        livepush.notify([ann, Group.objects.get()], "Hello")
        from livepush.inbox.admin.figures import reads_of, size
        from livepush.inbox.recipients import audiences
        found["page"] = client.get("/bell/").text.count("<livepush-bell")
        found["audiences"] = [audience.group for audience in audiences(ann)]
        found["size"], found["memberships"] = size("inbox:auth:1"), Membership.objects.count()
        found["reads"] = sorted(reads_of(Notification.objects.all()).values())
    """
    found = run(code, **model)
    expected = {"page": 1, "audiences": ["user:1", "inbox:all"], "size": 0, "memberships": 0, "reads": ["0", "0"]}
    assert found == expected


def test_users_with_auth_groups_are_notified_through_them_whatever_their_model_is(run):
    code = """
        ann = User.objects.create(name="ann")
        ann.groups.add(Group.objects.create(name="staff"))
        livepush.notify(Group.objects.get(), "Hello")
        client.force_login(ann)
        found["unseen"] = client.get("/livepush/inbox/counts/").json()["unseen"]
        found["memberships"] = Membership.objects.count()
    """
    assert run(code, user="groups = models.ManyToManyField(AuthGroup)") == {"unseen": 1, "memberships": 1}


OWN_ROWS = {
    "user": 'groups = models.ManyToManyField(AuthGroup, through="Post", through_fields=("user", "group"))',
    "after": """
        class Post(models.Model):
            user = models.ForeignKey(User, models.CASCADE)
            group = models.ForeignKey(AuthGroup, models.CASCADE)
            by = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")

        class Shown(Post):
            class Meta:
                proxy = True
    """,
}
STAFFED = """
from django.db import transaction
from livepush.inbox.reading import Inbox
from livepush.models import Event
from people.models import Post, Shown

def titles(user):
    return [entry.notification.title for entry in Inbox(user).page().entries]

def asked():
    events = list(Event.objects.filter(type="livepush.rights").order_by("position"))
    Event.objects.filter(type="livepush.rights").delete()
    return [json.loads(each.data)["user"] for each in events]

users = [User.objects.create(name=name) for name in ("ann", "ben", "eve")]
ann, ben, eve = users
staff, managers = (Group.objects.create(name=name) for name in ("staff", "managers"))
"""


def test_a_projects_own_rows_between_users_and_auth_groups_count_from_when_they_are_made(run):
    code = """
        from livepush.inbox.reading import Inbox
        from livepush.models import Event
        from people.models import Post
        ann, staff = User.objects.create(name="ann"), Group.objects.create(name="staff")
        found["titles"], found["memberships"] = [], []
        for title in ("old", "missed"):
            livepush.notify(staff, title)
            post = Post.objects.create(user=ann, group=staff)
            post.save()
            livepush.notify(staff, "new")
            found["titles"].append([entry.notification.title for entry in Inbox(ann).page().entries])
            found["memberships"].append(Membership.objects.count())
            post.delete()
            found["memberships"].append(Membership.objects.count())
        found["asked"] = [json.loads(each.data)["user"] for each in Event.objects.filter(type="livepush.rights")]
    """
    found = run(code, **OWN_ROWS)
    assert found == {"titles": [["new"], ["new"]], "memberships": [1, 0, 1, 0], "asked": ["1"] * 4}


def staffed(code):
    return STAFFED + dedent(code)


@pytest.mark.parametrize("model", ["Post", "Shown"])
def test_a_projects_own_row_that_changes_counts_for_the_new_group_from_then_on(run, model):
    code = f"""
        post = {model}.objects.create(user=ann, group=staff)
        asked()
        livepush.notify(managers, "old")
        post.group = managers
        post.save()
        found["asked"] = set(asked()) == {{"1"}}
        livepush.notify(managers, "new")
        found["titles"] = titles(ann)
        found["groups"] = list(Membership.objects.values_list("group", flat=True))
        post.by = ann
        post.save()
        post.save(update_fields=["by"])
        found["asked again"] = asked()
        post.user = ben
        post.save()
        found["changed hands"] = [sorted(asked()), titles(ann), titles(ben)]
        post.delete()
        found["deleted"] = [asked(), Membership.objects.count()]
    """
    assert run(staffed(code), **OWN_ROWS) == {
        "asked": True,
        "titles": ["new"],
        "groups": ["inbox:auth:2"],
        "asked again": [],
        "changed hands": [["1", "2"], [], []],
        "deleted": [["2"], 0],
    }


def test_a_user_with_two_rows_for_an_auth_group_is_in_it_until_both_are_gone(run):
    code = """
        livepush.notify(staff, "old")
        first, second = (Post.objects.create(user=ann, group=staff) for _ in range(2))
        livepush.notify(staff, "new")
        asked()
        first.delete()
        found["one"] = [titles(ann), asked(), Membership.objects.count()]
        second.group = managers
        second.save()
        found["groups"] = list(Membership.objects.values_list("group", flat=True))
    """
    found = run(staffed(code), **OWN_ROWS)
    assert found == {"one": [["new"], [], 1], "groups": ["inbox:auth:2"]}


def test_many_rows_that_a_project_deletes_are_told_of_once(run):
    code = """
        def made():
            for user in users:
                Post.objects.create(user=user, group=staff, by=ann)
                Post.objects.create(user=user, group=managers)
            asked()

        def told(work):
            made()
            with transaction.atomic():
                work()
            found[work.__name__] = [asked(), Membership.objects.count()]
            Post.objects.all().delete()
            asked()

        def users_rows():
            Post.objects.filter(user=ann).delete()

        def clear():
            staff.user_set.clear()

        def remove():
            ann.groups.remove(staff, managers)

        def again():
            Post.objects.filter(user=ann).delete()
            Post.objects.create(user=ann, group=staff)
            Post.objects.create(user=ann, group=managers)

        def rolled_back():
            try:
                with transaction.atomic():
                    Post.objects.filter(user=ann).delete()
                    raise ValueError
            except ValueError:
                pass

        def in_two_savepoints():
            Post.objects.filter(user=ann).delete()
            try:
                with transaction.atomic():
                    Post.objects.filter(user=ben).delete()
                    ann.groups.clear()
                    raise ValueError
            except ValueError:
                pass

        def cascade():
            Post.objects.filter(user=ann).update(by=eve)
            eve.delete()

        def group():
            Group.objects.filter(pk=staff.pk).delete()

        for work in (users_rows, clear, remove, again, rolled_back, in_two_savepoints, cascade):
            told(work)
        users = [ann, ben]
        told(group)
    """
    found = run(staffed(code), **OWN_ROWS)
    assert found == {
        "users_rows": [["1"], 4],
        "clear": [[None], 3],
        "remove": [["1"], 4],
        "again": [["1", "1"], 6],
        "rolled_back": [[], 6],
        "in_two_savepoints": [["1"], 4],
        "cascade": [["1", "3"], 2],
        "group": [[None], 4],
    }


def test_a_deletion_that_is_rolled_back_is_told_neither_with_another_one_nor_twice_when_it_is_tried_again(run):
    code = """
        for user in users:
            Post.objects.create(user=user, group=staff)
        asked()

        def roll_back(rows):
            try:
                with transaction.atomic():
                    rows.delete()
                    raise ValueError
            except ValueError:
                pass

        of_ann, of_ben = (Post.objects.filter(user=user) for user in (ann, ben))
        roll_back(of_ann)
        of_ben.delete()
        found["another"] = [asked(), Membership.objects.count()]
        roll_back(of_ann)
        of_ann.delete()
        found["tried again"] = [asked(), Membership.objects.count()]
    """
    assert run(staffed(code), **OWN_ROWS) == {"another": [["2"], 2], "tried again": [["1"], 1]}


@pytest.mark.parametrize("again", ["Post.objects.create(user=ann, group=staff)", "ann.groups.add(staff)"])
def test_a_user_who_comes_back_is_a_newcomer_though_livepush_could_not_be_told_of_the_end(run, again):
    code = f"""
        Post.objects.create(user=ann, group=staff)
        livepush.notify(staff, "old")
        try:
            with transaction.atomic():
                transaction.on_commit(lambda: 1 / 0)
                Post.objects.filter(user=ann).delete()
        except ZeroDivisionError:
            pass
        livepush.notify(staff, "between")
        {again}
        livepush.notify(staff, "new")
        found["titles"] = titles(ann)
    """
    assert run(staffed(code), **OWN_ROWS) == {"titles": ["new"]}


def test_another_row_for_an_auth_group_takes_nothing_away(run):
    code = """
        Post.objects.create(user=ann, group=staff)
        livepush.notify(staff, "old")
        asked()
        Post.objects.create(user=ann, group=staff)
        found["asked"] = asked()
        ann.groups.add(staff)
        found["titles"] = titles(ann)
    """
    assert run(staffed(code), **OWN_ROWS) == {"titles": ["old"], "asked": []}


def test_rows_of_a_fixture_count_from_where_its_memberships_say(run):
    code = """
        from django.core import serializers
        post = Post.objects.create(user=ann, group=staff)
        livepush.notify(staff, "old")
        dump = serializers.serialize("json", [*Membership.objects.all(), post])
        post.delete()
        found["deleted"] = Membership.objects.count()
        for each in serializers.deserialize("json", dump):
            each.save()
        found["titles"] = titles(ann)
    """
    assert run(staffed(code), **OWN_ROWS) == {"deleted": 0, "titles": ["old"]}


def test_rows_whose_foreign_keys_name_no_primary_key_can_be_saved_and_deleted(run):
    key = "user = models.ForeignKey(User, models.CASCADE"
    code = """
        post = Post.objects.create(user=ann, group=staff)
        post.user = ben
        post.save()
        post.delete()
        Post.objects.create(user=ann, group=staff)
        Post.objects.all().delete()
        found["rows"], found["lines"] = Post.objects.count(), lines
    """
    by_name = {**OWN_ROWS, "after": OWN_ROWS["after"].replace(key, f'{key}, to_field="name"', 1)}
    assert run(staffed(code), **by_name) == {"rows": 0, "lines": []}


def test_what_livepush_can_not_follow_does_not_keep_a_project_from_its_rows_but_a_broken_transaction_does(run):
    code = """
        from django.db import OperationalError
        from livepush.rights import links

        def fail(*given):
            raise error

        def logged():
            return sum("could not follow a row" in line for line in lines)

        post = Post.objects.create(user=ann, group=staff)
        links._rows, error = fail, ValueError("not what it was")
        post.group = managers
        post.save()
        Post.objects.create(user=ben, group=staff)
        Post.objects.filter(user=ben).delete()
        post.delete()
        found["logged"], found["rows"] = logged(), Post.objects.count()
        error = OperationalError("the database is gone")
        try:
            with transaction.atomic():
                Post.objects.create(user=ann, group=staff)
        except OperationalError:
            found["raised"] = Post.objects.count()
    """
    assert run(staffed(code), **OWN_ROWS) == {"logged": 4, "rows": 0, "raised": 0}


def test_one_event_has_everybody_asked_if_a_change_concerns_many(run):
    code = """
        crowd = User.objects.bulk_create([User(name=f"u{number}") for number in range(101)])
        staff.user_set.add(*User.objects.filter(name__startswith="u"))
        found["added"] = [asked(), Membership.objects.count()]
        Post.objects.all().delete()
        found["deleted"] = [asked(), Membership.objects.count()]
    """
    assert run(staffed(code), **OWN_ROWS) == {"added": [[None], 101], "deleted": [[None], 0]}


TEXT_KEY = "code = models.CharField(max_length=150, primary_key=True)\ngroups = models.ManyToManyField(AuthGroup)"


@pytest.mark.long
def test_a_user_after_whom_no_group_can_be_named_has_no_inbox_and_breaks_nothing(run):
    code = """
        staff = Group.objects.create(name="staff")
        found["pages"], found["answers"], found["groups"] = [], [], []
        for number, key in enumerate(["zoë", "x" * 129, "zoe"]):
            user = User.objects.create(code=key, name=str(number))
            user.groups.add(staff)
            staff.user_set.remove(user)
            staff.user_set.add(user)
            user.groups.clear()
            user.groups.add(staff)
            client.force_login(user)
            for _ in range(2):
                page = client.get("/bell/")
                found["pages"].append((page.status_code, page.text.count("<livepush-bell")))
            found["answers"].append(client.get("/livepush/inbox/counts/").status_code)
            found["answers"].append(client.get("/livepush/poll/?group=inbox:all").status_code)
            found["groups"].append(user.groups.count())
        found["memberships"] = list(Membership.objects.values_list("reader", flat=True))
        found["lines"] = lines
        found["checks"] = [each.id for each in run_checks(tags=["livepush"])]
    """
    found = run(code, user=TEXT_KEY)
    assert found["pages"] == [[200, 0]] * 4 + [[200, 1]] * 2
    assert found["answers"] == [403, 403, 403, 403, 200, 200]
    assert (found["groups"], found["memberships"]) == ([1, 1, 1], ["zoe"])
    rights = "livepush could not announce that rights have changed; RECHECK finds out."
    (line,) = [line for line in found["lines"] if line != rights and not line.startswith("denied")]
    assert line.startswith("A user has no inbox (see livepush.W025): 'user:zoë' is not a group")
    assert "livepush.W025" in found["checks"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("key", "warned"),
    some(
        [
            ("models.CharField(max_length=40, primary_key=True)", True),
            ("models.EmailField(primary_key=True)", True),
            ("models.SlugField(primary_key=True)", False),
            ("models.SlugField(max_length=100, primary_key=True)", True),
            ("models.UUIDField(primary_key=True)", False),
            ("models.BigAutoField(primary_key=True)", False),
        ]
    ),
)
def test_the_check_warns_of_keys_that_may_be_in_no_name(run, key, warned):
    found = run('found["ids"] = [each.id for each in run_checks(tags=["livepush"])]', user=f"code = {key}")
    assert ("livepush.W025" in found["ids"]) == warned


@pytest.mark.parametrize(
    ("field", "name"),
    [("PositiveIntegerField", "1042"), ("UUIDField", "7d1f2c84-0b5e-4a6c-9d3e-5f8a1b2c3d4e")],
)
def test_a_username_may_be_a_number_or_a_uuid(run, field, name):
    code = f"""
        from django.core.management import CommandError
        from livepush.inbox.admin.audiences import users_called
        User.objects.create(number="{name}")
        found["users"] = users_called(["shipped", "{name}"])
        try:
            call_command("livepush_forget", "shipped")
        except CommandError as error:
            found["refused"] = str(error)
    """
    assert run(code, user=f'number = models.{field}(unique=True)\nUSERNAME_FIELD = "number"') == {
        "users": {name: "user:1"},
        "refused": "There is no user 'shipped': expected number, or --pk PK.",
    }
