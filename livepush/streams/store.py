"""The statements on the tables of streams."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple, TypeVar, cast

from django.db import connections, transaction
from django.db.models import Case, F, Field, Max, Q, Value, When
from django.db.models.functions import Length

from livepush import log
from livepush.streams import pieces
from livepush.streams.buffer import Ending, Passage
from livepush.streams.models import Stream, StreamChunk, StreamProducer, StreamState

T = TypeVar("T")
CHUNK = 65_536
"""The most characters in one chunk, unless a single part has more."""
STATEMENT = 1_048_576
"""About the most characters in one statement; MariaDB refuses 16 MiB by default."""
PAGE_ROWS, PAGE = 500, 262_144
"""The most rows, and about the most characters, of one page."""
AT_ONCE = 200
"""The most streams or rows that one statement names."""
_FROM_JSON = "SELECT row->>0, (row->>1)::bigint, (row->>2)::bigint, row->>3 FROM json_array_elements(%s::json) AS row"


class Written(NamedTuple):
    """A chunk that is to be stored."""

    stream: str
    start: int
    end: int
    body: str


def chunks(stream: str, passage: Passage) -> list[Written]:
    """Return a passage as chunks, up to about ``STATEMENT`` characters of it."""
    found, start, size = [], passage.start, 0
    for run in pieces.split(pieces.join(pieces.head(passage.pieces, STATEMENT)), CHUNK):
        end = start + pieces.length(run)
        found.append(Written(stream, start, end, pieces.dumps(run)))
        start, size = end, size + len(found[-1].body)
        if size > STATEMENT:
            break
    return found


def in_statements(sized: Iterable[tuple[T, int]]) -> list[list[T]]:
    """Return things in runs that fit into one statement each; each comes with about how many characters it has."""
    runs: list[list[T]] = []
    room = -1
    for thing, size in sized:
        if size > room or len(runs[-1]) == AT_ONCE:
            runs.append([])
            room = STATEMENT
        runs[-1].append(thing)
        room -= size
    return runs


def append(using: str, rows: Sequence[Written]) -> None:
    """Store chunks in one statement."""
    quote = connections[using].ops.quote_name
    columns = ", ".join(map(quote, ("stream", "start", "end", "body")))
    params: list[str | int]
    if connections[using].vendor == "postgresql":  # whose driver takes long for many parameters
        values, params = _FROM_JSON, [json.dumps(rows, ensure_ascii=False)]
    else:
        values = f"VALUES {', '.join(['(%s, %s, %s, %s)'] * len(rows))}"
        params = [value for row in rows for value in row]
    with connections[using].cursor() as cursor:
        cursor.execute(f"INSERT INTO {quote(StreamChunk._meta.db_table)} ({columns}) {values}", params)


def ends(using: str, streams: Collection[str]) -> dict[str, int]:
    """Return up to which offset each of some streams is stored."""
    found = StreamChunk.objects.using(using).filter(stream__in=streams).values_list("stream")
    return dict(found.annotate(last=Max("end")).order_by())


def begin(using: str, rows: Sequence[Stream]) -> None:
    """Store new streams. One that is there already stays as it is."""
    Stream.objects.using(using).bulk_create(rows, ignore_conflicts=True)


def end(using: str, producer: str, endings: Mapping[str, tuple[Ending, int]]) -> set[str]:
    """Mark streams as ended, each with its length, if their producer still has them; return those that it lost.

    Others have deleted them, or ended them otherwise. One that is marked so already, as after a commit whose answer was
    lost, is not lost.
    """
    cases = {
        "state": [(id, Value(ending.state.value)) for id, (ending, _) in endings.items()],
        "error": [(id, Value(ending.error)) for id, (ending, _) in endings.items()],
        "length": [(id, Value(length)) for id, (_, length) in endings.items()],
        "metadata": [
            (id, Value(ending.metadata)) for id, (ending, _) in endings.items() if ending.metadata is not None
        ],
    }
    values = {
        name: Case(
            *(When(id=id, then=value) for id, value in found),
            default=F(name),
            output_field=cast(Field, Stream._meta.get_field(name)),  # type: ignore[type-arg]
        )
        for name, found in cases.items()
        if found
    }
    rows = Stream.objects.using(using).filter(id__in=endings)
    ended = log.dialect(using).now()
    if rows.filter(state=StreamState.RUNNING, producer=producer).update(ended=ended, **values) == len(endings):
        return set()
    there = {id: (state, length) for id, state, length in rows.values_list("id", "state", "length")}
    return {id for id, (ending, length) in endings.items() if there.get(id) != (ending.state, length)}


def read(using: str, stream: str, after: int, upto: int | None = None) -> Passage:
    """Return what a stream has stored after an offset, about ``PAGE`` characters of it at most."""
    rows = StreamChunk.objects.using(using).filter(stream=stream, end__gt=after).order_by("end")
    if upto is not None:
        rows = rows.filter(start__lt=upto)
    keys = rows.annotate(size=Length("body")).values_list("start", "end", "size")[:PAGE_ROWS]
    last, size, count = after, 0, 0
    for start, end, chars in keys:
        if last > after and size + chars > PAGE:
            break
        count += 1
        if start <= last:
            last, size = end, size + chars
    # by their starts: they may have been made one chunk meanwhile, which ends later
    bodies = rows.filter(start__lt=last).values_list("start", "body")[:count] if last > after else ()
    return _passage(after, bodies, upto)


def read_all(using: str, stream: str, after: int, upto: int | None) -> tuple[pieces.Pieces, int]:
    """Return all that a stream has stored after an offset, and the offset where that ends."""
    found: pieces.Pieces = []
    while (passage := read(using, stream, after, upto)).pieces:
        found += passage.pieces
        after = passage.end
    return found, after


def is_after_text(using: str, stream: str, offset: int) -> bool:
    """Return whether text comes right before an offset."""
    found = read(using, stream, offset - 1, offset).pieces if offset else []
    return bool(found) and isinstance(found[-1], str)


def _passage(after: int, bodies: Iterable[tuple[int, str]], upto: int | None) -> Passage:
    found, last = _join(after, bodies)
    if upto is not None and last > upto:
        found, last = pieces.head(found, upto - after), upto
    return Passage(after, found, last)


def _join(after: int, bodies: Iterable[tuple[int, str]]) -> tuple[pieces.Pieces, int]:
    """Return the text of chunks, in the order of their ends, from an offset on; and up to where it goes without a gap.

    Chunks overlap if a statement was committed after its text was stored again. Where they do, their text is equal.
    """
    found: pieces.Pieces = []
    last = after
    for start, body in bodies:
        if start <= last:
            rest = pieces.skip(pieces.loads(body), last - start)
            found += rest
            last += pieces.length(rest)
    return pieces.join(found), last


def stop(using: str, id: str) -> bool:
    """Ask a stream's producer to stop; return whether it was running."""
    return bool(Stream.objects.using(using).filter(id=id, state=StreamState.RUNNING).update(stopping=True))


def running(using: str, producer: str) -> dict[str, bool]:
    """Return a producer's running streams, and whether somebody asked each to stop."""
    rows = Stream.objects.using(using).filter(state=StreamState.RUNNING, producer=producer)
    return dict(rows.values_list("id", "stopping"))


def compact(using: str, stream: str, after: int = -1) -> int | None:
    """Make one chunk of the first of a stream's chunks after an offset. Readers find all of it at any time.

    Return after which offset to go on; ``None`` if that is not needed.
    """
    rows = StreamChunk.objects.using(using).filter(stream=stream)
    after_it = rows.filter(end__gt=after).order_by("end").annotate(size=Length("body"))
    keys = list(after_it.values_list("pk", "start", "end", "size")[:PAGE_ROWS])
    run = keys[: max(1, sum(total <= CHUNK for total in accumulate(size for *_, size in keys)))]
    if len(run) > 1:
        start, end, chosen = min(key[1] for key in run), run[-1][2], rows.filter(pk__in=[key[0] for key in run])
        with transaction.atomic(using=using):
            bodies = list(chosen.order_by("end").values_list("start", "body"))
            whole, last = _join(start, bodies)
            if len(bodies) == len(run) and last == end:  # else others have deleted some, or some are missing
                chosen.delete()
                StreamChunk.objects.using(using).create(stream=stream, start=start, end=end, body=pieces.dumps(whole))
    return run[-1][2] if len(run) < len(keys) or len(keys) == PAGE_ROWS else None


def beat(using: str, producer: str) -> bool:
    """Say that a producer lives; return whether it was known."""
    now = log.dialect(using).milliseconds()
    rows = StreamProducer.objects.using(using).filter(name=producer)
    return bool(rows.update(beats=F("beats") + 1, silent=0, looked=now))


def enter(using: str, producer: str) -> None:
    """Make a producer known."""
    row = StreamProducer(name=producer, looked=log.dialect(using).milliseconds())
    StreamProducer.objects.using(using).bulk_create([row], ignore_conflicts=True)


def leave(using: str, producer: str) -> None:
    """Forget a producer that has ended all of its streams."""
    StreamProducer.objects.using(using).filter(name=producer).delete()


def producers(using: str) -> dict[str, StreamProducer]:
    """Return the producers by their names."""
    return {row.name: row for row in StreamProducer.objects.using(using)}


def count_silence(using: str, seen: StreamProducer, silent: int, now: int, limit: int) -> list[Stream]:
    """Note for how long (milliseconds) a producer has been silent, if it is as it was seen.

    If that is the limit or more, end its streams; return those.
    """
    rows = StreamProducer.objects.using(using).filter(name=seen.name, beats=seen.beats, looked=seen.looked)
    with transaction.atomic(using=using):
        noted = rows.update(silent=silent, looked=now)
        return interrupt(using, seen.name) if noted and silent >= limit else []


def orphans(using: str) -> list[str]:
    """Return the producers that have running streams and are not known."""
    rows = Stream.objects.using(using).filter(state=StreamState.RUNNING)
    found = set(rows.values_list("producer", flat=True).order_by().distinct())
    return sorted(found - producers(using).keys())  # asked for last: a producer is known before its streams run


def interrupt(using: str, producer: str) -> list[Stream]:
    """End the streams of a producer that died, with what they have; return those that this call has ended."""
    ended = []
    with transaction.atomic(using=using):
        StreamProducer.objects.using(using).filter(name=producer).delete()
        rows = Stream.objects.using(using).filter(state=StreamState.RUNNING, producer=producer)
        stored = ends(using, list(rows.values_list("id", flat=True)))
        for row in rows.select_for_update() if connections[using].features.has_select_for_update else rows:
            row.state, row.length = StreamState.INTERRUPTED, stored.get(row.id, 0)
            rows.filter(pk=row.pk).update(state=row.state, length=row.length, ended=log.dialect(using).now())
            ended.append(row)
    return ended


def find(using: str, id: str) -> Stream | None:
    """Return a stream."""
    return Stream.objects.using(using).filter(id=id).first()


class News(NamedTuple):
    """The news of some streams."""

    rows: dict[str, Stream]
    passages: dict[str, Passage]
    cut: bool
    """Whether there may be more."""


def news(using: str, after: Mapping[str, int]) -> News:
    """Return what some streams are now, and what they have stored after an offset each."""
    rows = Stream.objects.using(using).in_bulk(list(after))
    wanted = Q()
    for id, offset in after.items():
        wanted |= Q(stream=id, end__gt=offset)
    rows_of_text = StreamChunk.objects.using(using).filter(wanted).order_by("stream", "end")
    found = list(rows_of_text.values_list("stream", "start", "body")[:PAGE_ROWS])
    bodies: dict[str, list[tuple[int, str]]] = {}
    for id, start, body in found:
        bodies.setdefault(id, []).append((start, body))
    passages = {id: _passage(after[id], each, None) for id, each in bodies.items()}
    return News(rows, passages, len(found) == PAGE_ROWS)


def prune(using: str, before: datetime) -> int:
    """Delete some streams that ended before a time, ``AT_ONCE`` at most; return how many rows were deleted."""
    old = Stream.objects.using(using).filter(~Q(state=StreamState.RUNNING), ended__lt=before)
    ids = list(old.values_list("id", flat=True)[:AT_ONCE])
    if not ids:
        return 0
    chunks, _ = StreamChunk.objects.using(using).filter(stream__in=ids).delete()
    rows, _ = Stream.objects.using(using).filter(id__in=ids).delete()
    return chunks + rows
