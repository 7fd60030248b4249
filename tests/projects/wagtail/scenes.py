"""A site made of Wagtail: its pages are children of one table, and are published, moved and copied."""

from __future__ import annotations

from blog.models import Banner, Notice, Post
from common import log_in, serving
from django.contrib.auth.models import User
from wagtail.models import Page

from livepush.testing import capture_events


def _home() -> Page:
    return Page.objects.get(depth=2)


def a_page_is_written_published_and_deleted() -> None:
    with serving() as server, server.stream("site") as told:
        post = _home().add_child(instance=Post(title="One", slug="one", live=False))
        assert told() == ("post.created", {"id": post.pk})
        post.title = "Two"
        post.save_revision().publish()
        kinds = [told()]
        assert kinds[0][0] == "post.updated", kinds
        post.refresh_from_db()
        assert (post.live, post.title) == (True, "Two")
        pk = post.pk
        post.delete()
        while kinds[-1][0] == "post.updated":
            kinds.append(told())
        assert kinds[-1] == ("post.deleted", {"id": pk})


def a_snippet_is_told() -> None:
    with capture_events() as events:
        banner = Banner.objects.create(text="Sale")
        banner.text = "Last days"
        banner.save()
        banner.delete()
    assert events.types() == ["banner.created", "banner.updated", "banner.deleted"]


def pages_are_moved_and_copied() -> None:
    root = _home()
    one = root.add_child(instance=Post(title="One", slug="one"))
    two = root.add_child(instance=Post(title="Two", slug="two"))
    with capture_events() as events:
        Page.objects.get(pk=two.pk).move(Page.objects.get(pk=one.pk), pos="last-child")
        Post.objects.get(pk=one.pk).copy(recursive=True, update_attrs={"slug": "copy", "title": "Copy"})
    assert events.types().count("post.created") == 2
    assert Post.objects.count() == 4


def a_registered_parent_hears_its_children() -> None:
    with capture_events() as events:
        notice = _home().add_child(instance=Notice(title="One", slug="one"))
        notice.title = "Two"
        notice.save()
        notice.delete()
    kinds = [sent.type for sent in events.to("pages")]
    assert [kinds.count(f"page.{each}") for each in ("created", "updated", "deleted")] == [1, 1, 1], kinds


def the_site_and_its_admin_go_on() -> None:
    User.objects.create_superuser("ann", "ann@example.com", "secret")
    _home().add_child(instance=Post(title="Hello", slug="hello"))
    with serving() as server:
        host = {"Host": "127.0.0.1"}
        status, body = server.ask("GET", "/hello/", **host)
        assert status == 200, body
        assert b"data-livepush" in body
        assert server.ask("GET", "/admin/", **log_in(User.objects.get()))[0] == 200
