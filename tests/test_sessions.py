"""Sessions of engines that are not Django's own."""

from __future__ import annotations

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session

from livepush.access.authenticating import of_sessions

pytestmark = pytest.mark.django_db


class SessionStore(db.SessionStore):
    """Makes a new session in place of one that is missing, as the engine of django-user-sessions does."""

    def load(self):
        found = self._get_session_from_db()
        if found is None:
            self.create()
            return {}
        return self.decode(found.session_data)


def test_an_engine_that_makes_a_session_in_place_of_a_missing_one_makes_none_for_livepush(settings):
    settings.SESSION_ENGINE = "tests.test_sessions"
    ann = User.objects.create(username="ann")
    store = SessionStore()
    store[SESSION_KEY], store[HASH_SESSION_KEY] = str(ann.pk), ann.get_session_auth_hash()
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store.save()
    missing = "x" * 32
    known = of_sessions([store.session_key, missing])
    assert {key: identity.user.pk for key, identity in known.items()} == {store.session_key: ann.pk, missing: None}
    assert list(Session.objects.values_list("session_key", flat=True)) == [store.session_key]
