from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group, User
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


class OpenOrder(Order):
    class Meta:
        proxy = True


class ExpressOrder(Order):
    courier = models.CharField(max_length=50)


class Clerk(User):
    class Meta:
        proxy = True


class Driver(User):
    """A user with a primary key of its own."""

    user_ptr = models.OneToOneField(User, models.CASCADE, parent_link=True)
    licence = models.CharField(max_length=50, primary_key=True)


class Team(Group):
    class Meta:
        proxy = True
