"""Series in memory for unit tests of rules: what comes in becomes visible as time goes on, what rules write stays."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from monitoring.promql import STALE_NAN, Block, Labels, Matcher, matches_all


class Memory:
    """All series of one test; `select` is a monitoring.promql.Select."""

    def __init__(
        self, start_ms: int, interval_ms: int, series: Iterable[tuple[Labels, Sequence[float | None]]]
    ) -> None:
        """Take the input series, whose samples come one an interval from the start on."""
        self._times: dict[Labels, list[int]] = {}
        self._values: dict[Labels, list[float]] = {}
        for labels, values in series:
            samples = [(start_ms + place * interval_ms, value) for place, value in enumerate(values)]
            known = dict(zip(self._times.get(labels, ()), self._values.get(labels, ()), strict=True))
            known |= {at_ms: value for at_ms, value in samples if value is not None}
            self._times[labels], self._values[labels] = sorted(known), [known[at_ms] for at_ms in sorted(known)]
        self._visible_ms = start_ms
        self._matching: dict[tuple[Matcher, ...], list[Labels]] = {}

    def go_to(self, at_ms: int) -> None:
        """Make visible what came in until then; promtool loads samples only as far as it has evaluated."""
        self._visible_ms = at_ms

    def write(
        self, at_ms: int, written: Iterable[tuple[Labels, float]], before: frozenset[Labels]
    ) -> frozenset[Labels]:
        """Store what a group wrote and end what it wrote before and not now (PS-2); returns what it wrote now."""
        now = dict(written)
        for labels in (*now, *(labels for labels in before if labels not in now)):
            if labels not in self._times:
                self._times[labels], self._values[labels] = [], []
                self._matching.clear()
            self._put(labels, at_ms, now.get(labels, STALE_NAN))
        return frozenset(now)

    def _put(self, labels: Labels, at_ms: int, value: float) -> None:
        times, values = self._times[labels], self._values[labels]
        place = bisect_left(times, at_ms)
        if place < len(times) and times[place] == at_ms:
            values[place] = value
        else:
            times.insert(place, at_ms)
            values.insert(place, value)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the samples of the matching series in a span of time."""
        end_ms, found = min(end_ms, self._visible_ms), []
        for labels in self._named(tuple(matchers)):
            times = self._times[labels]
            first, last = bisect_left(times, start_ms), bisect_right(times, end_ms)
            if first < last:
                values = np.array([self._values[labels][first:last]], np.float64)
                found.append(Block((labels,), np.array(times[first:last], np.int64), values))
        return found

    def _named(self, matchers: tuple[Matcher, ...]) -> list[Labels]:
        if matchers not in self._matching:
            self._matching[matchers] = [labels for labels in self._times if matches_all(matchers, labels)]
        return self._matching[matchers]
