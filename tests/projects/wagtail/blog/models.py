from django.db import models
from wagtail.models import Page
from wagtail.snippets.models import register_snippet


class Post(Page):
    text = models.TextField(blank=True)
    template = "post.html"


class Notice(Page):
    template = "post.html"


@register_snippet
class Banner(models.Model):
    text = models.CharField(max_length=100)
