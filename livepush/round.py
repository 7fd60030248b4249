"""What a hub routes in one go, encoded once for all its subscribers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from livepush.wire import Event, Format, encode, join


class Round:
    """What is routed in one go: each event is encoded once for each format, each set of groups joined once."""

    def __init__(self, epoch: str, events: Iterable[Event], ephemeral: bool = False) -> None:
        self.epoch = epoch
        self.ephemeral = ephemeral
        self.by_group: dict[str, list[tuple[int, Event]]] = {}
        for place, event in enumerate(events):
            self.by_group.setdefault(event.group, []).append((place, event))
        self._encoded: dict[tuple[int, Format], str] = {}
        self._frames: dict[tuple[Format, tuple[str, ...]], tuple[bytes | str, ...]] = {}

    def frames(self, format: Format, groups: Sequence[str]) -> tuple[bytes | str, ...]:
        """Return the frames that bring the events of some groups, in order, each send once."""
        key = (format, tuple(groups))
        found = self._frames.get(key)
        if found is None:
            found = self._frames[key] = join([self._encode(*event, format) for event in self._of(groups)], format)
        return found

    def forget_frames(self) -> None:
        """Let go of the frames: nobody else has these groups."""
        self._frames.clear()

    def _of(self, groups: Sequence[str]) -> list[tuple[int, Event]]:
        if len(groups) == 1:
            return self.by_group[groups[0]]
        events: list[tuple[int, Event]] = []
        last = None
        for place, event in sorted(pair for group in groups for pair in self.by_group[group]):
            if event.send is None or event.send != last:
                events.append((place, event))
            last = event.send
        return events

    def _encode(self, place: int, event: Event, format: Format) -> str:
        text = self._encoded.get((place, format))
        if text is None:
            text = self._encoded[place, format] = encode(event, self.epoch, format)
        return text
