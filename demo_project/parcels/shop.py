"""What the shop sells and who buys it: the demo's users and orders."""

from __future__ import annotations

import random

from django.contrib.auth.models import User

from demo_project.parcels import pace
from demo_project.parcels.models import Parcel, Status

CUSTOMERS = ("ines", "jonas", "maud", "piotr", "sanne", "tariq")
STAGE_CUSTOMER = "mila"
"""The customer of the front page; every visitor may move her parcels."""
ACCOUNTS = ("demo", "admin")
"""The users whom visitors log in as; their passwords are their names."""
STAGE = "stage"
"""The group of her parcels' events, which every visitor may read."""
NAMES = {
    "demo": "Ada Lindqvist",
    "admin": "Noor Haddad",
    "ines": "Inês Carvalho",
    "jonas": "Jonas Weber",
    "maud": "Maud Janssens",
    "mila": "Mila Novak",
    "piotr": "Piotr Zieliński",
    "sanne": "Sanne de Vries",
    "tariq": "Tariq Mansour",
}
"""The users' full names, by username."""
ITEMS = (
    "Enamel kettle", "Wool blanket", "Desk lamp", "Pepper mill", "Linen apron", "Field notebook", "Brass hook set",
    "Bread knife", "Canvas tote", "Coffee dripper", "Cork board", "Felt slippers", "Garden twine", "Glass carafe",
    "Ink bottle", "Kitchen scale", "Moka pot", "Oak tray", "Picnic rug", "Record brush", "Rye starter", "Salt cellar",
    "Sewing kit", "Soap dish", "Tea strainer", "Travel mug", "Wall clock", "Willow basket", "Wooden spoons",
)  # fmt: skip
CITIES = (
    "Aarhus", "Antwerp", "Basel", "Bergen", "Bilbao", "Bologna", "Brno", "Cork", "Dresden", "Faro", "Gdańsk", "Ghent",
    "Graz", "Kaunas", "Leipzig", "Lille", "Ljubljana", "Lund", "Malmö", "Metz", "Nantes", "Ostrava", "Porto", "Riga",
    "Split", "Tartu", "Tromsø", "Turku", "Utrecht", "Valencia", "Wrocław", "York",
)  # fmt: skip


def known_user(username: str) -> User:
    """Return one of the demo's users, who is made again if a visitor has deleted the user in the admin."""
    found = User.objects.filter(username=username).first()
    if found is None:
        make_users()
        found = User.objects.get(username=username)
    return found


def demo_customer() -> User:
    """Return the customer whom visitors log in as."""
    return known_user("demo")


def place_order(customer: User | None = None, status: Status = Status.ORDERED) -> Parcel:
    """Order something; for a customer drawn by lot where none is given."""
    buyer = customer or known_user(random.choice(CUSTOMERS))
    return Parcel.objects.create(customer=buyer, item=random.choice(ITEMS), city=random.choice(CITIES), status=status)


def make_users() -> None:
    """Make the users that are missing, and set the passwords and rights that a visitor has changed in the admin."""
    for name in (*CUSTOMERS, STAGE_CUSTOMER, *ACCOUNTS):
        User.objects.get_or_create(username=name)
    for user in User.objects.filter(username__in=ACCOUNTS):
        if not user.check_password(user.username):  # a new hash of the same password would log everybody out
            user.set_password(user.username)
        user.is_active = True
        user.is_staff = user.is_superuser = user.username == "admin"
        user.save()
    for username, name in NAMES.items():
        first, _, last = name.partition(" ")
        User.objects.filter(username=username).update(first_name=first, last_name=last)


def seed() -> None:
    """Make the users, and parcels in every status, where there are none."""
    make_users()
    if not Parcel.objects.filter(customer__username=STAGE_CUSTOMER).exists():
        for status in (Status.TRANSIT, Status.PACKED, Status.ORDERED):
            place_order(known_user(STAGE_CUSTOMER), status)
    if not Parcel.objects.exclude(customer__username=STAGE_CUSTOMER).exists():
        buyers = [demo_customer(), None, None, None]
        with pace.simulated():
            for status in Status:
                for buyer in buyers:
                    place_order(buyer, status)
