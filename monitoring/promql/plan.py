"""What a query will read: for every selector the times it needs, so that storage is asked once for each."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import nodes as n
from .cursor import duration_value
from .errors import EvaluationError
from .limits import Meter
from .matchers import Matcher
from .mathematics import DATE_PARTS
from .query import LOOKBACK_MS, SUBQUERY_STEP_MS, Query

#: Functions whose answer moves with the evaluation time even when an @ fixes what they read
#: (promql/engine.go AtModifierUnsafeFunctions).
_MOVING = frozenset(
    (*DATE_PARTS, "predict_linear", "time", "timestamp"),
)
#: Times beyond this many ms from the epoch would overflow int64 once ranges and offsets are added.
_FARTHEST_MS = 1 << 60


@dataclass(frozen=True, slots=True)
class Bounds:
    """The query's own range in ms: what @ start(), @ end(), step() and range() refer to."""

    start_ms: int
    end_ms: int
    step_ms: int

    def milliseconds(self, duration: n.Duration | None, positive: bool = False) -> int:
        """Return a duration in ms; raise EvaluationError for one that is not usable where it stands."""
        if duration is None:
            return 0
        seconds = duration.seconds
        if duration.expr is not None:
            seconds = duration_value(duration.expr, self.step_ms / 1000, (self.end_ms - self.start_ms) / 1000)
        if not abs(seconds) < 9.2e9:
            raise EvaluationError("duration out of range")
        milliseconds = round(seconds * 1000)
        if positive and milliseconds <= 0:
            raise EvaluationError(f"duration must be greater than 0, got {seconds:g}s")
        return milliseconds

    def fixed(self, at: n.At | None) -> int | None:
        """Return the time an @ modifier fixes, ms; None without one."""
        if at is None:
            return None
        return {"start": self.start_ms, "end": self.end_ms}.get(at.kind, at.at_ms)


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one selector needs: samples that match, with start_ms < t <= end_ms."""

    matchers: tuple[Matcher, ...]
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class Plan:
    """Requirements by selector node, and the nodes whose value is the same at every step."""

    bounds: Bounds
    needs: dict[int, Requirement] = field(default_factory=dict)
    invariant: set[int] = field(default_factory=set)

    def merged(self) -> dict[int, Requirement]:
        """Return for every selector node the requirement to fetch: those of the same matchers that meet are one."""
        by_matchers: dict[tuple[Matcher, ...], list[tuple[int, Requirement]]] = {}
        for node_id, need in self.needs.items():
            by_matchers.setdefault(need.matchers, []).append((node_id, need))
        out: dict[int, Requirement] = {}
        for matchers, needs in by_matchers.items():
            needs.sort(key=lambda pair: pair[1].start_ms)
            run: list[int] = []
            start = end = 0
            for node_id, need in needs:
                if run and need.start_ms > end:
                    out.update(dict.fromkeys(run, Requirement(matchers, start, end)))
                    run = []
                start, end = (start, max(end, need.end_ms)) if run else (need.start_ms, need.end_ms)
                run.append(node_id)
            out.update(dict.fromkeys(run, Requirement(matchers, start, end)))
        return out


def subquery_times(start_ms: int, end_ms: int, range_ms: int, step_ms: int) -> range:
    """Return the times at which a subquery evaluates, for window ends from start_ms to end_ms.

    Multiples of the step since the epoch, the first strictly after the first window's start (engine.go).
    """
    first = ((start_ms - range_ms) // step_ms + 1) * step_ms
    return range(first, end_ms + 1, step_ms)


def plan(query: Query, bounds: Bounds, meter: Meter) -> Plan:
    """Return what the query reads when evaluated over its bounds; raise for unusable durations and deep subqueries."""
    made = Plan(bounds)
    ranges = {id(node.vector): node.range for node in n.walk(query.root) if isinstance(node, n.MatrixSelector)}
    stack: list[tuple[n.Node, int, int, int]] = [(query.root, bounds.start_ms, bounds.end_ms, 0)]
    order: list[n.Node] = []
    while stack:
        node, low, high, depth = stack.pop()
        order.append(node)
        if isinstance(node, n.VectorSelector):
            made.needs[id(node)] = _need(node, ranges.get(id(node)), low, high, bounds)
        elif isinstance(node, n.Subquery):
            meter.depth(depth + 1)
            low, high = _moved(node, low, high, bounds)
            range_ms = bounds.milliseconds(node.range, positive=True)
            times = subquery_times(low, high, range_ms, subquery_step(node, bounds))
            depth += 1
            low, high = times.start, max(times.start, high)
        stack.extend((child, low, high, depth) for child in _read(node))
    for node in reversed(order):
        if _is_invariant(node, made.invariant):
            made.invariant.add(id(node))
    return made


def _read(node: n.Node) -> list[n.Node]:
    """Return the children that are evaluated; the second argument of info() only carries matchers."""
    return node.children()[:1] if isinstance(node, n.Call) and node.func == "info" else node.children()


def subquery_step(node: n.Subquery, bounds: Bounds) -> int:
    """Return the step of a subquery, ms."""
    return SUBQUERY_STEP_MS if node.step is None else bounds.milliseconds(node.step, positive=True)


def _moved(node: n.VectorSelector | n.Subquery, low: int, high: int, bounds: Bounds) -> tuple[int, int]:
    fixed = bounds.fixed(node.at)
    offset = bounds.milliseconds(node.offset)
    low, high = (low, high) if fixed is None else (fixed, fixed)
    if max(abs(low - offset), abs(high - offset)) > _FARTHEST_MS:
        raise EvaluationError("time out of range")
    return low - offset, high - offset


def _need(node: n.VectorSelector, length: n.Duration | None, low: int, high: int, bounds: Bounds) -> Requirement:
    low, high = _moved(node, low, high, bounds)
    back = LOOKBACK_MS if length is None else bounds.milliseconds(length, positive=True)
    if node.mode and length is not None:
        back += LOOKBACK_MS
    ahead = LOOKBACK_MS if node.mode == "smoothed" else 0
    return Requirement(node.matchers, low - back, high + ahead)


def _is_invariant(node: n.Node, known: set[int]) -> bool:
    if isinstance(node, n.VectorSelector | n.Subquery) and node.at is not None:
        return True
    # A subquery without @ moves its own grid of points, whatever it reads.
    if isinstance(node, n.VectorSelector | n.Subquery) or (isinstance(node, n.Call) and node.func in _MOVING):
        return False
    return all(id(child) in known for child in _read(node))
