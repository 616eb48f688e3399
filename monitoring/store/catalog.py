"""What a writing process knows of sources, keys and layouts, and how it learns the rest.

Only committed ids are kept between appends: a caller's transaction may still be rolled back, and an id from it would
then point to nothing. Whatever a transaction makes is published when it commits.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2 import Binary

from . import wire
from .keys import BadKey, digest, key_hash, parse_key

Ids = NDArray[np.int32]
#: Name, sorted labels, whether it is partial.
SourceKey = tuple[str, tuple[tuple[str, str], ...], bool]
NO_IDS: Ids = np.empty(0, np.int32)
#: Texts kept per process, about 150 bytes each; one more than this and the cache starts anew.
MAX_CACHED_TEXTS = 2_000_000
INSERT_PAGE = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """Where a source's samples go: its id and the layout of its last row.

    ``ids``: key id of each slot. ``present``: slots with a value in the last row. ``keys``, ``slots``: the texts of
    the last scrape and their slots (None: in order, and all of them), so that an unchanged scrape costs one comparison
    of lists. ``noted_ms``: until when the database knows that the layout is in use.
    """

    source_id: int
    layout_id: int = 0
    ids: Ids = field(default_factory=lambda: NO_IDS)
    window: int = -1
    present: NDArray[np.bool_] | None = None
    keys: Sequence[str] | None = None
    slots: NDArray[np.intp] | None = None
    noted_ms: int = 0


class Catalog:
    """Committed ids of one process: sources by name and labels, keys by text, layouts by hash."""

    def __init__(self) -> None:
        self.generation: int | None = None
        self.seats: dict[SourceKey, Seat] = {}
        self.keys: dict[str, int] = {}
        self.layouts: dict[bytes, int] = {}
        self._lock = Lock()

    def sync(self, generation: int | None) -> None:
        """Forget everything when the tables have been emptied or cleaned since the last look."""
        with self._lock:
            if generation is None or generation != self.generation:
                self.seats, self.keys, self.layouts = {}, {}, {}
                self.generation = generation

    def publish(self, learnt: Learnt) -> None:
        """Keep what a committed transaction has made or found."""
        with self._lock:
            if learnt.generation != self.generation:
                return
            if len(self.keys) > MAX_CACHED_TEXTS:
                self.keys = {}
            self.keys.update(learnt.keys)
            self.layouts.update(learnt.layouts)
            self.seats.update(learnt.seats)


CATALOG = Catalog()


def lock_for_append() -> tuple[int, int | None]:
    """Take the append lock shared until the transaction ends; return the floor (ms) and the generation.

    Two statements in one trip: the second must see what was committed while the first waited.
    """
    found = wire.execute(
        "select pg_advisory_xact_lock_shared(%s); select floor_ms, generation from store_state where id = 1",
        [wire.APPEND_LOCK],
    )
    if found:
        return found[0]
    wire.execute(
        "insert into store_state (id, floor_ms, generation) values (1, 0, %s) on conflict do nothing",
        [secrets.randbits(62)],
    )
    floor_ms = wire.execute("select floor_ms from store_state where id = 1")[0][0]
    return floor_ms, None  # made by this transaction: nothing may be kept under it yet


class Learnt:
    """The ids one append works with: the catalog's, and those found or made in this transaction."""

    def __init__(self, catalog: Catalog, generation: int | None) -> None:
        self.catalog = catalog
        self.generation = generation
        self.keys: dict[str, int] = {}
        self.layouts: dict[bytes, int] = {}
        self.seats: dict[SourceKey, Seat] = {}
        self.bad: dict[str, str] = {}

    def seat(self, source: SourceKey) -> Seat:
        """Return the seat of a source that `find_sources` has looked up."""
        return self.seats.get(source) or self.catalog.seats[source]

    def find_sources(self, sources: Iterable[SourceKey]) -> None:
        """Make sure that every source has a row and a seat; a new process takes over the last layout of a source."""
        unknown = [source for source in dict.fromkeys(sources) if source not in self.catalog.seats]
        if not unknown:
            return
        by_hash = {_source_hash(source): source for source in unknown}
        ids = {}
        for is_partial in (False, True):
            rows = [
                (found, name, dict(labels))
                for found, (name, labels, partial) in sorted(by_hash.items())
                if partial == is_partial
            ]
            ids.update(_intern("store_source", rows))
            if is_partial and rows:
                wire.execute(
                    "update store_source set is_partial = true where id = any(%s) and not is_partial",
                    [[ids[row[0]] for row in rows]],
                )
        last = _last_layouts(list(ids.values()))
        for found, source in by_hash.items():
            self.seats[source] = last.get(ids[found]) or Seat(ids[found])

    def find_keys(self, texts: Iterable[str]) -> None:
        """Make sure that every readable text has an id; the others go to `bad` with the reason."""
        known = self.catalog.keys
        unknown = {text for text in texts if text not in known}
        by_hash: dict[bytes, tuple[str, tuple[tuple[str, str], ...]]] = {}
        hashes: dict[str, bytes] = {}
        for text in unknown:
            try:
                key = parse_key(text)
            except BadKey as error:
                self.bad[text] = str(error)
                continue
            hashes[text] = key_hash(key)
            by_hash[hashes[text]] = key
        if by_hash:
            ids = _intern("store_key", [(found, key[0], dict(key[1])) for found, key in sorted(by_hash.items())])
            self.keys.update((text, ids[found]) for text, found in hashes.items())

    def key_ids(self, keys: Sequence[str]) -> Ids:
        """Return the id of each text, 0 for those that cannot be read."""
        known, learnt = self.catalog.keys, self.keys
        try:
            return np.array([known[key] for key in keys], np.int32)
        except KeyError:
            return np.array([known.get(key) or learnt.get(key, 0) for key in keys], np.int32)

    def layout_ids(self, layouts: Mapping[bytes, Ids]) -> dict[bytes, int]:
        """Return the id of each layout (by hash), making rows for new ones."""
        known = {found: self.catalog.layouts[found] for found in layouts if found in self.catalog.layouts}
        unknown = sorted(found for found in layouts if found not in known)
        if unknown:
            made = _intern_layouts([(found, layouts[found].tobytes()) for found in unknown])
            self.layouts.update(made)
            known.update(made)
        return known

    @property
    def has_news(self) -> bool:
        """Whether there is something to publish when the transaction commits."""
        return self.generation is not None and bool(self.keys or self.layouts or self.seats)


def _source_hash(source: SourceKey) -> bytes:
    name, labels, is_partial = source
    return digest(name, *[text for pair in labels for text in pair], *(("partial",) if is_partial else ()))


def _intern(table: str, rows: list[tuple[bytes, str, dict[str, str]]]) -> dict[bytes, int]:
    """Return ids by hash; insert what is missing. Sorted by hash, so that two writers cannot wait for each other."""
    ids: dict[bytes, int] = {}
    for start in range(0, len(rows), INSERT_PAGE):
        page = rows[start : start + INSERT_PAGE]
        ids.update(_find(table, [row[0] for row in page]))
        new = [row for row in page if row[0] not in ids]
        if not new:
            continue
        made = wire.execute(
            f"insert into {table} (hash, name, labels)"  # noqa: S608  (a table of ours)
            " select * from unnest(%s::bytea[], %s::text[], %s::jsonb[]) on conflict do nothing returning hash, id",
            [
                wire.byteas(row[0] for row in new),
                wire.texts(row[1] for row in new),
                wire.texts(json.dumps(row[2]) for row in new),
            ],
        )
        ids.update((bytes(found), made_id) for found, made_id in made)
        ids.update(_find(table, [row[0] for row in new if row[0] not in ids]))
    return ids


def _find(table: str, hashes: list[bytes]) -> dict[bytes, int]:
    if not hashes:
        return {}
    found = wire.execute(
        f"select hash, id from {table} where hash = any(%s::bytea[])",  # noqa: S608  (a table of ours)
        [wire.byteas(hashes)],
    )
    return {bytes(each): found_id for each, found_id in found}


def _intern_layouts(rows: list[tuple[bytes, bytes]]) -> dict[bytes, int]:
    ids = _find("store_layout", [row[0] for row in rows])
    new = [row for row in rows if row[0] not in ids]
    if new:
        made = wire.execute(
            "insert into store_layout (hash, keys) select * from unnest(%s::bytea[], %s::bytea[])"
            " on conflict do nothing returning hash, id",
            [[Binary(row[0]) for row in new], [Binary(row[1]) for row in new]],
        )
        ids.update((bytes(found), made_id) for found, made_id in made)
        ids.update(_find("store_layout", [row[0] for row in new if row[0] not in ids]))
    return ids


def _last_layouts(source_ids: list[int]) -> dict[int, Seat]:
    rows: list[tuple[Any, ...]] = wire.execute(
        "select distinct on (s.source_id) s.source_id, s.layout_id, l.keys from store_source_layout s"
        " join store_layout l on l.id = s.layout_id where s.source_id = any(%s)"
        " order by s.source_id, s.created desc, s.layout_id desc",
        [source_ids],
    )
    return {source: Seat(source, layout, np.frombuffer(bytes(keys), "<i4")) for source, layout, keys in rows}
