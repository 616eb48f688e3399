"""Many rows at once: what a storm needs and Django's own methods take ten times as long for.

Hides the SQL: columns are sent as arrays and unnested. Values are the models' fields; defaults and auto fields of the
database do not apply, signals are not sent. An array is sent as one text ('{1,2}'): of ARRAY[1, 2] the server would
make an expression for each element. What all rows have in common, as most fields of new alerts, is sent once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, cast

import orjson
from django.db import connection
from django.db.models import Field, Model


def update(rows: Sequence[Model], names: Sequence[str]) -> None:
    """Write the named fields of rows of one model; rows that are gone are passed over."""
    if not rows:
        return
    by_name = {field.name: field for field in rows[0]._meta.concrete_fields}
    fields = [by_name[name] for name in names]
    key = next(field for field in by_name.values() if field.primary_key)
    settings = ", ".join(f"{_quoted(field)} = {_value(field)}" for field in fields)
    run(
        f"UPDATE {_table(rows)} AS t SET {settings} FROM {_unnested([key, *fields])}"  # noqa: S608  (names of fields)
        f" WHERE t.{_quoted(key)} = v.{_quoted(key)}",
        [_array(list(map(attrgetter(field.attname), rows)), field) for field in [key, *fields]],
    )


def insert(rows: Sequence[Model], *, ignore_conflicts: bool = False, with_keys: bool = True) -> None:
    """Write new rows of one model and give them their keys; with `ignore_conflicts` they stay without.

    Without `with_keys` they are not told their keys, which is cheaper where nobody asks.
    """
    if not rows:
        return
    fields = [field for field in rows[0]._meta.concrete_fields if not field.primary_key]
    own: list[Field[Any, Any]] = []  # fields sent row by row
    values, common, columns = [], [], []
    for field in fields:
        held = list(map(attrgetter(field.attname), rows))
        # The very same object, not an equal one: 0.0 equals -0.0. The first field is sent row by row in any case.
        if own and len(set(map(id, held))) == 1:
            values.append(_common_value(field))
            common.append(_array(held[:1], field))
        else:
            values.append(_value(field))
            columns.append(_array(held, field))
            own.append(field)
    asks = with_keys and not ignore_conflicts
    ending = "ON CONFLICT DO NOTHING" if ignore_conflicts else "ORDER BY place" + " RETURNING id" * asks
    sql = (
        f"INSERT INTO {_table(rows)} ({', '.join(map(_quoted, fields))})"  # noqa: S608  (names of fields)
        f" SELECT {', '.join(values)} FROM {_unnested(own, with_place=True)} {ending}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*common, *columns])
        if asks:
            for row, (pk,) in zip(rows, cursor.fetchall(), strict=True):
                row.pk, row._state.adding = pk, False


def share(rows: Sequence[Model], *names: str) -> None:
    """Fill foreign keys of rows of one model: a query for each, and one object for all rows that refer to it.

    `select_related` makes an object of its own for each row, which in a storm is thousands of one rule.
    """
    for name in names if rows else ():
        attname = f"{name}_id"
        ids = {getattr(row, attname) for row in rows} - {None}
        found = _related(rows[0], name)._base_manager.in_bulk(ids) if ids else {}
        for row in rows:
            if (other := found.get(getattr(row, attname))) is not None:
                setattr(row, name, other)


def _related(row: Model, name: str) -> type[Model]:
    return cast("type[Model]", row._meta.get_field(name).related_model)


def run(sql: str, parameters: Sequence[Any]) -> int:
    """Execute one statement; returns how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _table(rows: Sequence[Model]) -> str:
    return connection.ops.quote_name(rows[0]._meta.db_table)


@cache
def _quoted(field: Field[Any, Any]) -> str:
    return connection.ops.quote_name(field.column)


def _unnested(fields: Sequence[Field[Any, Any]], *, with_place: bool = False) -> str:
    arrays = ", ".join(f"%s::{_array_type(field)}[]" for field in fields)
    names = [_quoted(field) for field in fields] + ["place"] * with_place
    return f"unnest({arrays}){' WITH ORDINALITY' * with_place} AS v ({', '.join(names)})"


@cache
def _type(field: Field[Any, Any]) -> str:
    return field.db_type(connection) or ""


@cache
def _array_type(field: Field[Any, Any]) -> str:
    # A cast to varchar(n) would cut in silence; a text that is too long must be refused.
    type_ = _type(field)
    return "text" if not type_ or type_ == "jsonb" or type_.startswith("varchar") else type_


def _value(field: Field[Any, Any]) -> str:
    return f"v.{_quoted(field)}" + ("::jsonb" if _type(field) == "jsonb" else "")


def _common_value(field: Field[Any, Any]) -> str:
    return f"(%s::{_array_type(field)}[])[1]" + ("::jsonb" if _type(field) == "jsonb" else "")


def _array(values: Sequence[Any], field: Field[Any, Any]) -> Any:
    if _type(field) != "jsonb":
        return array(values, _type(field))
    return array([None if value is None else _json(value) for value in values], "jsonb")


def _json(value: Any) -> str:
    """The value as JSON; numbers that JSON cannot spell, NaN and the infinities, become null."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # what only the slower one takes: half a surrogate pair, whole numbers beyond 64 bits
        return json.dumps(value)


_TEXTS = ("text", "jsonb")
_WRITERS: dict[str, Callable[[Any], str]] = {
    "timestamp with time zone": datetime.isoformat,
    **dict.fromkeys(("boolean", "double precision", "integer", "bigint", "smallint"), str),
}


def array(values: Sequence[Any], type_: str) -> Any:
    """One parameter for an array of a type of the database: a text where the elements are simple, else the values."""
    if type_ in _TEXTS or type_.startswith("varchar"):
        quoted = [
            "NULL" if value is None else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
            for value in values
        ]
        return "{" + ",".join(quoted) + "}"  # manual of Postgres, 8.15.2
    write = _WRITERS.get(type_)
    if write is None:
        return values
    return "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"
