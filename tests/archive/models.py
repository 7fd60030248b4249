"""An app whose models are called like others of the project's. They have no tables: they are only named."""

from __future__ import annotations

from django.db import models


class Group(models.Model):
    class Meta:
        managed = False


class Inbox(models.Model):
    class Meta:
        managed = False


class User(models.Model):
    is_authenticated = True

    class Meta:
        managed = False
