from __future__ import annotations

import json
from typing import NamedTuple

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


class Row(models.Model):
    """Its total is computed by the database."""

    quantity = models.IntegerField()
    price = models.IntegerField()
    total = models.GeneratedField(
        expression=models.F("quantity") * models.F("price"), output_field=models.IntegerField(), db_persist=True
    )


class Shelf(models.Model):
    """Its key has two fields."""

    pk = models.CompositePrimaryKey("hall", "number")
    hall = models.IntegerField()
    number = models.IntegerField()
    label = models.CharField(max_length=50, default="")


class Person(models.Model):
    friends = models.ManyToManyField("self")
    follows = models.ManyToManyField("self", symmetrical=False)


class Array(list[float]):
    """Compares its elements, as numpy's arrays do."""

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        return Array(one == two for one, two in zip(self, other, strict=True))  # type: ignore[call-overload]

    def __ne__(self, other: object) -> Array:  # type: ignore[override]
        return Array(one != two for one, two in zip(self, other, strict=True))  # type: ignore[call-overload]

    def __bool__(self) -> bool:
        raise ValueError("The truth of an array is ambiguous.")


class ArrayField(models.TextField):
    """Keeps an array, as pgvector's field does."""

    def from_db_value(self, value, expression, connection):
        return Array(json.loads(value))

    def get_prep_value(self, value):
        return json.dumps(list(value))

    def value_to_string(self, obj):
        return self.get_prep_value(self.value_from_object(obj))

    def to_python(self, value):
        return value


class Picture(models.Model):
    vector = ArrayField()
    title = models.CharField(max_length=50, default="")


class Money(NamedTuple):
    amount: int
    currency: str


class MoneyField(models.CharField):
    """Keeps an amount and its currency, of which ``to_python`` drops the latter, as django-money's field does."""

    def from_db_value(self, value, expression, connection):
        amount, currency = value.split()
        return Money(int(amount), currency)

    def get_prep_value(self, value):
        return f"{value.amount} {value.currency}"

    def to_python(self, value):
        return value.amount if isinstance(value, Money) else value


class Invoice(models.Model):
    file = models.FileField(upload_to="invoices")
    price = MoneyField(max_length=50)
