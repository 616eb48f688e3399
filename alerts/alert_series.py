"""What rules write back as series: ALERTS, ALERTS_FOR_STATE and ALERTS_VALUE, and the results of recording rules.

Hides: key texts, and that later rules of the same slot see what earlier ones wrote (Prometheus, PR-4).
ALERTS and ALERTS_FOR_STATE are Prometheus' (PS-1); ALERTS_VALUE is ours: the measured value of each active alert,
so that messages and pages can tell the value now and the peak without writing a row per evaluation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np

from alerts.engine.state import AlertState, State
from monitoring import promql, store
from monitoring.promql import NAME, Block, Labels, Matcher, matches_all

VALUE_SERIES = "ALERTS_VALUE"


@lru_cache(maxsize=200_000)
def _alert_labels(labels: Labels, state: State) -> tuple[Labels, Labels, Labels]:
    plain = labels.as_dict()
    return (
        Labels.of({**plain, "__name__": "ALERTS", "alertstate": state.value}),
        Labels.of({**plain, "__name__": "ALERTS_FOR_STATE"}),
        Labels.of({**plain, "__name__": VALUE_SERIES}),
    )


@lru_cache(maxsize=400_000)
def _key(labels: Labels) -> str:
    pairs = labels.as_dict()
    return store.sample_key(pairs.pop("__name__", ""), pairs)


class SlotSeries:
    """The series that the rules of one group write in one slot, visible to the rules that run after them."""

    def __init__(self, at_ms: int, select: promql.Select) -> None:
        self._at_ms, self._select = at_ms, select
        # By metric name: a thousand rules that ask for other names must not look at 10,000 alerts each.
        self._now: defaultdict[str, dict[Labels, float]] = defaultdict(dict)

    def add_alerts(self, states: Sequence[AlertState]) -> None:
        """Add the synthetic series of a rule's pending and firing alerts."""
        now = self._now["ALERTS"], self._now["ALERTS_FOR_STATE"], self._now[VALUE_SERIES]
        for state in states:
            alerts, since, value = _alert_labels(state.labels, state.state)
            now[0][alerts] = 1.0
            now[1][since] = state.active_since.timestamp()
            now[2][value] = state.value

    def add_record(self, labels: Sequence[Labels], values: Sequence[float]) -> None:
        """Add the result of a recording rule; `labels` carry its name."""
        for one, value in zip(labels, values, strict=True):
            self._now[one.get(NAME)][one] = value

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        """What the store has, and on top what this slot has written so far."""
        blocks = list(self._select(matchers, start_ms, end_ms))
        if not self._now or not start_ms <= self._at_ms <= end_ms:
            return blocks
        of_name = [one for one in matchers if one.name == NAME]
        fresh = {
            labels: value
            for name, written in self._now.items()
            if all(one.matches(name) for one in of_name)
            for labels, value in written.items()
            if matches_all(matchers, labels)
        }
        if fresh:
            values = np.array([[value] for value in fresh.values()])
            blocks.append(Block(list(fresh), np.array([self._at_ms], dtype=np.int64), values))
        return blocks

    def items(self) -> Iterable[tuple[Labels, float]]:
        """What was written so far, by name and then in order."""
        return chain.from_iterable(written.items() for written in self._now.values())

    def scrape(self, source: str) -> store.Scrape:
        """All of it as one row of `source`; what a row leaves out ends with a stale marker (PS-2)."""
        written = list(self.items())
        values = np.fromiter((value for _, value in written), dtype=np.float64, count=len(written))
        return store.Scrape(source, {}, self._at_ms, [_key(one) for one, _ in written], values)

    def __len__(self) -> int:
        return sum(map(len, self._now.values()))
