"""Episodes: what the transitions of a rule amount to, from firing to resolved, and how two rules differ in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isnan, nan

from alerts.engine.identity import SEVERITY
from alerts.engine.state import Cause, Kind, State, Transition
from monitoring.promql import Labels


@dataclass
class Episode:
    """One alert from firing to resolved; `ended_at` is None while it still fires, `peak` is its worst value."""

    labels: Labels
    pending_at: datetime
    fired_at: datetime
    ended_at: datetime | None = None
    cause: Cause = Cause.NONE
    limit: float | None = None
    threshold_id: int | None = None
    peak: float = nan

    @property
    def severity(self) -> str:
        """The severity that it fires with, "" when it has none."""
        return self.labels.get(SEVERITY)

    def seconds(self, end: datetime) -> float:
        """How long it fired, up to `end` when it has not ended."""
        return ((self.ended_at or end) - self.fired_at).total_seconds()


@dataclass
class EpisodeBook:
    """Collects the episodes of one rule from its transitions, which come in order of time."""

    episodes: list[Episode] = field(default_factory=list)
    dropped: int = 0  # pending alerts that ended before their hold time was over
    _pending: dict[Labels, datetime] = field(default_factory=dict)
    _firing: dict[Labels, Episode] = field(default_factory=dict)

    @property
    def firing(self) -> dict[Labels, Episode]:
        """The episodes that have not ended, by the labels of their alert."""
        return self._firing

    @property
    def active(self) -> Iterable[Labels]:
        """The alerts that are pending or firing."""
        return (*self._pending, *self._firing)

    def take(self, transitions: Iterable[Transition]) -> None:
        """Note what one evaluation did."""
        for one in transitions:
            if one.kind is Kind.PENDING or (one.kind is Kind.NO_DATA and one.before is State.INACTIVE):
                self._pending[one.labels] = one.at
            elif one.kind is Kind.FIRING:
                self._fire(one)
            elif one.kind is Kind.DROPPED:
                self._pending.pop(one.labels, None)
                self.dropped += 1
            elif one.kind is Kind.RESOLVED:
                self.end(one.labels, one.at, one.cause)

    def _fire(self, one: Transition) -> None:
        begun = self._pending.pop(one.labels, one.at)
        episode = Episode(one.labels, begun, one.at, limit=one.limit, threshold_id=one.threshold_id, peak=one.value)
        self._firing[one.labels] = episode
        self.episodes.append(episode)

    def end(self, labels: Labels, at: datetime, cause: Cause = Cause.NONE) -> None:
        """End the episode of an alert, if it has one."""
        episode = self._firing.pop(labels, None)
        if episode is not None:
            episode.ended_at, episode.cause = at, cause

    def end_all(self, at: datetime) -> None:
        """End everything, as a rule over its limit of alerts does (PA-12); no resolve is told."""
        for labels in list(self._firing):
            self.end(labels, at)
        self._pending.clear()


@dataclass(frozen=True)
class Difference:
    """How a new rule differs from an old one: old episodes that it has too, those it drops, and those it adds."""

    kept: int
    dropped: int
    added: int


def firing_seconds(episodes: Iterable[Episode], end: datetime) -> float:
    """The time in which at least one of the episodes fired, overlaps counted once."""
    total, covered_until = 0.0, None
    for episode in sorted(episodes, key=lambda one: one.fired_at):
        start, stop = episode.fired_at, episode.ended_at or end
        if covered_until is not None:
            start = max(start, covered_until)
        if stop > start:
            total += (stop - start).total_seconds()
        covered_until = stop if covered_until is None else max(covered_until, stop)
    return total


def difference(old: Sequence[Episode], new: Sequence[Episode], end: datetime) -> Difference:
    """Compare two rules' episodes over the same time; episodes of the same series that overlap are the same.

    The alert's name and severity do not count: a rule that was renamed or made milder speaks of the same trouble.
    """
    old_spans, new_spans = _spans(old, end), _spans(new, end)
    kept = sum(_overlaps(one, new_spans.get(_series(one), ()), end) for one in old)
    added = sum(not _overlaps(one, old_spans.get(_series(one), ()), end) for one in new)
    return Difference(kept, len(old) - kept, added)


_OWN = frozenset((SEVERITY, "alertname"))


def _series(episode: Episode) -> Labels:
    return episode.labels.without(_OWN)


def _spans(episodes: Sequence[Episode], end: datetime) -> dict[Labels, list[tuple[datetime, datetime]]]:
    found: dict[Labels, list[tuple[datetime, datetime]]] = {}
    for one in episodes:
        found.setdefault(_series(one), []).append((one.fired_at, one.ended_at or end))
    return found


def _overlaps(episode: Episode, spans: Sequence[tuple[datetime, datetime]], end: datetime) -> bool:
    stop = episode.ended_at or end
    return any(first <= stop and episode.fired_at <= last for first, last in spans)


def is_worse(value: float, than: float, is_low: bool) -> bool:
    """Whether a value is farther on the bad side: below for a limit that is a floor, else above."""
    if isnan(than) or isnan(value):
        return not isnan(value)
    return value < than if is_low else value > than
