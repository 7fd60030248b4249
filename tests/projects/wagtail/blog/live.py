from wagtail.models import Page

import livepush
from blog.models import Banner, Post


@livepush.register(Post, Banner)
class SiteLive(livepush.ModelEvents):
    def groups(self, instance):
        return ["site"]


@livepush.register(Page)
class PageLive(livepush.ModelEvents):
    fields = ("title",)

    def groups(self, page):
        return ["pages"]


@livepush.can_read("site")
def site(user):
    return True


@livepush.can_read("pages")
def pages(user):
    return True
