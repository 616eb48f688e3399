"""label_replace, label_join and sorting by labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import EvaluationError
from .labels import NAME, Labels
from .matchers import compile_regex
from .tables import Table
from .vectors import Vector, merged

_DOLLAR = re.compile(r"\$(\$|\w+|\{\w+\})", re.ASCII)


def _is_label(name: str) -> bool:
    return bool(name) and not any("\ud800" <= char <= "\udfff" for char in name)


def replaced(vector: Vector, target: str, replacement: str, source: str, pattern: str) -> Vector:
    """Return the vector with label ``target`` set from a match of ``source`` (functions.go label_replace).

    Series whose source does not match stay as they are; an empty replacement takes the label away.
    """
    fullmatch = compile_regex(pattern).fullmatch
    if not _is_label(target):
        raise EvaluationError(f"invalid destination label name in label_replace(): {target}")
    answers: dict[str, str | None] = {}
    for value in set(vector.table.column(source)):
        match = fullmatch(value)
        answers[value] = None if match is None else _expanded(replacement, match)
    return _relabelled(vector, target, [answers[value] for value in vector.table.column(source)])


def _expanded(template: str, match: Any) -> str:
    """Return the template with $1, ${1}, $name filled in as Go's Regexp.Expand does: the longest name counts."""

    def fill(found: re.Match[str]) -> str:
        key = found.group(1)
        if key == "$":
            return "$"
        key = key.strip("{}")
        try:
            return match.group(int(key) if key.isdigit() else key) or ""
        except (IndexError, KeyError):
            return ""

    return _DOLLAR.sub(fill, template)


def joined(vector: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Return the vector with label ``target`` set to the values of ``sources`` joined."""
    if not _is_label(target):
        raise EvaluationError(f"invalid destination label name in label_join(): {target}")
    for source in sources:
        if not _is_label(source):
            raise EvaluationError(f"invalid source label name in label_join(): {source}")
    columns = [vector.table.column(source) for source in sources]
    if not columns:
        return _relabelled(vector, target, [""] * len(vector))
    return _relabelled(vector, target, [separator.join(values) for values in zip(*columns, strict=True)])


def _relabelled(vector: Vector, target: str, values: Sequence[str | None]) -> Vector:
    rows = [
        row if value is None else row.with_label(target, value)
        for row, value in zip(vector.table.labels(), values, strict=True)
    ]
    drop = vector.drop
    if target == NAME:
        drop = drop & np.fromiter((value is None for value in values), np.bool_, len(values))
    return merged(Vector(Table.of(rows), drop, vector.values, vector.present))


def sorted_by_value(vector: Vector, descending: bool) -> Vector:
    """Return the series of a one-step vector by value, NaN last."""
    column = -vector.values[:, 0] if descending else vector.values[:, 0]
    return vector.take(np.lexsort((np.where(np.isnan(column), 0.0, column), np.isnan(column))))


_DIGITS = re.compile(r"(\d+)", re.ASCII)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts digits as numbers: a2 before a10."""
    return [(0, int(p), p) if p.isascii() and p.isdigit() else (1, 0, p) for p in _DIGITS.split(text) if p]


def sorted_by_label(vector: Vector, names: Sequence[str], descending: bool) -> Vector:
    """Return the series of a one-step vector by labels, naturally; equal ones by their whole label sets."""

    def key_of(labels: Labels) -> tuple[Any, ...]:
        return (*(natural_key(labels.get(name)) for name in names), labels.pairs)

    key: Callable[[int], tuple[Any, ...]] = lambda row: key_of(vector.table.row(row))  # noqa: E731
    order = sorted(range(len(vector)), key=key, reverse=descending)
    return vector.take(np.array(order, np.int64))
