"""The one door for questions: PromQL over whatever holds the samples, within limits.

Hides which backend answers and how a runaway question is stopped: the evaluator counts samples and time, and the
database gets the same time limit for its part.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from . import promql, store
from .promql import NAME, Block, Labels, Limits, Matcher, ParseError, Result, Select
from .remote import Remote
from .store import shared_select

DEFAULT_SUGGESTIONS = 3


class Backend(Protocol):
    """What can hold samples: the store, or a Prometheus-compatible server behind the same calls."""

    # Each call is described where the store implements it.
    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the samples of all matching series (promql.Select)."""

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """Return the sorted label sets of the matching series."""

    def label_names(self, matchers: Sequence[Matcher], start_ms: int | None, end_ms: int | None) -> list[str]:
        """Return the sorted label names of the matching series."""

    def label_values(
        self, name: str, matchers: Sequence[Matcher], start_ms: int | None, end_ms: int | None
    ) -> list[str]:
        """Return the sorted values of a label among the matching series."""

    def metric_names(self) -> list[str]:
        """Return the sorted names of all metrics."""


@dataclass(frozen=True)
class Check:
    """What can be said of an expression without evaluating it.

    ``unknown`` maps each metric name that nothing has ever sent to the most similar names that exist.
    """

    ok: bool
    error: ParseError | None = None
    type: str = ""
    unknown: dict[str, tuple[str, ...]] = field(default_factory=dict)


def _backend() -> Backend:
    return remote_backend() or store


def remote_backend(timeout_seconds: float | None = None) -> Remote | None:
    """Return the server that holds the samples in place of the store (ALPHAQ_METRICS_URL), None without one."""
    env = settings.ENV
    return _remote(env.metrics_url, timeout_seconds or env.query_timeout_seconds) if env.metrics_url else None


_remote = lru_cache(maxsize=4)(Remote)


def _within(result: Result, limits: Limits) -> Result:
    """Return an answer of the server unless it has more series than one may have; raises LimitError."""
    if len(result.labels) > limits.max_series:
        asked = len(result.labels)
        raise promql.LimitError("max_series", limits.max_series, asked, "too many series", "ask for fewer series")
    return result


def _check_steps(start_ms: int, end_ms: int, step_ms: int, limits: Limits) -> None:
    """Refuse what the evaluator would refuse, before the server works on it; raises QueryError."""
    if step_ms <= 0:
        raise promql.EvaluationError("zero or negative query resolution step widths are not accepted")
    if end_ms < start_ms:
        raise promql.EvaluationError("end timestamp must not be before start time")
    steps = (end_ms - start_ms) // step_ms + 1
    if steps > limits.max_steps:
        raise promql.LimitError("max_steps", limits.max_steps, steps, "too many steps", "use a larger step")


def _once_each(select: Select) -> Select:
    """Return a Select that asks for the same samples once: rules of one slot share them."""
    known: dict[tuple[tuple[Matcher, ...], int, int], Sequence[Block]] = {}

    def ask(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        key = tuple(matchers), start_ms, end_ms
        if key not in known:
            known[key] = select(matchers, start_ms, end_ms)
        return known[key]

    return ask


def default_limits() -> Limits:
    """Return what one question may ask for: ALPHAQ_QUERY_MAX_STEPS, _MAX_SAMPLES, _MAX_SERIES and _TIMEOUT."""
    env = settings.ENV
    return Limits(
        max_steps=env.query_max_steps,
        max_samples=env.query_max_samples,
        max_series=env.query_max_series,
        timeout_seconds=env.query_timeout_seconds,
    )


def to_ms(at: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch; raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone")
    return round(at.timestamp() * 1000)


def instant(
    expr: str | promql.Query, at: datetime, *, select: Select | None = None, limits: Limits | None = None
) -> Result:
    """Return the answer to an expression at one time; raises QueryError (ParseError, EvaluationError, LimitError).

    A `select` that is given bounds its own reading, as that of `for_slot` does.
    """
    limits = limits or default_limits()
    if select is None and (server := remote_backend()):
        parsed = promql.parse(expr) if isinstance(expr, str) else expr
        return _within(server.instant(parsed.text, to_ms(at)), limits)
    with _time_limit(limits) if select is None else nullcontext():
        return promql.instant(expr, to_ms(at), select or _backend().select, limits)


def range_(
    expr: str | promql.Query,
    start: datetime,
    end: datetime,
    step_seconds: float,
    *,
    select: Select | None = None,
    limits: Limits | None = None,
) -> Result:
    """Return the answer to an expression at each step from start to end; raises QueryError."""
    limits = limits or default_limits()
    step_ms = round(step_seconds * 1000)
    if select is None and (server := remote_backend()):
        parsed = promql.parse(expr) if isinstance(expr, str) else expr
        _check_steps(to_ms(start), to_ms(end), step_ms, limits)
        return _within(server.range_(parsed.text, to_ms(start), to_ms(end), step_ms), limits)
    with _time_limit(limits) if select is None else nullcontext():
        return promql.range_(expr, to_ms(start), to_ms(end), step_ms, select or _backend().select, limits)


def for_slot(at: datetime, limits: Limits | None = None) -> Select:
    """Return a Select for all rules of one slot: each distinct selector is read once, recent samples from memory.

    What must be read from tables is read in a savepoint with a time limit: a rule that asks for too much fails alone.
    """
    if server := remote_backend():
        return _once_each(server.select)
    reader, allowed = shared_select(to_ms(at)), limits or default_limits()

    def select(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        found = reader.from_memory(matchers, start_ms, end_ms)
        if found is not None:
            return found
        with _savepoint_limit(allowed):
            return reader(matchers, start_ms, end_ms)

    return select


def read_once(matchers: Sequence[Matcher], start: datetime, end: datetime) -> Select:
    """Return a Select over what one reading gave, for several questions about the same series and time.

    Questions about anything else find nothing. Raises LimitError when reading takes too long.
    """
    with _time_limit(default_limits()):
        blocks = _backend().select(matchers, to_ms(start), to_ms(end))
    named = [_by_name(block) for block in blocks]

    def select(wanted: Sequence[Matcher], _start_ms: int, _end_ms: int) -> list[Block]:
        found = []
        for block, names in zip(blocks, named, strict=True):
            if places := _places(block, names, wanted):
                labels = tuple(block.labels[place] for place in places)
                found.append(Block(labels, block.ts, block.values[places]))
        return found

    return select


def _by_name(block: Block) -> dict[str, list[int]]:
    names: dict[str, list[int]] = defaultdict(list)
    for place, labels in enumerate(block.labels):
        names[labels.get(NAME)].append(place)
    return names


def _places(block: Block, names: dict[str, list[int]], wanted: Sequence[Matcher]) -> list[int]:
    """Return which series of a block satisfy the matchers; a name is looked at once for all series that have it."""
    of_name = [one for one in wanted if one.name == NAME]
    others = [one for one in wanted if one.name != NAME]
    there = [place for name, places in names.items() if all(one.matches(name) for one in of_name) for place in places]
    return [place for place in there if all(one.matches(block.labels[place].get(one.name)) for one in others)]


def check(expr: str) -> Check:
    """Say whether an expression is PromQL, of which type, and which of its metrics nobody has ever sent."""
    try:
        parsed = promql.parse(expr)
    except ParseError as error:
        return Check(ok=False, error=error)
    names = parsed.metric_names()
    known = _backend().metric_names() if names else []
    there = set(known)
    unknown = {
        name: tuple(difflib.get_close_matches(name, known, DEFAULT_SUGGESTIONS)) for name in names if name not in there
    }
    return Check(ok=True, type=parsed.type, unknown=unknown)


def series(matchers: Sequence[Matcher], start: datetime, end: datetime) -> list[Labels]:
    """Return the sorted label sets that satisfy the matchers and had samples in a time range."""
    return _backend().series(matchers, to_ms(start), to_ms(end))


def label_names(
    matchers: Sequence[Matcher] = (), start: datetime | None = None, end: datetime | None = None
) -> list[str]:
    """Return the sorted label names of the matching series."""
    return _backend().label_names(matchers, _ms(start), _ms(end))


def label_values(
    name: str, matchers: Sequence[Matcher] = (), start: datetime | None = None, end: datetime | None = None
) -> list[str]:
    """Return the sorted values of a label among the matching series."""
    return _backend().label_values(name, matchers, _ms(start), _ms(end))


def metric_names() -> list[str]:
    """Return the sorted names of all metrics that are stored."""
    return _backend().metric_names()


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)


@contextmanager
def _time_limit(limits: Limits) -> Iterator[None]:
    """Bound every statement of a question; raises LimitError when the database was the slow part."""
    _set_statement_timeout(limits.timeout_seconds)
    try:
        yield
    except DatabaseError as error:
        # Inside a transaction its rollback undoes the setting, and nothing else may be sent before it.
        if not connection.in_atomic_block and connection.connection is not None and connection.is_usable():
            _set_statement_timeout(0)
        raise _as_limit(error, limits) from error
    except BaseException:
        _set_statement_timeout(0)
        raise
    else:
        _set_statement_timeout(0)


@contextmanager
def _savepoint_limit(limits: Limits) -> Iterator[None]:
    """Bound the statements of one read inside whatever transaction there is; raises LimitError."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "select set_config('statement_timeout', %s, true)", [str(round(limits.timeout_seconds * 1000))]
            )
            yield
            cursor.execute("select set_config('statement_timeout', '0', true)")
    except DatabaseError as error:
        raise _as_limit(error, limits) from error


def _as_limit(error: DatabaseError, limits: Limits) -> Exception:
    """The error as a LimitError when the time limit of the database caused it, else itself."""
    if getattr(error.__cause__, "pgcode", "") != "57014":  # query_canceled
        return error
    remedy = "ask for less, or raise timeout_seconds"
    return promql.LimitError("timeout_seconds", limits.timeout_seconds, None, "reading took too long", remedy)


def _set_statement_timeout(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select set_config('statement_timeout', %s, false)", [str(round(seconds * 1000))])
