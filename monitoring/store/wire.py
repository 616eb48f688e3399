"""Postgres' binary COPY format and the one connection: bytes in, bytes out, no text and no lost NaN payloads.

psycopg2 would send a stale marker as 'NaN' and read bytea as hexadecimal text at four times the cost.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray
from psycopg2.sql import Composable

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

#: Transactions that append hold this lock shared; who moves the floor or removes keys holds it alone.
APPEND_LOCK = 0x616C7068_0001
#: One process at a time keeps house.
HOUSE_LOCK = 0x616C7068_0002


Params = Sequence[Any] | Mapping[str, Any]


def execute(sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
    """Run a statement on Django's connection and return its rows (none for a statement without any)."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return cursor.fetchall() if cursor.description else []


def execute_sql(composed: Composable) -> list[tuple[Any, ...]]:
    """Run a statement that names tables (put together by psycopg2.sql, never by hand) and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(composed)
        return cursor.fetchall() if cursor.description else []


def try_house_lock() -> bool:
    """Take the right to change tiers until the transaction ends; False when another process has it."""
    return bool(execute("select pg_try_advisory_xact_lock(%s)", [HOUSE_LOCK])[0][0])


def wait_for_house_lock() -> bool:
    """Take the house lock, waiting for its steps of some milliseconds; False after a second."""
    for _ in range(20):
        if try_house_lock():
            return True
        execute("select pg_sleep(0.05)")
    return False


def count_of(sql: str, params: Sequence[Any] = ()) -> int:
    """Run a statement and return the number of rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        return int(cursor.rowcount)


def byteas(values: Iterable[bytes]) -> str:
    """Return a bytea[] as one text: of ARRAY[…] the server would make an expression for each element."""
    return "{" + ",".join(['"\\\\x' + value.hex() + '"' for value in values]) + "}"


def texts(values: Iterable[str]) -> str:
    """Return a text[] as one text (manual of Postgres, 8.15.2)."""
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return "{" + ",".join(quoted) + "}"


def copy_in(target: str, parts: Iterable[bytes]) -> None:
    """Write rows in binary COPY format into `target` ("table (columns)"); raises Django's database errors."""
    payload = io.BytesIO(b"".join([HEADER, *parts, TRAILER]))
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.cursor.copy_expert(f"copy {target} from stdin (format binary)", payload, 1 << 20)


def copy_out(query: str, params: Sequence[Any] = ()) -> bytes:
    """Return the rows of a query in binary COPY format, header and trailer cut off."""
    buffer = io.BytesIO()
    with connection.cursor() as cursor, connection.wrap_database_errors:
        text = cursor.cursor.mogrify(query, params or None).decode()
        cursor.cursor.copy_expert(f"copy ({text}) to stdout (format binary)", buffer, 1 << 18)
    return buffer.getvalue()[len(HEADER) : -len(TRAILER)]


class Fields:
    """Packs and unpacks rows of fixed integer fields followed by byte fields.

    `codes` are struct codes of the integers ("i" int4, "q" int8); `blobs` is the number of bytea fields after them.
    """

    def __init__(self, codes: str, blobs: int) -> None:
        self.blobs = blobs
        self.count = len(codes) + blobs
        self._head = struct.Struct(">h" + "".join(f"i{code}" for code in codes))
        self._sizes = [4 if code == "i" else 8 for code in codes]
        self._length = struct.Struct(">i")

    def pack(self, integers: Sequence[int], *blobs: bytes) -> bytes:
        """Return one row."""
        head = [value for pair in zip(self._sizes, integers, strict=True) for value in pair]
        parts = [self._head.pack(self.count, *head)]
        for blob in blobs:
            parts += (self._length.pack(len(blob)), blob)
        return b"".join(parts)

    def table(self, data: bytes) -> NDArray[Any] | None:
        """Return the rows as a structured array (i0, i1, … and b0, b1, … as bytes), or None unless all are alike.

        Rows of equal sizes are ten times cheaper to read this way.
        """
        runs = self.runs(data, 1)
        return runs[0] if runs else None

    def runs(self, data: bytes, limit: int) -> list[NDArray[Any]]:
        """Return neighbouring rows of equal sizes as structured arrays; nothing when there are more than `limit`."""
        found: list[NDArray[Any]] = []
        position = 0
        while position < len(data):
            if len(found) == limit:
                return []
            rows = self._alike(data, position)
            found.append(rows)
            position += rows.nbytes
        return found

    def _alike(self, data: bytes, start: int) -> NDArray[Any]:
        """Return the rows from `start` on that have the sizes of the first one.

        A row's size follows from its length fields: as long as those are the first row's, the next row begins where
        it is looked for.
        """
        layout: list[tuple[Any, ...]] = [("count", ">i2")]
        lengths: dict[str, int] = {"count": self.count}
        for place, size in enumerate(self._sizes):
            layout += [(f"l{place}", ">i4"), (f"i{place}", f">i{size}")]
            lengths[f"l{place}"] = size
        position = start + self._head.size
        for place in range(self.blobs):
            size = self._length.unpack_from(data, position)[0]
            layout += [(f"s{place}", ">i4"), (f"b{place}", "u1", (size,))]
            lengths[f"s{place}"] = size
            position += 4 + size
        kind = np.dtype(layout)
        rows = np.frombuffer(data, kind, (len(data) - start) // kind.itemsize, start)
        differs = np.zeros(len(rows), bool)
        for name, size in lengths.items():
            differs |= rows[name] != size
        return rows[: int(differs.argmax())] if differs.any() else rows

    def unpack_small(self, data: bytes) -> Iterable[tuple[Any, ...]]:
        """Yield rows as (integers…, bytes), for one small blob a row: copied, as cutting bytes is what is quick."""
        head, size, position, end = self._head.unpack_from, self._head.size, 0, len(data)
        length = self._length.unpack_from
        while position < end:
            integers = head(data, position)[2::2]
            start = position + size + 4
            position = start + length(data, start - 4)[0]
            yield (*integers, data[start:position])

    def unpack(self, data: bytes) -> Iterable[tuple[Any, ...]]:
        """Yield rows as (integers…, blobs…); a blob is a memoryview into `data`."""
        view, position, end = memoryview(data), 0, len(data)
        head, length, blobs = self._head, self._length, self.blobs
        while position < end:
            values: tuple[Any, ...] = head.unpack_from(data, position)[2::2]
            position += head.size
            for _ in range(blobs):
                size = length.unpack_from(data, position)[0]
                position += 4
                values += (view[position : position + size],)
                position += max(size, 0)
            yield values
