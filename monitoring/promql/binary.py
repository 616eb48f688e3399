"""Operators between scalars and vectors (Prometheus, promql/engine.go VectorBinop, VectorAnd, VectorOr)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import nodes as n
from .errors import EvaluationError
from .labels import EMPTY, METADATA, NAME, Labels
from .limits import Meter
from .tables import Root, Table
from .values import Bools, Floats, Ints
from .vectors import Vector, merged, stacked

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
_NOT_UNIQUE = "multiple matches for labels: grouping labels must ensure unique matches"
_MANY_TO_ONE = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"


def scalars(op: str, left: Floats, right: Floats) -> Floats:
    """Return ``left op right`` of two scalars (steps,); comparisons give 0 or 1."""
    with np.errstate(all="ignore"):
        operation = ARITHMETIC.get(op) or COMPARISON[op]
        return np.asarray(operation(left, right), np.float64)


def with_scalar(op: str, vector: Vector, scalar: Floats, return_bool: bool, scalar_left: bool) -> Vector:
    """Return ``vector op scalar``, or ``scalar op vector``; a filter returns the vector's values either way."""
    left, right = (scalar[None, :], vector.values) if scalar_left else (vector.values, scalar[None, :])
    with np.errstate(all="ignore"):
        if op in ARITHMETIC:
            return vector.with_values(ARITHMETIC[op](left, right))
        holds = COMPARISON[op](left, right)
    return vector.with_values(holds.astype(np.float64)) if return_bool else vector.filtered(holds)


@dataclass(frozen=True, slots=True, eq=False)
class _Signatures:
    """For the rows of both sides the match group each belongs to, numbered together."""

    left: Ints
    right: Ints
    count: int


def _signatures(left: Table, right: Table, on: bool, names: frozenset[str]) -> _Signatures:
    left_ids, left_groups = left.root.groups(on, names)
    right_ids, right_groups = right.root.groups(on, names)
    if left_groups is right_groups:
        translation, count = None, len(left_groups.rows)
    else:
        translation, count = left_groups.keep(("match", right_groups), lambda: _translation(left_groups, right_groups))
    ids = right_ids if translation is None else translation[right_ids]
    return _Signatures(_at(left_ids, left.index), _at(ids, right.index), count)


def _at(ids: Ints, index: Ints | None) -> Ints:
    return ids if index is None else ids[index]


def _translation(left: Root, right: Root) -> tuple[Ints, int]:
    numbers = {row: number for number, row in enumerate(left.rows)}
    found = np.fromiter((numbers.setdefault(row, len(numbers)) for row in right.rows), np.int64, len(right.rows))
    return found, len(numbers)


def _any_of(vector: Vector, ids: Ints, count: int) -> Bools:
    """Return (groups, steps): whether any series of the group has a value."""
    out = np.zeros((count, vector.steps), np.bool_)
    if vector.present is None:
        out[ids] = True
    elif len(ids):
        np.logical_or.at(out, ids, vector.present)
    return out


def _how_many(vector: Vector, ids: Ints, count: int) -> Ints:
    """Return (groups, steps): how many series of the group have a value."""
    if vector.present is None:
        sizes = np.bincount(ids, minlength=count)
        return np.broadcast_to(sizes[:, None], (count, vector.steps))
    out = np.zeros((count, vector.steps), np.int64)
    np.add.at(out, ids, vector.present)
    return out


def sets(op: str, left: Vector, right: Vector, matching: n.Matching) -> Vector:
    """Return ``left and|or|unless right``."""
    signatures = _signatures(left.table, right.table, matching.on, frozenset(matching.names))
    if op == "or":
        if not len(right):
            return left
        taken = _any_of(left, signatures.left, signatures.count)[signatures.right]
        return _either(left, right.filtered(~taken), left.steps)
    if not len(left):
        return left
    found = _any_of(right, signatures.right, signatures.count)[signatures.left]
    return left.filtered(found if op == "and" else ~found)


def _either(left: Vector, right: Vector, steps: int) -> Vector:
    both = stacked([left, right], steps)
    if steps > 1 and len(both) > 1 and not both.table.unique:
        # Upstream collects a range result by raw labels, a name still to be dropped included; whether it is dropped
        # is said by the sample seen first.
        first = both.mask.argmax(axis=1)
        both = merged(both.take(np.argsort(first, kind="stable")))
    return both


@dataclass(slots=True, eq=False)
class _Pairs:
    """Matched rows: indices into both sides (-1: filled), and their match groups."""

    left: Ints
    right: Ints
    groups: Ints


def vectors(op: str, left: Vector, right: Vector, matching: n.Matching, return_bool: bool, meter: Meter) -> Vector:
    """Return ``left op right`` matched by labels; raise EvaluationError where the matching is not unique."""
    swapped = matching.card == "one-to-many"
    many, one = (right, left) if swapped else (left, right)
    fill_many, fill_one = matching.fill_left, matching.fill_right
    if swapped:
        fill_many, fill_one = fill_one, fill_many
    signatures = _signatures(many.table, one.table, matching.on, frozenset(matching.names))
    filling = fill_many is not None or fill_one is not None
    _check_one_side(many, one, signatures, matching, filling, swapped)
    pairs = _matched(signatures, many, one, meter)
    a, b, present = _operands(pairs, many, one, signatures, fill_many, fill_one)
    _check_unique(pairs, present, signatures.count, matching, many, one, op)
    table = _result_table(pairs, many.table, one.table, matching, op in COMPARISON)
    first, second = (b, a) if swapped else (a, b)
    drop = np.full(len(table), return_bool)
    full = None if present.all() else present
    with np.errstate(all="ignore"):
        if op in ARITHMETIC:
            result = Vector(table, drop, ARITHMETIC[op](first, second), full).live()
        else:
            holds = COMPARISON[op](first, second)
            if return_bool:
                result = Vector(table, drop, holds.astype(np.float64), full).live()
            else:
                result = Vector(table, drop, first, full).filtered(holds)
    return merged(result, _NOT_UNIQUE)


def _check_one_side(
    many: Vector, one: Vector, signatures: _Signatures, matching: n.Matching, filling: bool, swapped: bool
) -> None:
    """Refuse a step at which two series of the "one" side share a match group, unless the other side is empty."""
    if not len(one) or np.bincount(signatures.right, minlength=1).max() <= 1:
        return
    live: Bools = np.ones(one.steps, np.bool_)
    if not filling:
        live = np.asarray(many.mask.any(axis=0) & one.mask.any(axis=0))
    twice = np.argwhere((_how_many(one, signatures.right, signatures.count) > 1) & live)
    if not len(twice):
        return
    group, step = twice[0]
    rows = np.flatnonzero((signatures.right == group) & one.mask[:, step])[:2]
    shown = [one.table.row(int(row)) for row in rows]
    names = frozenset(matching.names)
    shared = shown[0].only(names) if matching.on else shown[0].without(names | {NAME})
    side = "left" if swapped else "right"
    raise EvaluationError(
        f"found duplicate series for the match group {shared!r} on the {side} hand-side of the operation: "
        f"[{shown[0]!r}, {shown[1]!r}];many-to-many matching not allowed: matching labels must be unique on one side"
    )


def _matched(signatures: _Signatures, many: Vector, one: Vector, meter: Meter) -> _Pairs:
    """Return every pair of rows of one match group."""
    sizes = np.bincount(signatures.right, minlength=signatures.count)
    if sizes.max(initial=0) <= 1:
        place = np.full(signatures.count, -1)
        place[signatures.right] = np.arange(len(one))
        partner = place[signatures.left]
        rows = np.flatnonzero(partner >= 0)
        return _Pairs(rows, partner[rows], signatures.left[rows])
    order = np.argsort(signatures.right, kind="stable")
    starts = np.cumsum(sizes) - sizes
    repeats = sizes[signatures.left]
    meter.points(int(repeats.sum()) * many.steps)
    rows = np.repeat(np.arange(len(many)), repeats)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    groups = signatures.left[rows]
    return _Pairs(rows, order[starts[groups] + within], groups)


def _operands(
    pairs: _Pairs, many: Vector, one: Vector, signatures: _Signatures, fill_many: float | None, fill_one: float | None
) -> tuple[Floats, Floats, Bools]:
    """Return the values of both sides and where both are present, filled rows appended to ``pairs``."""
    lefts, rights = [_rows(many.values, pairs.left)], [_rows(one.values, pairs.right)]
    masks = [_rows(many.mask, pairs.left) & _rows(one.mask, pairs.right)]
    extra_left: list[Ints] = [pairs.left]
    extra_right: list[Ints] = [pairs.right]
    groups = [pairs.groups]
    if fill_one is not None and len(many):
        lefts.append(many.values)
        rights.append(np.full(many.values.shape, fill_one))
        masks.append(many.mask & ~_any_of(one, signatures.right, signatures.count)[signatures.left])
        extra_left.append(np.arange(len(many)))
        extra_right.append(np.full(len(many), -1))
        groups.append(signatures.left)
    if fill_many is not None and len(one):
        lefts.append(np.full(one.values.shape, fill_many))
        rights.append(one.values)
        masks.append(one.mask & ~_any_of(many, signatures.left, signatures.count)[signatures.right])
        extra_left.append(np.full(len(one), -1))
        extra_right.append(np.arange(len(one)))
        groups.append(signatures.right)
    if len(groups) == 1:
        return lefts[0], rights[0], masks[0]
    pairs.left, pairs.right = np.concatenate(extra_left), np.concatenate(extra_right)
    pairs.groups = np.concatenate(groups)
    return np.concatenate(lefts), np.concatenate(rights), np.concatenate(masks)


def _rows(array: Any, rows: Ints) -> Any:
    """Return rows of an array, the array itself when they are all of it in order."""
    if len(rows) == len(array) and (not len(rows) or bool((rows == np.arange(len(rows))).all())):
        return array
    return array[rows]


def _check_unique(
    pairs: _Pairs, present: Bools, count: int, matching: n.Matching, many: Vector, one: Vector, op: str
) -> None:
    """Refuse one-to-one matching where a step has two pairs in one match group (checked before any filter)."""
    if matching.card != "one-to-one" or not len(pairs.groups):
        return
    if np.bincount(pairs.groups).max() <= 1:
        return
    found = np.zeros((count, present.shape[1]), np.int64)
    np.add.at(found, pairs.groups, present)
    if (found > 1).any():
        raise EvaluationError(_MANY_TO_ONE)


def _result_table(pairs: _Pairs, many: Table, one: Table, matching: n.Matching, comparing: bool) -> Table:
    """Return the labels of the matched pairs."""
    names = frozenset(matching.names)
    filled = bool((pairs.left < 0).any() or (pairs.right < 0).any())
    if matching.card == "one-to-one" and not filled:
        table = many.take(pairs.left)
        if matching.on:
            return Table(table.root.only(names - (frozenset() if comparing else METADATA)), table.index)
        return table.without(names if comparing else names | METADATA)
    if not filled and not matching.include:
        table = many.take(pairs.left)
        return table if comparing else table.without(METADATA)
    return _joined(pairs, many, one, matching, comparing)


def _joined(pairs: _Pairs, many: Table, one: Table, matching: n.Matching, comparing: bool) -> Table:
    """Return labels put together pair by pair: included labels from the one side, filled rows from either."""
    names, include = frozenset(matching.names), matching.include
    kept: dict[tuple[int, int], Labels] = many.root.keep(
        ("join", one.root, matching, comparing), lambda: dict[tuple[int, int], Labels]()
    )
    left = _places(many, pairs.left)
    right = _places(one, pairs.right)
    out: list[Labels] = []
    for pair in zip(left, right, strict=True):
        labels = kept.get(pair)
        if labels is None:
            a = many.root.rows[pair[0]] if pair[0] >= 0 else None
            b = one.root.rows[pair[1]] if pair[1] >= 0 else None
            labels = kept[pair] = _join(a, b, matching, names, include, comparing)
        out.append(labels)
    if len(kept) == len(out):  # the usual case: the same pairs as last time, so keep their table too
        return many.root.keep(
            ("joined", one.root, matching, comparing, tuple(left), tuple(right)), lambda: Table.of(out)
        )
    return Table.of(out)


def _places(table: Table, rows: Ints) -> list[int]:
    if table.index is None:
        return list(rows.tolist())
    if not len(table.index):
        return [-1] * len(rows)
    return list(np.where(rows >= 0, table.index[rows], -1).tolist())


def _join(
    many: Labels | None,
    one: Labels | None,
    matching: n.Matching,
    names: frozenset[str],
    include: tuple[str, ...],
    comparing: bool,
) -> Labels:
    # A filled side has the labels that the match was made on.
    base = many if many is not None else _matching_labels(one, matching.on, names)
    other = one if one is not None else _matching_labels(many, matching.on, names)
    if not comparing:
        base = base.without(METADATA)
    if matching.card == "one-to-one":
        return base.only(names) if matching.on else base.without(names)
    if not include:
        return base
    found = base.as_dict()
    for name in include:
        found[name] = other.get(name)
    return Labels.of(found)


def _matching_labels(labels: Labels | None, on: bool, names: frozenset[str]) -> Labels:
    if labels is None:
        return EMPTY
    return labels.only(names) if on else labels.without(names | {NAME})
