from __future__ import annotations

from django.conf import settings
from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Order(models.Model):
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    status = models.CharField(max_length=50, default="new")
    eta = models.DateField(null=True)
    count = models.IntegerField(default=0)
    note = models.TextField(default="")
    tags = models.ManyToManyField(Tag)
