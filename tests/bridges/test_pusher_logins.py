"""What makes a user known to the auth endpoint ends the user's connection of Pusher's, and gives it no more rights."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.core.signing import b64_decode
from django.test import RequestFactory

from livepush.access import authenticating
from livepush.access.authenticating import Identity
from livepush.bridges.pusher import config, proving
from livepush.rights import issuing
from livepush.wire import WireError
from tests.bridges import pushers
from tests.bridges.pushers import APP, Site, raw
from tests.bridges.test_pusher_refusals import auth, connected, refusal, subscribe
from tests.conftest import append
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Databases

OWN = config.App(*APP.values())
AUTHENTICATORS = [
    "livepush.access.authenticating.session",
    "livepush.access.authenticating.token",
    "tests.servers.pusher.by_scopes",
]
SETTINGS = {**pushers.SETTINGS, "RECHECK": 1.0, "AUTHENTICATORS": AUTHENTICATORS}


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("daphne", marks=pytest.mark.long)])
def site(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, SETTINGS) as elsewhere,
        processes.server(request.param, database, SETTINGS, application=pushers.APPLICATION) as server,
    ):
        yield Site(server, elsewhere, pushers.HERE, database)


@pytest.mark.parametrize("how", some(["delete", "flush"]))
async def test_a_session_that_is_not_there_any_more_is_found_out(site, how):
    cookie = site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        assert (await subscribe(site, socket, id, "private-help;a", cookie))["event"].endswith("succeeded")
        answer = (await auth(site, cookie, id, "private-help;b")).json()
        site.elsewhere.do("end_session", cookie=cookie, how=how)
        assert refusal(await socket.next("pusher:ping")) == ("private-help;a", 403)
        await socket.say("pusher:subscribe", {"channel": "private-help;b", **answer})
        assert refusal(await socket.next("pusher:ping")) == ("private-help;b", 401)


async def test_a_user_known_to_an_authenticator_of_the_project_has_no_more_rights_than_it_gives(site):
    key = {"X-Key": "ann a b"}
    async with raw(site) as socket:
        id = await connected(socket)
        for channel in ("private-scoped;a", "private-scoped;b"):
            answer = (await auth(site, "", id, channel, **key)).json()
            await socket.say("pusher:subscribe", {"channel": channel, **answer})
            assert (await socket.next("pusher:ping"))["event"].endswith("succeeded")
        assert (await auth(site, "", id, "private-scoped;c", **key)).status_code == 403
        await socket.say("pusher:subscribe", {"channel": "scoped;c"})
        assert refusal(await socket.next("pusher:ping")) == ("scoped;c", 403)
        await socket.say("pusher:subscribe", {"channel": "cache-scoped;a"})
        assert (await socket.next("pusher:ping"))["event"].endswith("succeeded")


async def test_an_authenticator_of_the_project_is_asked_again(site):
    site.elsewhere.session("eve")
    async with raw(site) as socket:
        id = await connected(socket)
        answer = (await auth(site, "", id, "private-scoped;a", **{"X-Key": "eve a"})).json()
        await socket.say("pusher:subscribe", {"channel": "private-scoped;a", **answer})
        assert (await socket.next("pusher:ping"))["event"].endswith("succeeded")
        site.elsewhere.do("rename", username="eve", first_name="locked")
        assert refusal(await socket.next("pusher:ping")) == ("private-scoped;a", 403)


async def test_a_token_that_works_once_is_good_for_the_connection_for_which_it_was_shown(site):
    token = {"Authorization": f"Bearer {site.elsewhere.do('token', username='ann', once=True)}"}
    async with raw(site) as socket:
        id = await connected(socket)
        answer = (await auth(site, "", id, "private-help;a", **token)).json()
        await socket.say("pusher:subscribe", {"channel": "private-help;a", **answer})
        assert (await socket.next("pusher:ping"))["event"].endswith("succeeded")
        assert (await auth(site, "", id, "private-help;b", **token)).status_code == 401


async def test_a_newcomer_gets_nothing_older_by_a_cache_channel_or_by_resuming(site):
    before = f"{site.elsewhere.position().partition('-')[0]}-0"
    site.elsewhere.send("inbox:all", "older")
    cookie = site.elsewhere.session("newcomer")
    async with raw(site) as fresh, raw(site) as resuming:
        first, second = await connected(fresh), await connected(resuming)
        channel = "private-cache-inbox;all"
        assert (await subscribe(site, fresh, first, channel, cookie))["event"].endswith("succeeded")
        assert (await fresh.next("pusher:ping"))["event"] == "pusher:cache_miss"
        await resuming.say("livepush:resume", {"position": before})
        assert (await subscribe(site, resuming, second, channel, cookie))["event"].endswith("succeeded")
        site.elsewhere.send("inbox:all", "later")
        for socket in fresh, resuming:
            assert (await socket.next("pusher:ping"))["event"] == "later"


async def test_half_a_character_in_a_channels_name_ends_no_connection_and_writes_no_traceback(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.send('{"event": "pusher:subscribe", "data": {"channel": "\\ud800"}}')
        assert (await socket.next("pusher:ping"))["event"] == "pusher:error"
        await socket.say("pusher:subscribe", {"channel": "board"})
        assert (await socket.next("pusher:ping"))["event"].endswith("succeeded")


async def test_nobody_moves_a_clients_position_by_an_event(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next("pusher:ping")
        site.elsewhere.send("board", "pusher.event", {"name": "livepush:position", "data": {"position": "e-9"}})
        site.elsewhere.send("board", "n", 1)
        assert (await socket.next("pusher:ping"))["event"] == "n"


async def test_the_session_stands_nowhere_in_what_a_page_gets(site):
    cookie = site.elsewhere.session("ann")
    key = cookie.partition("=")[2]
    answer = (await auth(site, cookie, "1.1", "private-help;a")).json()
    said = json.loads(b64_decode(answer["auth"].split(":", 2)[2].partition(".")[0].encode()))
    assert said[1] == "1"
    assert key not in json.dumps([answer, said])
    kept = b64_decode(said[-1].encode())
    for start in range(len(kept)):
        with pytest.raises(zlib.error):
            zlib.decompress(kept[start:])


@pytest.mark.django_db
def test_a_proof_is_of_one_connection_and_channel(django_user_model):
    known = Identity(django_user_model.objects.create_user("ann"))
    answer = proving.auth_of(OWN, "1.1:private-a", known, RequestFactory().post("/pusher/auth"), "a")
    proof = answer.split(":", 2)[2]
    assert proving.proved("1.1:private-a", proof).identity.name == known.name
    for other in "1.2:private-a", "1.1:private-b", "1.1::user::{}":
        with pytest.raises(WireError, match="not of this connection"):
            proving.proved(other, proof)


def limited(request):
    """An authenticator: a header names a user, who may do less here."""
    user = User.objects.get(username=request.headers["X-Key"])
    user.scopes = ["a"]
    return user


@pytest.mark.django_db
def test_cookies_that_did_not_count_are_not_carried_on(client, settings, django_user_model, rf):
    settings.LIVEPUSH = {"AUTHENTICATORS": [AUTHENTICATORS[0], f"{__name__}.limited"]}
    client.force_login(django_user_model.objects.create_user("ann"))
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.session.session_key}"
    request = rf.post("/pusher/auth", headers={"X-Key": "ann", "Cookie": cookie})
    assert request.headers["Cookie"]
    setattr(request, authenticating.IGNORED, True)
    known = limited(request)
    answer = proving.auth_of(OWN, "1.1:private-a", Identity(known, again=lambda: known), request, "a")
    found = proving.proved("1.1:private-a", answer.split(":", 2)[2]).identity
    assert (found.session, found.user.scopes) == (None, ["a"])


@pytest.mark.django_db
def test_a_session_that_has_become_anothers_names_nobody(client, django_user_model):
    ann, ben = (django_user_model.objects.create_user(name) for name in ("ann", "ben"))
    client.force_login(ann)
    known = authenticating.of_session(client.session.session_key)
    answer = proving.auth_of(OWN, "1.1:private-a", known, RequestFactory().post("/pusher/auth"), "a")
    proof = answer.split(":", 2)[2]
    assert proving.proved("1.1:private-a", proof).identity.name == str(ann.pk)
    session = client.session
    session.update({SESSION_KEY: str(ben.pk), HASH_SESSION_KEY: ben.get_session_auth_hash()})
    session.save()
    with pytest.raises(WireError, match="has ended"):
        proving.proved("1.1:private-a", proof)


@pytest.mark.django_db
def test_what_is_signed_for_a_connection_is_good_for_a_minute(django_user_model, monkeypatch):
    request = RequestFactory().post("/pusher/auth")
    answer = proving.auth_of(OWN, "1.1:private-a", Identity(django_user_model.objects.create_user("ann")), request, "a")
    proof = proving.check_auth(OWN, "1.1:private-a", answer)
    later = time.time() + proving.TTL + 1
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    with pytest.raises(WireError, match="too old"):
        proving.proved("1.1:private-a", proof)


@pytest.mark.django_db
def test_the_time_for_which_a_client_had_to_wait_makes_its_proof_no_older(django_user_model, monkeypatch):
    ann = django_user_model.objects.create_user("ann")
    answer = proving.auth_of(OWN, "1.1:private-a", Identity(ann), RequestFactory().post("/pusher/auth"), "a")
    proof = proving.check_auth(OWN, "1.1:private-a", answer)
    later = time.time() + proving.TTL + 30
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    with pytest.raises(WireError, match="too old"):
        proving.proved("1.1:private-a", proof, 20.0)
    assert proving.proved("1.1:private-a", proof, 40.0).identity.name == str(ann.pk)


@pytest.mark.django_db
def test_a_user_whom_only_a_middleware_knows_is_named(settings, django_user_model):
    ann = django_user_model.objects.create_user("ann")
    request = RequestFactory().post("/pusher/auth")
    answer = proving.auth_of(OWN, "1.1:private-a", Identity(ann), request, "a")
    proof = proving.check_auth(OWN, "1.1:private-a", answer)
    assert proving.proved("1.1:private-a", proof).identity.name == str(ann.pk)
    ann.is_active = False
    ann.save()
    with pytest.raises(WireError, match="not there any more"):
        proving.proved("1.1:private-a", proof)


@pytest.mark.django_db
def test_a_user_whom_a_revocation_that_waits_would_end_is_named_later(django_user_model):
    ann = django_user_model.objects.create_user("ann")
    append("default", issuing.own_group(str(ann.pk), None))
    with pytest.raises(WireError) as caught:
        proving.auth_of(OWN, "1.1:private-a", Identity(ann), RequestFactory().post("/pusher/auth"), "a")
    assert (caught.value.code, caught.value.status) == ("unavailable", 503)
