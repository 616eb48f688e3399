"""Threshold rows in words: why one wins, which can never win, and which decide only by being newer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from alerts.engine.thresholds import (
    NO_ROW,
    Operator,
    RankKey,
    Threshold,
    matching_positions,
    rank_key,
    resolve,
)
from alerts.engine.units import PLAIN, Unit, format_value
from monitoring.promql import Labels, Matcher


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row that was looked at for a series; reason says why it does or does not win."""

    threshold: Threshold
    is_winner: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which row sets the limit of a series and why; candidates come best first, those that do not count last."""

    winner: Threshold | None
    sentence: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A row that can never win, why, and the row that stands in its way (None when its own matchers exclude it)."""

    threshold: Threshold
    reason: str
    by: Threshold | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two rows with different limits of which only the newer counts; example is a series that both match."""

    winner: Threshold
    loser: Threshold
    example: Labels
    series_count: int


def describe_limit(row: Threshold, unit: Unit = PLAIN) -> str:
    """Return a row's condition in words: "above 80", "outside 10 to 20"."""
    if row.operator.is_band and row.upper is not None:
        return f"{row.operator} {format_value(row.value, unit)} to {format_value(row.upper, unit)}"
    return f"{_WORDS[row.operator]} {format_value(row.value, unit)}"


_WORDS = {
    Operator.GREATER: "above",
    Operator.GREATER_EQUAL: "at or above",
    Operator.LESS: "below",
    Operator.LESS_EQUAL: "at or below",
    Operator.EQUAL: "equal to",
    Operator.NOT_EQUAL: "other than",
    Operator.OUTSIDE: "outside",
    Operator.INSIDE: "inside",
}


def explain(thresholds: Sequence[Threshold], labels: Labels, at: datetime, severity: str) -> Explanation:
    """Return which row wins for a series and severity at `at`, and what became of every other row of that severity."""
    rows = sorted((row for row in thresholds if row.severity == severity), key=rank_key, reverse=True)
    standing = [row for row in rows if row.counts_at(at) and row.matches(labels)]
    winner = standing[0] if standing else None
    best = [Candidate(row, row is winner, _standing_reason(row, standing)) for row in standing]
    others = [Candidate(row, False, _absence_reason(row, labels, at)) for row in rows if row not in standing]
    if winner is None:
        sentence = f'No {severity} row applies to {labels}: it cannot reach "{severity}".'
    else:
        sentence = f"{_name(winner)} applies ({describe_limit(winner)}): {best[0].reason}."
    return Explanation(winner, sentence, (*best, *others))


def _name(row: Threshold) -> str:
    return f"Row {row.id}"


def _standing_reason(row: Threshold, standing: Sequence[Threshold]) -> str:
    if row is not standing[0]:
        return f"loses to row {standing[0].id}: {_comparison(standing[0], row)}"
    if len(standing) == 1:
        return "it is the only one that matches"
    return f"it wins over row {standing[1].id} because {_comparison(row, standing[1])}"


def _comparison(better: Threshold, worse: Threshold) -> str:
    """Say which part of the order decides between two rows."""
    first, second = rank_key(better), rank_key(worse)
    if first[0] != second[0]:
        return f"priority {first[0]} beats {second[0]}"
    if first[1] != second[1]:
        return f"{_count(first[1], 'matcher')} beat {second[1]}" if first[1] != 1 else f"1 matcher beats {second[1]}"
    if first[2] != second[2]:
        return f"{first[2]} exact of {_count(first[1], 'matcher')} beat {second[2]}"
    return "it is newer" if first[3] != second[3] else "it has the higher number"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _absence_reason(row: Threshold, labels: Labels, at: datetime) -> str:
    if not row.is_enabled:
        return "is switched off"
    if not row.counts_at(at) and row.expires_at is not None:
        return f"expired at {row.expires_at:%Y-%m-%d %H:%M} UTC"
    failing = next(matcher for matcher in row.matchers if not matcher.matches(labels.get(matcher.name, "")))
    found = labels.get(failing.name, "")
    return f"does not match: it asks for {failing}, the series has " + (f'"{found}"' if found else "no such label")


def unreachable(thresholds: Sequence[Threshold]) -> list[Unreachable]:
    """Return the enabled rows that win for no series there could be, each with the reason.

    A row is out of reach when its matchers contradict each other, or when another of its severity ranks higher, matches
    whatever it matches and lives at least as long. What only a regex could tell is left out, so none is named wrongly.
    """
    enabled = [row for row in thresholds if row.is_enabled]
    found: list[Unreachable] = []
    possible: list[Threshold] = []
    for row in enabled:
        reason = _contradiction(row.matchers)
        if reason:
            found.append(Unreachable(row, reason))
        else:
            possible.append(row)
    # Only a row whose matchers are among the other's, or looser, can cover it: those with exact values are looked up.
    coverers = _Coverers(possible)
    for row in possible:
        by = coverers.of(row)
        if by is not None:
            reason = f"row {by.id} matches everything it matches and ranks higher: {_comparison(by, row)}"
            found.append(Unreachable(row, reason, by))
    return sorted(found, key=lambda entry: entry.threshold.id)


def _contradiction(matchers: Sequence[Matcher]) -> str:
    exact: dict[str, str] = {}
    for matcher in matchers:
        if matcher.op == "=" and exact.setdefault(matcher.name, matcher.value) != matcher.value:
            return f'{matcher.name} cannot be "{exact[matcher.name]}" and "{matcher.value}" at once'
    for matcher in matchers:
        if matcher.op != "=" and matcher.name in exact and not matcher.matches(exact[matcher.name]):
            return f'{matcher} never holds where {matcher.name} is "{exact[matcher.name]}"'
    return ""


_Ranked = tuple[RankKey, Threshold]


class _Coverers:
    """Rows by severity and by one exact matcher, so that a row is compared with few others, highest first."""

    def __init__(self, rows: Sequence[Threshold]) -> None:
        self._by_matcher: dict[tuple[str, Matcher], list[_Ranked]] = {}
        self._open: dict[str, list[_Ranked]] = {}
        for row in sorted(rows, key=rank_key, reverse=True):
            ranked = (rank_key(row), row)
            exact = next((matcher for matcher in row.matchers if matcher.op == "="), None)
            if exact is None:
                self._open.setdefault(row.severity, []).append(ranked)
            else:
                self._by_matcher.setdefault((row.severity, exact), []).append(ranked)

    def of(self, row: Threshold) -> Threshold | None:
        """Return the highest row that ranks above this one and covers it."""
        lists = [self._open.get(row.severity, [])]
        lists += [self._by_matcher.get((row.severity, matcher), []) for matcher in row.matchers]
        found = [other for others in lists if (other := _first_covering(others, row)) is not None]
        return max(found, key=rank_key, default=None)


def _first_covering(others: Sequence[_Ranked], row: Threshold) -> Threshold | None:
    key = rank_key(row)
    for other_key, other in others:
        if other_key <= key:
            return None
        if _covers(other, row):
            return other
    return None


def _covers(other: Threshold, row: Threshold) -> bool:
    """Return whether every series that `row` matches is matched by `other`, for as long as `row` lives."""
    if other.expires_at is not None and (row.expires_at is None or row.expires_at > other.expires_at):
        return False
    return all(_is_implied(matcher, row.matchers) for matcher in other.matchers)


def _is_implied(wanted: Matcher, matchers: Sequence[Matcher]) -> bool:
    if wanted in matchers:
        return True
    return any(
        matcher.op == "=" and matcher.name == wanted.name and wanted.matches(matcher.value) for matcher in matchers
    )


def conflicts(thresholds: Sequence[Threshold], labels: Sequence[Labels], at: datetime) -> list[Conflict]:
    """Return the pairs of rows that match the same series with different limits and differ only in age."""
    resolution = resolve(thresholds, labels, at)
    groups: dict[tuple[str, int, int, int], list[int]] = {}
    for index, row in enumerate(resolution.rows):
        groups.setdefault((row.severity, *_deliberate(rank_key(row))), []).append(index)
    found: list[Conflict] = []
    for (severity, *_), indices in groups.items():
        if len(indices) > 1:
            rows = sorted((resolution.rows[index] for index in indices), key=rank_key, reverse=True)
            ruled = np.flatnonzero(np.isin(resolution.winners[severity], indices)).tolist()
            found += _ties(rows, [labels[position] for position in ruled])
    return found


def _deliberate(key: RankKey) -> tuple[int, int, int]:
    """Return the part of the order that somebody chose: priority and matchers, not age."""
    return key[:3]


def _ties(group: Sequence[Threshold], labels: Sequence[Labels]) -> Iterator[Conflict]:
    """Yield the first two rows of a group, newest first, that match one series with different limits."""
    first = np.full(len(labels), NO_ROW)
    second = first.copy()
    for index, positions in enumerate(matching_positions(group, labels)):
        is_free = first[positions] == NO_ROW
        later = positions[~is_free]
        second[later[second[later] == NO_ROW]] = index
        first[positions[is_free]] = index
    pairs, examples, counts = np.unique(np.stack([first, second]), axis=1, return_index=True, return_counts=True)
    for (winner, loser), example, count in zip(pairs.T.tolist(), examples.tolist(), counts.tolist(), strict=True):
        if loser != NO_ROW and _limits(group[winner]) != _limits(group[loser]):
            yield Conflict(group[winner], group[loser], labels[example], count)


def _limits(row: Threshold) -> tuple[Operator, float, float | None, float | None, float | None]:
    return (row.operator, row.value, row.upper, row.recover_value, row.hold_seconds)
