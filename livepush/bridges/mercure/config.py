"""``LIVEPUSH["MERCURE"]``: the keys of the tokens, and who may subscribe without one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from livepush.conf import get_settings

WHERE = "LIVEPUSH['MERCURE']"
SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The algorithms with one secret for both sides, and how many bytes it needs (RFC 7518, section 3.2)."""
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""The algorithms whose public key checks what a private one has signed."""
TEXTS = {
    "KEY": "",
    "ALGORITHM": "HS256",
    "SUBSCRIBER_KEY": "",
    "SUBSCRIBER_ALGORITHM": "",
    "COOKIE": "mercureAuthorization",
}
EXAMPLE = '{"KEY": os.environ["MERCURE_JWT_SECRET"]}'


class Key(NamedTuple):
    """A key that checks the signatures of tokens."""

    text: str
    algorithm: str

    def __repr__(self) -> str:
        """Return it without the key: traces of errors show what functions were given."""
        return f"Key(algorithm={self.algorithm!r})"


class MercureHub(NamedTuple):
    """How the hub checks who publishes and subscribes."""

    publishers: Key
    subscribers: Key
    anonymous: bool
    """Whether those may subscribe who show no token."""
    cookie: str


def hub() -> MercureHub:
    """Return the project's hub. Raises ImproperlyConfigured: a value is missing, or there is one that nothing reads."""
    given: Mapping[str, Any] = get_settings().MERCURE
    unknown = sorted(set(given) - {*TEXTS, "ANONYMOUS"})
    if unknown:
        raise ImproperlyConfigured(f"{WHERE} has {unknown[0]!r}, which nothing reads: expected {EXAMPLE}.")
    if not all(isinstance(given.get(name, ""), str) for name in TEXTS):
        raise ImproperlyConfigured(f"{WHERE} has a value that is no text: expected something like {EXAMPLE}.")
    anonymous = given.get("ANONYMOUS", False)
    if not isinstance(anonymous, bool):
        raise ImproperlyConfigured(f"{WHERE}['ANONYMOUS'] is {anonymous!r}: expected True or False.")
    found = {**TEXTS, **given}
    publishers = _key("KEY", found["KEY"], found["ALGORITHM"])
    algorithm = found["SUBSCRIBER_ALGORITHM"] or found["ALGORITHM"]
    subscribers = _key("SUBSCRIBER_KEY", found["SUBSCRIBER_KEY"], algorithm) if found["SUBSCRIBER_KEY"] else publishers
    return MercureHub(publishers, subscribers, anonymous, found["COOKIE"])


def check_hub() -> None:
    """Raise ImproperlyConfigured if the hub can't be used."""
    known = hub()
    if any(key.algorithm not in SECRET for key in known[:2]) and find_spec("cryptography") is None:
        raise ImproperlyConfigured(f'{WHERE}["ALGORITHM"] needs cryptography: pip install "django-livepush[mercure]".')


def _key(name: str, text: str, algorithm: str) -> Key:
    if algorithm not in (*SECRET, *PUBLIC):
        raise ImproperlyConfigured(
            f"{WHERE} has the algorithm {algorithm!r}: expected one of {', '.join((*SECRET, *PUBLIC))}."
        )
    least = SECRET.get(algorithm)
    if least is not None and len(text.encode()) < least:
        raise ImproperlyConfigured(
            f"{WHERE}[{name!r}] has {len(text.encode())} bytes: {algorithm} needs {least} or more. "
            f'Take python -c "import secrets; print(secrets.token_hex({least}))".'
        )
    if least is None and "PUBLIC KEY" not in text:
        raise ImproperlyConfigured(f"{WHERE}[{name!r}] is no public key in PEM format, which {algorithm} needs.")
    return Key(text, algorithm)
