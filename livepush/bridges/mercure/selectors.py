"""Topic selectors: a topic, ``*`` for all topics, or a URI Template (RFC 6570) that topics are expansions of.

A template is followed from its beginning to its end, with the set of all places in the topic that it may have reached:
the bits of a number. So it takes time in proportion to the template and the topic, whatever a client asks for, while a
regular expression may take any time. Prefixes of values, ``{name:3}``, are not supported.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from functools import lru_cache

from livepush.wire import Cache

ALL = "*"
MAX_EXPRESSIONS = 20
"""How many expressions a template may have."""

Places = int
"""A set of places in a topic: bit 0 is the place before the first character."""
Step = Callable[[str, Places], Places]
"""Takes a topic and the places that were reached in it; returns those that are reached next."""

_PREFIX = re.compile(r"\{[^{}]*:\d+[^{}]*\}")
_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_VARIABLE = re.compile(r"((?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+(?:\.(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})+)*)(\*)?")
_OPERATORS = {
    # operator: first, between, whether names are shown, whether reserved characters stand as they are
    "": ("", ",", False, False),
    "+": ("", ",", False, True),
    "#": ("#", ",", False, True),
    ".": (".", ".", False, False),
    "/": ("/", "/", False, False),
    ";": (";", ";", True, False),
    "?": ("?", "&", True, False),
    "&": ("&", "&", True, False),
}
_UNRESERVED = f"{string.ascii_letters}{string.digits}-._~%"
_RESERVED = ":/?#[]@!$&'()*+,;="


CACHE_BYTES = 2 * 1_048_576
_matches: Cache[bool] = Cache(CACHE_BYTES)  # many subscribers have the same selector
_templates: Cache[tuple[Step, ...]] = Cache(CACHE_BYTES)


class Selectors:
    """Some selectors together."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(texts))
        self.stand_for_all = ALL in self.texts
        self._exact = frozenset(self.texts)
        self._templates = [text for text in self.texts if "{" in text]

    @property
    def are_topics(self) -> bool:
        """Whether each of them is one topic."""
        return not (self.stand_for_all or self._templates)

    def match(self, topic: str) -> bool:
        """Return whether one of them stands for a topic."""
        if self.stand_for_all or topic in self._exact:
            return True
        return any(matches(template, topic) for template in self._templates)

    def match_any(self, topics: Iterable[str]) -> bool:
        """Return whether one of them stands for one of the topics."""
        return any(map(self.match, topics))

    def match_all(self, topics: Iterable[str]) -> bool:
        """Return whether each topic has one of them that stands for it."""
        return all(map(self.match, topics))


def unsupported(text: str) -> str | None:
    """Return why a selector can't be followed; ``None`` if it can be. A malformed template stands for itself alone."""
    if _PREFIX.search(text):
        return f"has the prefix of a value, such as {{id:3}}, which is not supported: {text[:100]!r}"
    if text.count("{") > MAX_EXPRESSIONS:
        return f"has {text.count('{')} expressions: expected {MAX_EXPRESSIONS} at most"
    return None


def matches(template: str, topic: str) -> bool:
    """Return whether a topic is an expansion of a URI Template. Nothing is one of a malformed template."""
    found = _matches.get((template, topic))
    if found is None:
        found = _follow(template, topic)
        _matches.put((template, topic), found, 300 + 4 * (len(template) + len(topic)))
    return found


def _follow(template: str, topic: str) -> bool:
    places = 1
    for step in _steps(template):
        places = step(topic, places)
        if not places:
            return False
    return bool(places >> len(topic) & 1)


def _steps(template: str) -> tuple[Step, ...]:
    found = _templates.get(template)
    if found is None:
        found = _parse(template)
        _templates.put(template, found, 1000 + 4 * len(template) + 1000 * (template.count("{") + template.count(",")))
    return found


def _parse(template: str) -> tuple[Step, ...]:
    parts = _EXPRESSION.split(template)
    texts, expressions = parts[::2], parts[1::2]
    if len(expressions) > MAX_EXPRESSIONS or any("{" in text or "}" in text for text in texts):
        return (_nowhere,)
    steps = [_text(texts[0])]
    for expression, text in zip(expressions, texts[1:], strict=True):
        steps += [_expression(expression), _text(text)]
    return tuple(steps)


def _nowhere(topic: str, places: Places) -> Places:
    return 0


def _text(text: str) -> Step:
    def step(topic: str, places: Places) -> Places:
        found, place = 0, topic.find(text, (places & -places).bit_length() - 1) if text and places else -1
        while place >= 0:
            found |= 1 << place
            place = topic.find(text, place + 1)
        return (places & found) << len(text) if text else places

    return step


@lru_cache(maxsize=64)  # there are two for each operator
def _run(extra: str) -> Step:
    """Return what steps over the characters of a value, as many as there are or less."""
    characters = frozenset(_UNRESERVED + extra)

    def step(topic: str, places: Places) -> Places:
        fitting = _places_of(characters, topic)
        # Adding carries each place on to the end of the characters that fit; all bits that change lie in between.
        return places | ((fitting + (places & fitting)) ^ fitting)

    return step


@lru_cache(maxsize=256)
def _places_of(characters: frozenset[str], topic: str) -> Places:
    """Return the places of a topic that are followed by one of some characters."""
    return int("".join("01"[each in characters] for each in reversed(topic)) or "0", 2)


def _expression(text: str) -> Step:
    operator = text[0] if text[:1] in _OPERATORS and text else ""
    variables = [_VARIABLE.fullmatch(each) for each in text[len(operator) :].split(",")]
    if not all(variables):
        return _nowhere
    first, between, is_named, is_reserved = _OPERATORS[operator]
    extra = _RESERVED if is_reserved else ""
    values = []
    for variable in filter(None, variables):
        if variable[2]:  # each of a list, or of pairs
            values.append(_run(f"{extra}{between}=,"))
        else:  # a list has commas
            values.append(_pair(_text(variable[1]), _run(f"{extra},")) if is_named else _run(f"{extra},"))
    return lambda topic, places: _optional(topic, places, _text(first), _text(between), values)


def _pair(name: Step, value: Step) -> Step:
    """Return what steps over a name and its value, or over the name alone: some show an empty value so."""

    def step(topic: str, places: Places) -> Places:
        named = name(topic, places)
        return named | value(topic, _text("=")(topic, named))

    return step


def _optional(topic: str, places: Places, first: Step, between: Step, values: list[Step]) -> Places:
    """Step over the variables of an expression, each of which may have no value."""
    ahead, behind = first(topic, places), 0
    for value in values:
        behind |= value(topic, ahead | between(topic, behind))
    return places | behind
