"""What goes in and comes out: stale markers, blocks of samples, results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .labels import Labels
from .matchers import Matcher

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Prometheus' stale marker (model/value/value.go StaleNaN); only its bits tell it from any other NaN.
STALE_BITS = 0x7FF0000000000002
STALE_NAN: float = float(np.array([STALE_BITS], dtype=np.uint64).view(np.float64)[0])


def is_stale(values: Floats) -> Bools:
    """Return where ``values`` (any shape) hold the stale marker, told by its bits."""
    bits: Bools = np.ascontiguousarray(values).view(np.uint64) == STALE_BITS
    return bits


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Samples of several series that share their timestamps.

    ``ts``: int64 milliseconds, shape (n,), strictly increasing. ``values``: float64, shape (len(labels), n), with
    STALE_NAN where a series has no sample at that time. Nothing here is ever written to. Work on labels is kept from
    query to query; it is found at once when ``labels`` is the same tuple each time, else by comparing the rows.
    """

    labels: Sequence[Labels]
    ts: Ints
    values: Floats


#: ``select(matchers, start_ms, end_ms)``: all matching series, samples with start_ms <= t <= end_ms. More time than
#: asked is fine; a series may come in several blocks, whose times may even overlap (the later block wins).
Select = Callable[[Sequence[Matcher], int, int], Sequence[Block]]


@dataclass(frozen=True, slots=True)
class RawSeries:
    """The samples of one series as they were stored: the answer to an instant query of a range selector."""

    labels: Labels
    ts: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Stats:
    """What an evaluation cost: samples read from storage, series read, wall time in seconds."""

    samples: int = 0
    series: int = 0
    wall_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Result:
    """The answer to a query.

    ``type`` is "vector", "matrix", "scalar" or "string". An instant vector has ``values`` (n,), ``ts`` (1,) the
    evaluation time; a range query has ``values`` and ``present`` (n, steps), ``ts`` (steps,). A scalar has
    ``values`` (1,), or in a range query comes as a matrix of one series. An instant query of a range selector is a
    "matrix" with ``raw`` filled. An instant vector keeps the order of sort() and topk(); a matrix is sorted by labels.
    """

    type: str
    labels: list[Labels]
    ts: Ints
    values: Floats
    present: Bools
    string: str = ""
    raw: list[RawSeries] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    stats: Stats = Stats()

    @property
    def scalar(self) -> float:
        """The value of a scalar answer."""
        return float(self.values[0])

    def points(self, row: int) -> tuple[Ints, Floats]:
        """Return times (ms) and values of one series of a matrix, gaps left out."""
        if self.raw:
            return self.raw[row].ts, self.raw[row].values
        keep = self.present[row]
        return self.ts[keep], self.values[row][keep]
