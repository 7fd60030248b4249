"""Kafka's part of ``LIVEPUSH["RELAYS"]``, and the properties of its client that follow from it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

SCHEME = "kafka://"
ADDRESSES = re.compile(r"kafka://[^\s/@,]+:\d{1,5}(,[^\s/@,]+:\d{1,5})*")
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
OWN_PROPERTIES = {
    "acks", "auto.offset.reset", "bootstrap.servers", "delivery.timeout.ms", "enable.auto.commit",
    "enable.auto.offset.store", "enable.gapless.guarantee", "enable.idempotence", "error_cb", "group.protocol",
    "message.timeout.ms", "metadata.broker.list", "partition.assignment.strategy", "request.required.acks",
    "transactional.id",
}  # fmt: skip
"""The properties that livepush sets itself, since its promises depend on them."""
CRITICAL = 2
"""The level of what the client logs itself. It tells of failures by ``error_cb``, and by exceptions."""
silent = logging.getLogger("livepush.kafka")
silent.setLevel(logging.CRITICAL + 1)


def problem(given: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the settings of a Kafka relay, if anything is."""
    if not ADDRESSES.fullmatch(given["URL"]):
        return "['URL'] is malformed: expected kafka://host:port,host:port. A user and a password belong in OPTIONS."
    if not TOPIC.fullmatch(given["STREAM"]):
        return f"['STREAM'] is {given['STREAM']!r}: expected the name of a topic, of letters, digits and . _ -"
    options = given.get("OPTIONS", {})
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        return "['OPTIONS']: expected a dict of librdkafka's properties, such as {'security.protocol': 'SSL'}."
    if own := sorted(OWN_PROPERTIES & options.keys()):
        return f"['OPTIONS'] has {own[0]!r}: livepush sets that itself."
    return _problem_of_key(given.get("KEY", ""))


def _problem_of_key(key: Any) -> str | None:
    try:
        key.format(group="g", type="t")
    except (AttributeError, LookupError, ValueError):
        return f"['KEY'] is {key!r}: expected a template such as '{{group}}', of group and type."
    return None


def properties(url: str, options: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the client's properties: livepush's ``own``, and those of the relay's options, which come first."""
    return {
        "bootstrap.servers": url.removeprefix(SCHEME),
        "log_level": CRITICAL,
        "logger": silent,
        **(own or {}),
        **options,
    }
