"""How much memory a block or a function takes, line by line, by the standard library's tracemalloc.

Tracing slows Python down two to four times and is on only inside a profile. It sees what Python and numpy allocate,
not what CUDA or a C library takes by itself, and all threads of the process.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_HIDDEN = (tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__))


@dataclass(frozen=True, slots=True)
class AllocatedLine:
    """A line of code and what it allocated inside the profile that is still held at its end."""

    file: str
    line: int
    held_bytes: int
    blocks: int


@dataclass(frozen=True, slots=True)
class MemoryProfile:
    """One run of a profiled block.

    `peak_bytes` is the most that was held above the start, `held_bytes` what was left at the end (negative when more
    was freed than allocated), `lines` the largest first.
    """

    name: str
    seconds: float
    peak_bytes: int
    held_bytes: int
    lines: tuple[AllocatedLine, ...]

    def __str__(self) -> str:
        """Return the profile as lines of text for a terminal or a log."""
        sizes = f"peak {_size(self.peak_bytes)}, held {_size(self.held_bytes)} at the end"
        head = f"{self.name}: {sizes}, {self.seconds:.3f} s"
        rows = [f"{_size(line.held_bytes):>12} {line.blocks:9,} blocks  {line.file}:{line.line}" for line in self.lines]
        return "\n".join([head, *rows])


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if abs(count) >= 2**20 else f"{count / 2**10:,.1f} KiB"


def _to_stderr(profile: MemoryProfile) -> None:
    sys.stderr.write(f"{profile}\n")


class profile_memory:
    """Profiles the memory of a block (`with`), or of every call of a plain or async function (decorator).

    `report` gets the MemoryProfile at the end, also when the block raised; the default writes it to standard error.
    Inside `with … as profile` the finished one is `profile.result`. Profiles may be nested and overlap.
    """

    def __init__(self, name: str = "", top: int = 10, report: Callable[[MemoryProfile], None] = _to_stderr) -> None:
        self._name, self._top, self._report = name, top, report
        self.result: MemoryProfile | None = None

    def __enter__(self) -> profile_memory:
        """Begin to trace."""
        self._mark = _tracing.begin()
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the trace and report."""
        seconds = time.perf_counter() - self._started
        try:
            peak_bytes, held_bytes = _tracing.measure(self._mark)
            lines = _lines(self._mark.before, tracemalloc.take_snapshot(), self._top)
        finally:
            _tracing.end(self._mark)
        self.result = MemoryProfile(self._name or "block", seconds, peak_bytes, held_bytes, lines)
        self._report(self.result)

    def __call__(self, function: Function) -> Function:
        """Return the function with each call profiled on its own; raises TypeError for a generator function."""
        name = self._name or getattr(function, "__qualname__", type(function).__qualname__)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} is a generator: it allocates while it is read; profile the block that reads it")

        @functools.wraps(function)
        def plain(*args: Any, **kwargs: Any) -> Any:
            with profile_memory(name, self._top, self._report):
                # Kept until the profile has ended: what is returned belongs to what the call allocated.
                result = function(*args, **kwargs)
            return result  # noqa: RET504

        @functools.wraps(function)
        async def waiting(*args: Any, **kwargs: Any) -> Any:
            with profile_memory(name, self._top, self._report):
                result = await function(*args, **kwargs)
            return result  # noqa: RET504

        return cast(Function, waiting if inspect.iscoroutinefunction(function) else plain)


@dataclass(eq=False, slots=True)
class _Mark:
    """Where one profile began, and the highest use seen since then."""

    before: tracemalloc.Snapshot
    start_bytes: int
    peak_bytes: int


class _Tracing:
    """Switches tracemalloc on for the first profile and off after the last; keeps peaks apart for nested ones.

    tracemalloc knows one peak a process; whoever sets it back first hands it to all profiles that are open.
    """

    def __init__(self) -> None:
        self._open: list[_Mark] = []
        self._is_ours = False
        self._lock = threading.Lock()

    def begin(self) -> _Mark:
        """Return the mark of a new profile."""
        with self._lock:
            if not tracemalloc.is_tracing():
                tracemalloc.start()
                self._is_ours = True
            before = tracemalloc.take_snapshot()  # first: its own memory is traced as well
            self._note_peak()
            tracemalloc.reset_peak()
            now = tracemalloc.get_traced_memory()[0]
            mark = _Mark(before, now, now)
            self._open.append(mark)
            return mark

    def measure(self, mark: _Mark) -> tuple[int, int]:
        """Return (peak, held) in bytes above the start of a profile."""
        with self._lock:
            now, _ = tracemalloc.get_traced_memory()
            self._note_peak()
            return mark.peak_bytes - mark.start_bytes, now - mark.start_bytes

    def end(self, mark: _Mark) -> None:
        """Forget a profile; after the last one nothing is traced any more."""
        with self._lock:
            self._open.remove(mark)
            if not self._open and self._is_ours:
                tracemalloc.stop()
                self._is_ours = False

    def _note_peak(self) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        for mark in self._open:
            mark.peak_bytes = max(mark.peak_bytes, peak)


_tracing = _Tracing()


def _lines(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, top: int) -> tuple[AllocatedLine, ...]:
    changes = after.filter_traces(_HIDDEN).compare_to(before.filter_traces(_HIDDEN), "lineno")
    grown = sorted((change for change in changes if change.size_diff > 0), key=lambda change: -change.size_diff)
    return tuple(
        AllocatedLine(change.traceback[0].filename, change.traceback[0].lineno, change.size_diff, change.count_diff)
        for change in grown[:top]
    )
