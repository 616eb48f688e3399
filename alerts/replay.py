"""A rule evaluated over stored history, with the code that evaluates it in production.

Hides how a month of slots takes seconds: the values of many slots are read and compared at once, and only slots in
which something can happen go through the state machine: where a series comes, goes or passes a limit, where a time
runs out, and the slots on both sides of these. In all others `advance` would only renew value and time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from alerts.condition import Finding, judge
from alerts.engine import thresholds as limits
from alerts.engine.episodes import Episode, EpisodeBook
from alerts.engine.state import (
    RESOLVED_RETENTION,
    AlertState,
    Kind,
    LimitExceededError,
    NoDataPolicy,
    State,
    StateError,
    Transition,
    advance,
)
from alerts.nearest import excess_of
from alerts.prepared import PreparedRule
from monitoring import promql
from monitoring.promql import Labels

Listener = Callable[[tuple[Transition, ...]], None]


@dataclass
class Replay:
    """One rule on its way through history; chunks come in order of time and do not overlap.

    `book` holds the episodes so far, `problems` how many evaluated slots each error cost, `evaluated` how many slots
    went through the state machine. `listener` gets the transitions of each slot. `peak_limit` says which way is worse
    for a plain condition, whose alerts have no row.
    """

    prepared: PreparedRule
    peak_limit: limits.Threshold | None = None
    listener: Listener | None = None
    every_slot: bool = False
    book: EpisodeBook = field(default_factory=EpisodeBook)
    problems: dict[str, int] = field(default_factory=dict)
    evaluated: int = 0
    elements: dict[Labels, Labels] = field(default_factory=dict)  # which series an alert that fired is of
    _states: Mapping[Labels, AlertState] = field(default_factory=dict)
    _chunk: _Chunk | None = None
    _is_restless: bool = True  # the last slot did something: look at the next one too

    def run(self, answer: promql.Result) -> None:
        """Evaluate every slot of the answer of a range query, whose steps are the rule's slots."""
        for first, last in self._parts(answer):
            self._chunk = chunk = _Chunk(self.prepared, answer, first, last)
            index = first
            while index < last:
                self._evaluate(index)
                index = self._next(chunk, index)
            for episode in self.book.firing.values():
                chunk.note_peak(episode, self.peak_limit)
        self._chunk = None

    def _parts(self, answer: promql.Result) -> list[tuple[int, int]]:
        """The answer cut where a threshold row expires: within a part the same rows count."""
        expiries = [row.expires_at.timestamp() * 1000 for row in self.prepared.limits if row.expires_at is not None]
        cuts = {int(np.searchsorted(answer.ts, expiry)) for expiry in expiries}
        edges = sorted({0, len(answer.ts), *cuts})
        return list(itertools.pairwise(edges))

    def _next(self, chunk: _Chunk, index: int) -> int:
        """The next slot in which something can happen."""
        if self._is_restless or self.every_slot or not self.prepared.identities.is_stable:
            return index + 1
        if not self._states and self.prepared.spec.no_data is not NoDataPolicy.FIRE:
            return chunk.next_active(index + 1)
        following = chunk.next_change(index + 1)
        deadline = self._deadline(chunk.at(index))
        if deadline is None:
            return following
        # One slot early, so that rounding to milliseconds never makes it late; an extra slot does no harm.
        due = int(np.searchsorted(chunk.answer.ts, deadline.timestamp() * 1000)) - 1
        return max(index + 1, min(following, due))

    def _deadline(self, at: datetime) -> datetime | None:
        """When the next alert fires, ends or is forgotten by the mere passing of time."""
        spec = self.prepared.spec
        times = []
        for state in self._states.values():
            if state.state is State.PENDING:
                times.append(state.active_since + timedelta(seconds=state.hold_seconds))
            if state.state is State.INACTIVE and state.resolved_at is not None:
                times.append(state.resolved_at + RESOLVED_RETENTION)
            if state.keep_firing_since is not None:
                times.append(state.keep_firing_since + timedelta(seconds=spec.keep_firing_seconds))
            if state.no_data_since is not None:
                times += [state.no_data_since + RESOLVED_RETENTION]
                times += [state.no_data_since + timedelta(seconds=spec.no_data_seconds)]
        return min((time for time in times if time >= at), default=None)

    def _evaluate(self, index: int) -> None:
        """One slot: the same steps as alerts.evaluate takes, without rows."""
        chunk = self._chunk
        assert chunk is not None  # noqa: S101  (set by run)
        self.evaluated += 1
        at = chunk.at(index)
        finding = chunk.finding(index)
        self._is_restless = True
        try:
            judge(self.prepared, finding, self._states)
            step = advance(self._states, finding.active, self.prepared.spec, at, finding.data, finding.expected)
        except LimitExceededError as error:
            self._note(error)
            self._states = {}
            for episode in self.book.firing.values():
                chunk.note_peak(episode, self.peak_limit, index)
            self.book.end_all(at)
            return
        except StateError as error:
            self._note(error)
            return
        self._states = step.states
        if step.transitions:
            self._note_episodes(chunk, step.transitions, index)
            if self.listener is not None:
                self.listener(step.transitions)
        self._is_restless = bool(step.changed or step.removed)

    def _note_episodes(self, chunk: _Chunk, transitions: tuple[Transition, ...], index: int) -> None:
        """Enter what happened into the book; an episode that ends gets its peak first."""
        for one in transitions:
            if one.kind is Kind.RESOLVED and one.labels in self.book.firing:
                chunk.note_peak(self.book.firing[one.labels], self.peak_limit, index)
        self.book.take(transitions)
        for one in transitions:
            if one.kind is Kind.FIRING:
                chunk.begin_peak(one.labels, index)
                self.elements.setdefault(one.labels, chunk.element(one.labels))

    def _note(self, error: StateError) -> None:
        words = str(error)
        self.problems[words] = self.problems.get(words, 0) + 1


class _Chunk:
    """A part of an answer, with what changes from slot to slot."""

    def __init__(self, prepared: PreparedRule, answer: promql.Result, first: int, last: int) -> None:
        self.answer, self.first, self.last = answer, first, last
        self._prepared = prepared
        present = answer.present[:, first:last].T
        past = self._past(prepared, answer, present)
        # A row a slot: what the state machine can see. Plain and held limits, because a firing alert has its own.
        seen = np.concatenate([present, *past], axis=1)
        changed = np.ones(last - first, dtype=bool)
        changed[1:] = (seen[1:] != seen[:-1]).any(axis=1)
        active = np.concatenate(past, axis=1).any(axis=1)
        changed[:-1] |= changed[1:]  # the slot before renews the value that an end is told with
        changed[-1:] = True
        self._changes = np.flatnonzero(changed) + first
        self._actives = np.flatnonzero(active) + first
        self._rows = self._row_of_identity()
        self._peak_from: dict[Labels, int] = {}
        self._limits = {row.id: row for row in prepared.limits}

    def _past(self, prepared: PreparedRule, answer: promql.Result, present: np.ndarray) -> list[np.ndarray]:
        """(slots, series) per severity, with the limits of quiet alerts and with those of firing ones."""
        if not prepared.has_thresholds:
            return [present]
        at = self.at(self.first)
        resolution = self.resolution = limits.resolve(prepared.limits, answer.labels, at)
        values = answer.values[:, self.first : self.last].T
        always = {severity: np.ones(len(answer.labels), dtype=bool) for severity in resolution.severities}
        found = [limits.compare(values, resolution, active) for active in (None, always)]
        tables = [table & present for one in found for table in one.values()]
        return tables or [np.zeros_like(present)]

    def _row_of_identity(self) -> dict[Labels, int]:
        """Which series an alert is of; empty when identities change with the value."""
        prepared, labels = self._prepared, self.answer.labels
        if not prepared.identities.is_stable:
            return {}
        severities = self.resolution.severities if prepared.has_thresholds else ("",)
        values = [0.0] * len(labels)
        return {
            identity: row
            for severity in severities
            for row, identity in enumerate(prepared.identities.many(labels, values, severity))
        }

    def at(self, index: int) -> datetime:
        """The time of a slot."""
        return datetime.fromtimestamp(int(self.answer.ts[index]) / 1000, UTC)

    def finding(self, index: int) -> Finding:
        """What the query answered in one slot."""
        rows = np.flatnonzero(self.answer.present[:, index])
        labels = [self.answer.labels[row] for row in rows.tolist()]
        return Finding(self.at(index), len(labels), self.answer.values[rows, index], labels)

    def element(self, identity: Labels) -> Labels:
        """The series that an alert is of, as the query names it; the alert's own labels when that is not known."""
        place = self._rows.get(identity)
        return identity if place is None else self.answer.labels[place]

    def next_change(self, index: int) -> int:
        """The first slot from `index` on in which a series comes, goes or passes a limit."""
        place = int(np.searchsorted(self._changes, index))
        return int(self._changes[place]) if place < len(self._changes) else self.last

    def next_active(self, index: int) -> int:
        """The first slot from `index` on in which a condition holds."""
        place = int(np.searchsorted(self._actives, index))
        return int(self._actives[place]) if place < len(self._actives) else self.last

    def begin_peak(self, labels: Labels, index: int) -> None:
        """Note that an episode began in this slot."""
        self._peak_from[labels] = index

    def note_peak(self, episode: Episode, otherwise: limits.Threshold | None, until: int | None = None) -> None:
        """Raise the peak of an episode by the values up to `until`, which is not looked at itself."""
        first = self._peak_from.get(episode.labels, self.first)
        last = self.last if until is None else until
        place = self._rows.get(episode.labels)
        if last <= first or place is None:
            return
        there = self.answer.present[place, first:last]
        values = self.answer.values[place, first:last][there]
        if not len(values):
            return
        worst = _worst(np.append(values, episode.peak), self._limits.get(episode.threshold_id or -1, otherwise))
        if not np.isnan(worst):
            episode.peak = worst


def _worst(values: np.ndarray, limit: limits.Threshold | None) -> float:
    """The value farthest past a limit; the highest when there is none."""
    if limit is None:
        return float(np.nanmax(values)) if not np.isnan(values).all() else float("nan")
    return float(values[np.argmax(excess_of(values, limit))])
