"""What expressions evaluate to: vectors of series over steps, beside scalars (one number a step) and strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import EvaluationError
from .labels import METADATA
from .tables import EMPTY_TABLE, Table, concatenate
from .values import Bools, Floats, Ints

SAME_LABELS = "vector cannot contain metrics with the same labelset"


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """Series over steps: ``values`` (rows, steps); ``present`` likewise, None when every cell holds a value.

    ``drop`` (rows,) marks series whose name is to go at the end (Prometheus 3, delayed name removal): a function has
    changed what the metric is, but aggregations and matching in between may still ask for the name.
    """

    table: Table
    drop: Bools
    values: Floats
    present: Bools | None = None

    @staticmethod
    def empty(steps: int) -> Vector:
        """Return a vector without series."""
        return Vector(EMPTY_TABLE, np.zeros(0, np.bool_), np.zeros((0, steps)))

    @staticmethod
    def single(values: Floats, table: Table, present: Bools | None = None) -> Vector:
        """Return a vector of one series from its values (steps,)."""
        return Vector(table, np.zeros(1, np.bool_), values[None, :], None if present is None else present[None, :])

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.values)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return int(self.values.shape[1])

    @property
    def mask(self) -> Bools:
        """Where there are values, as an array in any case."""
        return np.ones(self.values.shape, np.bool_) if self.present is None else self.present

    def take(self, rows: Ints) -> Vector:
        """Return some series in the given order."""
        present = None if self.present is None else self.present[rows]
        return Vector(self.table.take(rows), self.drop[rows], self.values[rows], present)

    def live(self) -> Vector:
        """Return the vector without series that have no value at all, its mask None when nothing is missing."""
        if self.present is None:
            return self
        alive = self.present.any(axis=1)
        kept = self if alive.all() else self.take(np.flatnonzero(alive))
        if kept.present is not None and kept.present.all():
            return Vector(kept.table, kept.drop, kept.values)
        return kept

    def with_values(self, values: Floats) -> Vector:
        """Return the same series with other values, their names to be dropped."""
        return Vector(self.table, np.ones(len(self.values), np.bool_), values, self.present)

    def filtered(self, keep: Bools) -> Vector:
        """Return the vector with only the cells in ``keep``, dead series gone."""
        present = keep if self.present is None else self.present & keep
        return Vector(self.table, self.drop, self.values, present).live()

    def cleaned(self) -> Vector:
        """Return the vector with the names dropped that are marked so; raise when series then coincide at a step."""
        if not len(self.values):
            return self
        if self.drop.all():
            table = self.table.without(METADATA)
        elif self.drop.any():
            flags = self.drop.tolist()
            rows = self.table.labels()
            table = Table.of([row.without(METADATA) if flag else row for row, flag in zip(rows, flags, strict=True)])
        else:
            table = self.table
        return merged(Vector(table, np.zeros(len(self.values), np.bool_), self.values, self.present))


def merged(vector: Vector, message: str = SAME_LABELS, together: bool = False) -> Vector:
    """Return the vector with equal label sets as one series; raise EvaluationError where two have a value at a step.

    ``together`` first removes series without any value, which cannot be in each other's way.
    """
    if vector.table.unique:
        return vector
    if together:
        vector = vector.live()
    ids = vector.table.ids
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=-1))
    mask = vector.mask[order]
    if (np.add.reduceat(mask, starts, axis=0, dtype=np.int64) > 1).any():
        raise EvaluationError(message)
    cells = np.where(mask, vector.values[order], 0.0)
    present = np.logical_or.reduceat(mask, starts, axis=0)
    # At most one of the summed cells is not zero; -0.0 and NaN survive a sum with zero but for the sign of -0.0.
    values = np.add.reduceat(cells, starts, axis=0)
    first = order[starts]
    rows = np.argsort(first, kind="stable")
    return Vector(vector.table.take(first[rows]), vector.drop[first[rows]], values[rows], present[rows])


def stacked(vectors: Sequence[Vector], steps: int) -> Vector:
    """Return one vector with the series of all."""
    parts = [vector for vector in vectors if len(vector)]
    if not parts:
        return Vector.empty(steps)
    if len(parts) == 1:
        return parts[0]
    full = all(part.present is None for part in parts)
    return Vector(
        concatenate([part.table for part in parts]),
        np.concatenate([part.drop for part in parts]),
        np.concatenate([part.values for part in parts]),
        None if full else np.concatenate([part.mask for part in parts]),
    )
