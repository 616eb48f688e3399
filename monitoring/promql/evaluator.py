"""The walk over a query: every node to a value over all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from . import aggregate, binary
from . import nodes as n
from .annotations import Annotations
from .errors import EvaluationError
from .extended import at_instant
from .frames import NOTHING, Frame, Selection, selection
from .labels import EMPTY, is_label_name
from .limits import Meter
from .plan import Plan, Requirement, subquery_step, subquery_times
from .query import LOOKBACK_MS
from .sampling import sampled
from .tables import Table
from .values import Bools, Floats, Ints, Select, is_stale
from .vectors import Vector
from .windows import RangeVector

Value = Vector | Floats | str


@dataclass(slots=True, eq=False)
class Shared:
    """What all parts of one evaluation share: storage, plan, limits, remarks."""

    plan: Plan
    select: Select
    meter: Meter
    notes: Annotations
    is_instant: bool
    needs: dict[int, Requirement]
    functions: Mapping[str, Callable[[Evaluator, n.Call], Value]]
    fetched: dict[Requirement, Selection] = field(default_factory=dict)
    series: int = 0

    def selection(self, node: n.VectorSelector) -> Selection:
        """Return the series of a selector, read once for each distinct requirement."""
        return self.fetch(self.needs[id(node)])

    def fetch(self, need: Requirement) -> Selection:
        """Return the series that satisfy a requirement."""
        found = self.fetched.get(need)
        if found is None:
            blocks = self.select(need.matchers, need.start_ms + 1, need.end_ms)
            found = selection(blocks, need.start_ms + 1, need.end_ms) if blocks else NOTHING
            self.meter.series(len(found.table))
            self.meter.read(found.samples)
            self.series += len(found.table)
            self.meter.tick()
            self.fetched[need] = found
        return found


class Evaluator:
    """Evaluates nodes at the times ``at`` (steps,) ms: the query's steps, or those of a subquery inside it."""

    def __init__(self, shared: Shared, at: Ints) -> None:
        self.shared = shared
        self.at = at
        self.steps = len(at)

    # -- values ---------------------------------------------------------------------------------------------------
    def value(self, node: n.Node) -> Value:
        """Return the value of a node: a Vector, a scalar (steps,) or a string."""
        self.shared.meter.tick()
        if self.steps > 1 and id(node) in self.shared.plan.invariant and node.type in (n.VECTOR, n.SCALAR):
            return repeated(Evaluator(self.shared, self.at[:1])._value(node), self.steps)
        return self._value(node)

    def vector(self, node: n.Node) -> Vector:
        """Return the value of a node of vector type."""
        value = self.value(node)
        assert isinstance(value, Vector)  # noqa: S101  -- the parser has checked the types
        return value

    def scalar(self, node: n.Node) -> Floats:
        """Return the value of a node of scalar type, (steps,)."""
        value = self.value(node)
        assert isinstance(value, np.ndarray)  # noqa: S101  -- the parser has checked the types
        return value

    def string(self, node: n.Node) -> str:
        """Return the value of a string literal."""
        value = self.value(node)
        assert isinstance(value, str)  # noqa: S101  -- the parser has checked the types
        return value

    def _value(self, node: n.Node) -> Value:
        match node:
            case n.VectorSelector():
                return self.samples(node)[0]
            case n.Number():
                return np.full(self.steps, node.value)
            case n.Call():
                return self.shared.functions[node.func](self, node)
            case n.Aggregate():
                return self._aggregate(node)
            case n.Binary():
                return self._binary(node)
            case n.Paren():
                return self.value(node.expr)
            case n.Unary():
                return self._unary(node)
            case n.String():
                return node.value
        raise EvaluationError("range vector is not allowed here")

    def _unary(self, node: n.Unary) -> Value:
        value = self.value(node.expr)
        if node.op == "+" or isinstance(value, str):
            return value
        return -value if isinstance(value, np.ndarray) else value.with_values(-value.values)

    def _binary(self, node: n.Binary) -> Value:
        # A long chain leans to the left; it is walked in a loop so that its length costs no stack.
        chain: list[n.Binary] = [node]
        while isinstance(chain[-1].lhs, n.Binary):
            chain.append(chain[-1].lhs)
        value = self.value(chain[-1].lhs)
        for link in reversed(chain):
            value = self._operate(link, value, self.value(link.rhs))
        return value

    def _operate(self, node: n.Binary, left: Value, right: Value) -> Value:
        if isinstance(left, Vector) and isinstance(right, Vector):
            if node.matching.card == "many-to-many":
                return binary.sets(node.op, left, right, node.matching)
            return binary.vectors(node.op, left, right, node.matching, node.return_bool, self.shared.meter)
        if isinstance(left, Vector) and isinstance(right, np.ndarray):
            return binary.with_scalar(node.op, left, right, node.return_bool, scalar_left=False)
        if isinstance(right, Vector) and isinstance(left, np.ndarray):
            return binary.with_scalar(node.op, right, left, node.return_bool, scalar_left=True)
        assert isinstance(left, np.ndarray)  # noqa: S101  -- strings have no operators
        assert isinstance(right, np.ndarray)  # noqa: S101
        return binary.scalars(node.op, left, right)

    # -- selectors ------------------------------------------------------------------------------------------------
    def ends(self, node: n.VectorSelector | n.Subquery) -> Ints:
        """Return the times a selector looks at, (steps,) ms: @ first, then offset."""
        bounds = self.shared.plan.bounds
        fixed = bounds.fixed(node.at)
        times = self.at if fixed is None else np.full(self.steps, fixed, np.int64)
        return times - bounds.milliseconds(node.offset)

    def samples(self, node: n.VectorSelector) -> tuple[Vector, Ints]:
        """Return the newest sample of every series at every step, and its time (rows, steps) ms."""
        found, ends = self.shared.selection(node), self.ends(node)
        if node.mode == "anchored":
            raise EvaluationError("anchored modifier can only be used with range vectors")
        rows = len(found.table)
        self.shared.meter.points(rows * self.steps)
        if node.mode == "smoothed":
            source = RangeVector(found, np.zeros(rows, np.bool_), ends, self.at, LOOKBACK_MS)
            vector = source.reduce(lambda windows: at_instant(windows, LOOKBACK_MS), self.shared.meter, keep_name=True)
            return vector, np.broadcast_to(ends, vector.values.shape)
        values, present, times = newest_of(found, ends)
        vector = Vector(found.table, np.zeros(rows, np.bool_), values, present)
        if present.all():
            return Vector(vector.table, vector.drop, values), times
        alive = np.flatnonzero(present.any(axis=1))
        return vector.take(alive), times[alive]

    def ranges(self, node: n.Node) -> RangeVector:
        """Return the windows of a range selector or subquery."""
        node = n.strip_parens(node)
        bounds = self.shared.plan.bounds
        if isinstance(node, n.MatrixSelector):
            found, ends = self.shared.selection(node.vector), self.ends(node.vector)
            range_ms = bounds.milliseconds(node.range, positive=True)
            return RangeVector(found, np.zeros(len(found.table), np.bool_), ends, self.at, range_ms)
        assert isinstance(node, n.Subquery)  # noqa: S101  -- the parser has checked the types
        return self._subquery(node, self.ends(node), bounds.milliseconds(node.range, positive=True))

    def _subquery(self, node: n.Subquery, ends: Ints, range_ms: int) -> RangeVector:
        step = subquery_step(node, self.shared.plan.bounds)
        times = subquery_times(int(ends.min()), int(ends.max()), range_ms, step)
        self.shared.meter.points(len(times))
        if not len(times):
            return RangeVector(NOTHING, np.zeros(0, np.bool_), ends, self.at, range_ms)
        at = np.arange(times.start, times.stop, step, dtype=np.int64)
        value = Evaluator(self.shared, at).value(node.expr)
        vector = as_vector(value).live()
        frame = Frame(at[None, :], vector.values)
        if vector.present is not None:
            frame = frame.keeping(vector.present)
        return RangeVector(Selection(vector.table, ((None, frame),)), vector.drop, ends, self.at, range_ms)

    # -- aggregations ---------------------------------------------------------------------------------------------
    def _aggregate(self, node: n.Aggregate) -> Vector:
        vector = self.vector(node.expr)
        if node.param is None:
            if not len(vector):
                return Vector.empty(self.steps)
            return aggregate.reduced(node.op, aggregate.grouped(vector, node.by, node.names))
        if node.op == "count_values":
            return self._count_values(node, self.string(node.param), vector)
        return self._with_parameter(node, self.scalar(node.param), vector)

    def _count_values(self, node: n.Aggregate, label: str, vector: Vector) -> Vector:
        if not label or any("\ud800" <= char <= "\udfff" for char in label):
            raise EvaluationError(f'invalid label name "{_printable(label)}"')
        if not len(vector):
            return Vector.empty(self.steps)
        kept = node.by or label not in node.names
        groups = aggregate.grouped(vector, node.by, node.names)
        return aggregate.count_values(groups, label, kept, self.shared.meter)

    def _with_parameter(self, node: n.Aggregate, param: Floats, vector: Vector) -> Vector:
        if node.op == "quantile":
            for value in np.unique(param[~((param >= 0) & (param <= 1))]):
                self.shared.notes.invalid_quantile(float(value), node.param or node)
            if not len(vector):
                return Vector.empty(self.steps)
            return aggregate.quantile(aggregate.grouped(vector, node.by, node.names), param)
        if node.op == "limit_ratio":
            return sampled(vector, self._ratios(node, param))
        wanted = aggregate.whole_numbers(param)
        if wanted is None or not len(vector):
            return Vector.empty(self.steps)
        groups = aggregate.grouped(vector, node.by, node.names)
        if node.op == "limitk":
            return aggregate.limited(groups, wanted)
        return aggregate.ranked(groups, wanted, node.op == "topk")

    def _ratios(self, node: n.Aggregate, ratio: Floats) -> Floats:
        if np.isnan(ratio).any():
            raise EvaluationError("Ratio value is NaN")
        capped = np.clip(ratio, -1.0, 1.0)
        for value in np.unique(ratio[ratio != capped]):
            self.shared.notes.invalid_ratio(float(value), float(np.clip(value, -1, 1)), node.param or node)
        return capped


def newest_of(found: Selection, ends: Ints) -> tuple[Floats, Bools, Ints]:
    """Return value, presence and time (ms) of the newest sample of each series at each step, all (rows, steps)."""
    pieces = [(index, *_newest(frame, ends)) for index, frame in found.frames]
    if len(pieces) == 1 and pieces[0][0] is None:
        return pieces[0][1:]
    shape = (len(found.table), len(ends))
    values, present, times = np.zeros(shape), np.zeros(shape, np.bool_), np.zeros(shape, np.int64)
    for index, piece, known, stamps in pieces:
        place = slice(None) if index is None else index
        values[place], present[place], times[place] = piece, known, stamps
    return values, present, times


def _newest(frame: Frame, ends: Ints) -> tuple[Floats, Bools, Ints]:
    index = frame.search(ends, "right") - 1
    times = frame.times(index)
    known = (index >= 0) & (times > ends - LOOKBACK_MS)
    values = frame.at(index)
    if np.isnan(values).any():
        known = known & ~is_stale(values)
    return values, np.broadcast_to(known, values.shape), np.broadcast_to(times, values.shape)


def repeated(value: Value, steps: int) -> Value:
    """Return a value of one step as the same value at every step."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return np.repeat(value, steps)
    present = None if value.present is None else np.repeat(value.present, steps, axis=1)
    return Vector(value.table, value.drop, np.repeat(value.values, steps, axis=1), present)


#: The label set of vector(1), time() and the like.
NO_LABELS = Table.of([EMPTY])


def as_vector(value: Value) -> Vector:
    """Return a scalar as a vector of one series without labels; a vector as it is."""
    if isinstance(value, Vector):
        return value
    assert isinstance(value, np.ndarray)  # noqa: S101  -- the parser has checked the types
    return Vector.single(value, NO_LABELS)


def _printable(label: str) -> str:
    if is_label_name(label):
        return label
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in label)
