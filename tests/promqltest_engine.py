"""Engines for the PromQL script runner in the shared folder: ``promqltest.py --engine tests.promqltest_engine:Engine``.

``Engine`` asks our evaluator over series held in memory, ``StoreEngine`` over the real sample store in Postgres: in a
test's database, or, called from the command line, on an embedded one of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from monitoring import promql
from monitoring.promql import Block, Labels, Matcher, matches_all


class MemoryStore:
    """Series in memory; those that share their timestamps come out as one block."""

    def __init__(self) -> None:
        self._samples: dict[Labels, dict[int, float]] = {}
        self._blocks: list[Block] | None = None

    def append(self, labels: Labels, timestamps_ms: Sequence[int], values: Sequence[float]) -> None:
        """Add samples; a later one at the same time replaces an earlier."""
        self._samples.setdefault(labels, {}).update(zip(timestamps_ms, values, strict=True))
        self._blocks = None

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the matching series, whatever their times."""
        if self._blocks is None:
            self._blocks = self._grouped()
        out = []
        for block in self._blocks:
            rows = [row for row, labels in enumerate(block.labels) if matches_all(matchers, labels)]
            if rows:
                out.append(Block(tuple(block.labels[row] for row in rows), block.ts, block.values[rows]))
        return out

    def _grouped(self) -> list[Block]:
        alike: dict[tuple[int, ...], list[Labels]] = {}
        for labels, samples in self._samples.items():
            alike.setdefault(tuple(sorted(samples)), []).append(labels)
        blocks = []
        for times, group in alike.items():
            values = np.array([[self._samples[labels][time] for time in times] for labels in group], np.float64)
            blocks.append(Block(tuple(group), np.array(times, np.int64), values))
        return blocks


class Engine:
    """Our evaluator over a store in memory."""

    QueryError = promql.QueryError
    supports: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop all series."""
        self.store = MemoryStore()

    def append(self, labels: dict[str, str], timestamps_ms: list[int], values: list[float]) -> None:
        """Add samples of one series."""
        self.store.append(Labels.of(labels), timestamps_ms, values)

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        """Return the matching series."""
        return self.store.select(matchers, start_ms, end_ms)

    def instant(self, expr: str, ts_ms: int) -> dict[str, object]:
        """Ask at one time."""
        return answer(promql.instant(expr, ts_ms, self.select))

    def range(self, expr: str, start_ms: int, end_ms: int, step_ms: int) -> dict[str, object]:
        """Ask over a range."""
        return answer(promql.range_(expr, start_ms, end_ms, step_ms, self.select))


class StoreEngine(Engine):
    """Our evaluator over the sample store; what a script block loads is rolled back at the next."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        if "PYTEST_CURRENT_TEST" not in os.environ:
            self._ends.enter_context(_services_of_our_own())
        self._block: contextlib.ExitStack | None = None
        super().__init__()

    def reset(self) -> None:
        """Undo the appends so far."""
        from django.db import transaction

        self._roll_back()
        self._block = contextlib.ExitStack()
        self._block.enter_context(transaction.atomic())
        self._loaded: dict[int, dict[str, float]] = {}
        self._loads = 0

    def _roll_back(self) -> None:
        from django.db import transaction

        if self._block is not None:
            transaction.set_rollback(True)
            self._block.close()
            self._block = None

    def append(self, labels: dict[str, str], timestamps_ms: list[int], values: list[float]) -> None:
        """Keep samples of one series until the next question."""
        from monitoring import store

        pairs = dict(labels)
        key = store.sample_key(pairs.pop("__name__", ""), pairs)
        for at_ms, value in zip(timestamps_ms, values, strict=True):
            self._loaded.setdefault(at_ms, {})[key] = value

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        """Store what was loaded since the last question, then read from the store."""
        from monitoring import store

        if self._loaded:
            self._loads += 1  # a later load may speak again of times that an earlier one spoke of
            scrapes = [
                store.Scrape(f"load {self._loads:03d}", {}, at_ms, list(row), np.array(list(row.values())), True)
                for at_ms, row in sorted(self._loaded.items())
            ]
            receipt = store.append(scrapes, now_ms=max(self._loaded))
            assert not receipt.dropped, receipt
            self._loaded = {}
        return store.select(matchers, start_ms, end_ms)

    def close(self) -> None:
        """Undo everything and stop what was started."""
        self._roll_back()
        self._ends.close()


@contextlib.contextmanager
def _services_of_our_own() -> Iterator[None]:
    """An embedded Postgres with our tables, for as long as the context lasts."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from alphaq_portal import env
    from tests.conftest import running_services, use

    with running_services() as urls:
        use(env.read({**os.environ, **urls}))
        call_command("migrate", verbosity=0, interactive=False)
        yield


def answer(result: promql.Result) -> dict[str, object]:
    """Return a result as the script runner wants it."""
    return {
        "type": result.type,
        "value": _value(result),
        "warnings": list(result.warnings),
        "infos": list(result.infos),
    }


def _value(result: promql.Result) -> object:
    if result.type == "scalar":
        return result.scalar
    if result.type == "string":
        return result.string
    names = [labels.as_dict() for labels in result.labels]
    if result.type == "vector":
        return list(zip(names, result.values.tolist(), strict=True))
    points = [result.points(row) for row in range(len(names))]
    return [
        (name, list(zip(ts.tolist(), vs.tolist(), strict=True))) for name, (ts, vs) in zip(names, points, strict=True)
    ]
