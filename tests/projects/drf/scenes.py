"""Articles are written through an API that Django REST framework makes, and read over a stream."""

from __future__ import annotations

import json

from articles.models import Article, Tag
from common import log_in, serving
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.authtoken.models import Token

import livepush
from livepush.testing import capture_events


def token(user):
    return {"Authorization": f"Token {Token.objects.get_or_create(user=user)[0].key}"}


def an_api_makes_changes_and_deletes() -> None:
    ann = User.objects.create(username="ann")
    with serving() as server, server.stream("articles", **log_in(ann)) as told:
        status, body = server.ask("POST", "/api/articles/", {"title": "One"}, **token(ann))
        assert status == 201, body
        pk = json.loads(body)["id"]
        assert told() == ("article.created", {"id": pk, "title": "One"})
        assert server.ask("PATCH", f"/api/articles/{pk}/", {"title": "Two"}, **token(ann))[0] == 200
        assert told() == ("article.updated", {"changed": ["title"], "id": pk, "title": "Two"})
        assert server.ask("PATCH", f"/api/articles/{pk}/", {"title": ["no", "text"]}, **token(ann))[0] == 400
        assert server.ask("DELETE", f"/api/articles/{pk}/", **token(ann))[0] == 204
        assert told() == ("article.deleted", {"id": pk, "title": "Two"})


def a_tag_of_a_parent_is_not_told_for_a_child_that_is_not_there() -> None:
    """A child's many-to-many field is its parent's, so both have the same signal."""
    ann, tag = User.objects.create(username="ann"), Tag.objects.create(name="new")
    article = Article.objects.create(author=ann, title="One")
    with capture_events() as events:
        article.tags.add(tag)
    assert events.types() == ["article.updated"], events.types()


def a_child_is_told_once_by_the_name_of_the_model_that_is_registered() -> None:
    bob = User.objects.create(username="bob")
    with serving() as server, server.stream("articles", **log_in(bob)) as told:
        assert server.ask("POST", "/api/reviews/", {"title": "Good", "stars": 5}, **token(bob))[0] == 201
        kinds = [told()[0]]
        livepush.send("articles", "end")
        while kinds[-1] != "end":
            kinds.append(told()[0])
        assert kinds.count("article.created") == 1, kinds


def others_may_not_read() -> None:
    cat, dan = User.objects.create(username="cat"), User.objects.create(username="dan")
    article = Article.objects.create(author=cat, title="Mine")
    with serving() as server:
        path = f"/livepush/sse/?group=article:{article.pk}"
        assert server.ask("GET", path)[0] == 403
        assert server.ask("GET", path, **log_in(dan))[0] == 403
        with server.stream(f"article:{article.pk}", **log_in(cat)) as told:
            article.title = "Still mine"
            article.save()
            assert told()[1]["title"] == "Still mine"


def its_test_client_works() -> None:
    eve = User.objects.create(username="eve")
    with capture_events() as events:
        answer = Client().post("/api/articles/", {"title": "x"}, "application/json", headers=token(eve))
    assert answer.status_code == 201, answer.content
    assert events.types() == ["article.created"]
