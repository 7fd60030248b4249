"""The base of the commands that concern one user."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from livepush import tenants
from livepush.exceptions import InvalidGroup
from livepush.management.committing import CommittingCommand


class UserCommand(CommittingCommand):
    """A command about one user, by name, or by primary key: then the user may be gone already."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", help="the user's name, as for a login")
        parser.add_argument("--pk", help="the user's primary key, in place of the name; the user may be gone already")
        parser.add_argument("--tenant", help="the tenant whose user it is, where tenants have users of their own")

    def handle(self, *args: Any, **options: Any) -> None:
        name, pk = options["user"], options["pk"]
        if bool(name) == bool(pk):
            raise CommandError("Say which user: expected a name, or --pk PK.")
        try:
            with tenants.active(options["tenant"]):
                self.do(user_of(name, pk), f"the user {name or pk}", options)
        except InvalidGroup as error:
            raise CommandError(str(error)) from error

    def do(self, user: Any, name: str, options: dict[str, Any]) -> None:
        """Do the command's work for a user, or a user's primary key."""
        raise NotImplementedError


def user_of(name: str | None, pk: str | None) -> Any:
    """Return the user with a name, or else the primary key. Raises CommandError: there is none, or it can be none."""
    users: Any = get_user_model()
    if pk:
        try:
            return users._meta.pk.to_python(pk)
        except ValidationError as error:
            raise CommandError(f"{pk!r} is no primary key of a user: {' '.join(error.messages)}") from error
    try:
        return users._default_manager.get_by_natural_key(name)
    except (users.DoesNotExist, ValidationError, ValueError):  # it may be no number, where usernames are numbers
        raise CommandError(f"There is no user {name!r}: expected {users.USERNAME_FIELD}, or --pk PK.") from None
