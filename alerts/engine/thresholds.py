"""Thresholds: which row sets the limit of which series, whether a value passes it, and why that row.

Hides how 1,000 rows are laid over 10,000 series without looking at every pair.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from math import isfinite, isnan

import numpy as np
from numpy.typing import NDArray

from monitoring.promql import Labels, Matcher

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
RankKey = tuple[int, int, int, int, int]

NO_ROW = -1


class Operator(StrEnum):
    """How a value is compared with its limit."""

    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    EQUAL = "=="
    NOT_EQUAL = "!="
    OUTSIDE = "outside"
    INSIDE = "inside"

    @property
    def is_band(self) -> bool:
        """True for the operators that take two limits."""
        return self in (Operator.OUTSIDE, Operator.INSIDE)


@dataclass(frozen=True, slots=True)
class Threshold:
    """One row that says what is too much, for which series, at which severity. ValueError when it contradicts itself.

    value: the limit, for a band the lower one; upper: a band's upper limit. recover_value: a firing alert stays until
    the value is no longer past this number, under the same operator; for a band it is the margin by which the value
    must be back on the good side. hold_seconds None means the rule's. No matchers means every series. A row with
    `expires_at` stops counting at that time. created_seq: a newer row has a higher one.
    """

    id: int
    severity: str
    operator: Operator
    value: float
    upper: float | None = None
    recover_value: float | None = None
    hold_seconds: float | None = None
    matchers: tuple[Matcher, ...] = ()
    priority: int = 0
    reason: str = ""
    created_seq: int = 0
    expires_at: datetime | None = None
    is_enabled: bool = True

    def __post_init__(self) -> None:
        """Refuse a row that cannot mean anything."""
        object.__setattr__(self, "operator", Operator(self.operator))
        complaint = _complaint(self)
        if complaint:
            raise ValueError(complaint)

    def counts_at(self, at: datetime) -> bool:
        """Return whether the row takes part at `at`: enabled and not expired."""
        return self.is_enabled and (self.expires_at is None or self.expires_at > at)

    def matches(self, labels: Labels) -> bool:
        """Return whether the row applies to a series."""
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)


def rank_key(threshold: Threshold) -> RankKey:
    """Return what decides between rows that match one series; the highest wins.

    Priority, then number of matchers, then number of exact (=) matchers, then the newest, then the highest id.
    """
    exact = sum(matcher.op == "=" for matcher in threshold.matchers)
    return (threshold.priority, len(threshold.matchers), exact, threshold.created_seq, threshold.id)


def _complaint(row: Threshold) -> str:
    """Return what is wrong with a row, "" when nothing is."""
    if isnan(row.value) or (row.upper is not None and isnan(row.upper)):
        return "a limit must be a number, not NaN"
    if row.operator.is_band:
        if row.upper is None or row.upper <= row.value:
            return f'"{row.operator}" needs an upper limit above the lower one ({row.value:g})'
    elif row.upper is not None:
        return f'an upper limit goes only with "outside" or "inside", not with "{row.operator}"'
    if row.hold_seconds is not None and not (isfinite(row.hold_seconds) and row.hold_seconds >= 0):
        return "the hold time must be 0 seconds or more"
    return "" if row.recover_value is None else _recover_complaint(row, row.recover_value)


def _recover_complaint(row: Threshold, recover: float) -> str:
    if not isfinite(recover):
        return "the recovery value must be a finite number"
    match row.operator:
        case Operator.EQUAL | Operator.NOT_EQUAL:
            return f'a recovery value makes no sense with "{row.operator}"'
        case Operator.GREATER | Operator.GREATER_EQUAL if recover > row.value:
            return f"the recovery value ({recover:g}) must not be above the limit ({row.value:g})"
        case Operator.LESS | Operator.LESS_EQUAL if recover < row.value:
            return f"the recovery value ({recover:g}) must not be below the limit ({row.value:g})"
        case Operator.OUTSIDE | Operator.INSIDE if recover < 0:
            return "for a band the recovery value is a margin and must be 0 or more"
        case Operator.OUTSIDE if row.upper is not None and 2 * recover >= row.upper - row.value:
            return f"a margin of {recover:g} leaves nothing of the band to recover into"
    return ""


@dataclass(frozen=True)
class Resolution:
    """Which row wins for each series and severity. winners: severity -> (n,) indices into rows, NO_ROW for none."""

    rows: tuple[Threshold, ...]
    winners: Mapping[str, IntArray]
    series_count: int

    @property
    def severities(self) -> tuple[str, ...]:
        """The severities that some counting row speaks of, in order of first appearance."""
        return tuple(self.winners)

    @cached_property
    def limits(self) -> Mapping[str, FloatArray]:
        """Severity -> (n,) limits (lower limit of a band), NaN where no row wins."""
        return {severity: self._column(severity, lambda row: row.value) for severity in self.winners}

    @cached_property
    def terms(self) -> Mapping[str, "Terms"]:
        """Severity -> the winning rows' numbers as columns, made once for all evaluations with this resolution."""
        return {severity: self._terms_of(severity) for severity in self.winners}

    def _column(self, severity: str, read: Callable[[Threshold], float]) -> FloatArray:
        """One number per series; the extra last entry is what index NO_ROW picks."""
        table = np.array([*(read(row) for row in self.rows), np.nan])
        return table[self.winners[severity]]

    def _terms_of(self, severity: str) -> "Terms":
        codes = np.array([*(_CODES[row.operator] for row in self.rows), NO_ROW])[self.winners[severity]]
        return Terms(
            operators=tuple((operator, codes == code) for operator, code in _CODES.items() if (codes == code).any()),
            lower=self.limits[severity],
            upper=self._column(severity, lambda row: np.nan if row.upper is None else row.upper),
            held_lower=self._column(severity, lambda row: _held_limits(row)[0]),
            held_upper=self._column(severity, lambda row: _held_limits(row)[1]),
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of one severity as columns of length n; `held_` ones apply to alerts that fire already."""

    operators: tuple[tuple[Operator, BoolArray], ...]
    lower: FloatArray
    upper: FloatArray
    held_lower: FloatArray
    held_upper: FloatArray


_CODES = {operator: code for code, operator in enumerate(Operator)}


def _held_limits(row: Threshold) -> tuple[float, float]:
    """Return the (lower) limit and the upper limit that a firing alert must pass to recover."""
    upper = np.nan if row.upper is None else row.upper
    if row.recover_value is None:
        return row.value, upper
    if row.operator is Operator.OUTSIDE:
        return row.value + row.recover_value, upper - row.recover_value
    if row.operator is Operator.INSIDE:
        return row.value - row.recover_value, upper + row.recover_value
    return row.recover_value, upper


def resolve(thresholds: Sequence[Threshold], labels: Sequence[Labels], at: datetime) -> Resolution:
    """Return the winning row of every series and severity at `at`; rows that are disabled or expired do not count."""
    rows = tuple(row for row in thresholds if row.counts_at(at))
    winners = {row.severity: np.full(len(labels), NO_ROW, dtype=np.int64) for row in rows}
    matching = _Matching(labels)
    for index in sorted(range(len(rows)), key=lambda index: rank_key(rows[index])):
        winners[rows[index].severity][matching.positions(rows[index].matchers)] = index
    return Resolution(rows, winners, len(labels))


def matching_positions(thresholds: Sequence[Threshold], labels: Sequence[Labels]) -> list[IntArray]:
    """Return for each row the positions of the series it matches, whether it wins there or not."""
    matching, everywhere = _Matching(labels), np.arange(len(labels))
    return [everywhere[matching.positions(row.matchers)] for row in thresholds]


class _Matching:
    """Series indexed by label value, so that a row costs what it matches and a regex runs once a distinct value."""

    def __init__(self, labels: Sequence[Labels]) -> None:
        self._labels = labels
        self._codes: dict[str, IntArray] = {}
        self._values: dict[str, dict[str, int]] = {}
        self._names: dict[str, list[str]] = {}
        self._positions: dict[str, dict[str, IntArray]] = {}
        self._accepted: dict[Matcher, BoolArray] = {}

    def positions(self, matchers: Sequence[Matcher]) -> IntArray | slice:
        """Return the positions of the series that all matchers accept."""
        if not matchers:
            return slice(None)
        listed = {matcher: self._having(matcher, values) for matcher in matchers if (values := _listed(matcher))}
        start = min(listed, key=lambda matcher: len(listed[matcher]), default=None)
        candidates = np.arange(len(self._labels)) if start is None else listed[start]
        for matcher in matchers:
            if len(candidates) and matcher != start:
                candidates = candidates[self._accepts(matcher, self._code(matcher.name)[candidates])]
        return candidates

    def _code(self, name: str) -> IntArray:
        """Return one small integer per series that stands for its value of a label."""
        if name not in self._codes:
            known: dict[str, int] = {}
            numbers = [known.setdefault(series.get(name, ""), len(known)) for series in self._labels]
            self._codes[name] = np.array(numbers, dtype=np.int64)
            self._values[name] = known
            self._names[name] = list(known)
        return self._codes[name]

    def _having(self, matcher: Matcher, values: Sequence[str]) -> IntArray:
        """Return the positions of the series whose label has one of the values."""
        codes = self._code(matcher.name)
        if matcher.name not in self._positions:
            order = np.argsort(codes, kind="stable")
            bounds = np.searchsorted(codes[order], np.arange(len(self._values[matcher.name]) + 1))
            self._positions[matcher.name] = {
                value: order[bounds[code] : bounds[code + 1]] for value, code in self._values[matcher.name].items()
            }
        found = [self._positions[matcher.name].get(value, _NOTHING) for value in values]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _accepts(self, matcher: Matcher, codes: IntArray) -> BoolArray:
        """Return, per value code, whether the matcher accepts the value; asks once per distinct value."""
        values = self._values[matcher.name]
        if len(codes) < _FEW:
            names = self._names[matcher.name]
            return np.array([matcher.matches(names[code]) for code in codes.tolist()], dtype=bool)
        if matcher not in self._accepted:
            accepted = matcher.accepted(values)
            self._accepted[matcher] = np.fromiter((value in accepted for value in values), bool, len(values))
        return self._accepted[matcher][codes]


# Below this number of series it costs less to ask about each than about every value of the label.
_FEW = 20


def _listed(matcher: Matcher) -> tuple[str, ...]:
    """Return the values that a matcher lists, as ="a" and =~"a|b" do; empty when it does not."""
    if matcher.op == "=":
        return (matcher.value,)
    if matcher.op == "=~" and _PLAIN_LIST.fullmatch(matcher.value):
        return tuple(dict.fromkeys(matcher.value.split("|")))
    return ()


_PLAIN_LIST = re.compile(r"[\w \-/:@,|]+")
_NOTHING: IntArray = np.empty(0, dtype=np.int64)


class Resolver:
    """Remembers the last resolution of a rule, so that unchanged series and rows are not matched again.

    One instance belongs to one rule and one process; it holds no truth, only saved work.
    """

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._thresholds: tuple[Threshold, ...] = ()
        self._labels: list[Labels] = []
        self._valid_until: datetime | None = None
        self._resolved_at: datetime | None = None
        self._last: Resolution | None = None

    def resolve(self, thresholds: Sequence[Threshold], labels: Sequence[Labels], at: datetime) -> Resolution:
        """Return what `resolve` returns; matches only series that were not there before, nothing when none is new."""
        rows = tuple(thresholds)
        if self._last is None or not self._is_fresh(rows, at):
            self._last = resolve(rows, labels, at)
        elif self._labels == labels if isinstance(labels, list) else self._labels == list(labels):
            return self._last
        else:
            self._last = self._mended(self._last, labels, at)
        self._remember(rows, labels, at)
        return self._last

    def _is_fresh(self, rows: tuple[Threshold, ...], at: datetime) -> bool:
        if self._resolved_at is None or at < self._resolved_at:
            return False
        return rows == self._thresholds and (self._valid_until is None or at < self._valid_until)

    def _remember(self, rows: tuple[Threshold, ...], labels: Sequence[Labels], at: datetime) -> None:
        expiries = [row.expires_at for row in rows if row.expires_at is not None and row.expires_at > at]
        self._thresholds, self._labels, self._resolved_at = rows, list(labels), at
        self._valid_until = min(expiries, default=None)

    def _mended(self, last: Resolution, labels: Sequence[Labels], at: datetime) -> Resolution:
        """Take over the winners of known series and match only the new ones."""
        place = {series: position for position, series in enumerate(self._labels)}
        source = np.array([place.get(series, NO_ROW) for series in labels], dtype=np.int64)
        fresh = np.flatnonzero(source == NO_ROW)
        found = resolve(last.rows, [labels[position] for position in fresh.tolist()], at)
        winners = {}
        for severity, old in last.winners.items():
            column = np.append(old, NO_ROW)[source]
            column[fresh] = found.winners[severity]
            winners[severity] = column
        return Resolution(last.rows, winners, len(labels))


def compare(
    values: FloatArray, resolution: Resolution, active: Mapping[str, BoolArray] | None = None
) -> dict[str, BoolArray]:
    """Return per severity which series are past their limit: (n,) booleans; without a row never.

    values: (n,) floats in the order of the resolved labels, or (steps, n) for many times at once; the answer has the
    same shape. active: per severity, which series fire now; these are compared with the recovery value. NaN is past no
    limit except under "!=", as in PromQL (PA-14).
    """
    result = {}
    for severity, terms in resolution.terms.items():
        firing = None if active is None else active.get(severity)
        lower = terms.lower if firing is None else np.where(firing, terms.held_lower, terms.lower)
        upper = terms.upper if firing is None else np.where(firing, terms.held_upper, terms.upper)
        past = np.zeros(values.shape, dtype=bool)
        for operator, where in terms.operators:
            past |= where & _COMPARE[operator](values, lower, upper)
        result[severity] = past
    return result


_Comparison = Callable[[FloatArray, FloatArray, FloatArray], BoolArray]
_COMPARE: dict[Operator, _Comparison] = {
    Operator.GREATER: lambda value, lower, upper: value > lower,
    Operator.GREATER_EQUAL: lambda value, lower, upper: value >= lower,
    Operator.LESS: lambda value, lower, upper: value < lower,
    Operator.LESS_EQUAL: lambda value, lower, upper: value <= lower,
    Operator.EQUAL: lambda value, lower, upper: value == lower,
    Operator.NOT_EQUAL: lambda value, lower, upper: value != lower,
    Operator.OUTSIDE: lambda value, lower, upper: (value < lower) | (value > upper),
    Operator.INSIDE: lambda value, lower, upper: (value >= lower) & (value <= upper),
}
