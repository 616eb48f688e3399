"""What a panel shows: its queries asked, its series named, reduced and put into columns for the browser.

Hides: how queries become lines, how many a reader can tell apart, how one number is made of a series.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring import query
from monitoring.charts import Span
from monitoring.dashboards.macros import Values, fill, windows
from monitoring.dashboards.spec import PanelSpec, QuerySpec, Step
from monitoring.promql import EMPTY, NAME, EvaluationError, Labels, ParseError, QueryError, Result

# More lines than this are a ball of wool; the busiest are kept and the rest is counted.
MAX_LINES = 30
MAX_NUMBERS = 24
#: The newest point may still be on its way.
RECENT_STEPS = 3
MAX_ROWS = 500
_LEGEND = re.compile(r"\{\{\s*([a-zA-Z_][\w.]*)\s*\}\}")


@dataclass(frozen=True)
class Line:
    """One series of an answer: what it is called, its labels, a value per step with NaN for gaps."""

    name: str
    labels: Labels
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Asked:
    """The answer to one query of a panel."""

    spec: QuerySpec
    answer: Result


def show(panel: PanelSpec, span: Span, values: Values) -> dict[str, Any]:
    """Return what the browser draws for a panel; the shape depends on its kind.

    Time series: {"x", "series": [{"name", "values", "labels"}], "note"?}. Stat and gauge: {"numbers": [{"name",
    "value", "severity", "spark", "labels"}], "x", "steps", "ended": series without a value now, "note"?}. Table:
    {"columns", "rows", "numbers": columns that are numbers, "note"?}. Raises QueryError with the letter of the query
    that failed.
    """
    if panel.kind == "table":
        return table(ask_instant(panel, span, values))
    if panel.kind in ("stat", "gauge"):
        return _numbers(panel, ask_range(panel, span, values))
    return columns(ask_range(panel, span, values))


def ask_range(panel: PanelSpec, span: Span, values: Values) -> list[Asked]:
    """Return the answers to a panel's queries at each step of a span; raises QueryError."""

    def ask(expr: str) -> Result:
        return query.range_(expr, span.start, span.end, span.step_seconds)

    return _ask(panel, span, values, ask)


def ask_instant(panel: PanelSpec, span: Span, values: Values) -> list[Asked]:
    """Return the answers to a panel's queries at the end of a span; raises QueryError."""
    return _ask(panel, span, values, lambda expr: query.instant(expr, span.end))


def _ask(panel: PanelSpec, span: Span, values: Values, ask: Callable[[str], Result]) -> list[Asked]:
    window = windows(span.start.timestamp(), span.end.timestamp(), span.step_seconds)
    found = []
    if not panel.queries:
        raise EvaluationError("This panel has no query yet; add one in its settings.")
    for place, spec in enumerate(panel.queries):
        expr = fill(spec.expr, values, window)
        try:
            found.append(Asked(QuerySpec(expr, fill(spec.legend, values, window, is_title=True)), ask(expr)))
        except QueryError as error:
            which = f"Query {letter(place)}: " if len(panel.queries) > 1 else ""
            raise _named(error, which) from error
    return found


def words_of(error: QueryError) -> str:
    """Return what is wrong with a query for the reader of a panel, with its place where it has one."""
    if isinstance(error, ParseError):
        return f"{error.message} (line {error.line}, column {error.column})"
    return str(error)


def letter(place: int) -> str:
    """Return how a panel's query is called: A, B, … Z, A26, …"""
    return chr(65 + place) if place < 26 else f"A{place}"


def _named(error: QueryError, which: str) -> QueryError:
    if isinstance(error, ParseError):
        return ParseError(which + error.message, error.line, error.column, error.caret_text)
    return EvaluationError(f"{which}{error}")


def columns(asked: Sequence[Asked], most: int = MAX_LINES) -> dict[str, Any]:
    """Return lines as columns: {"x": [unix seconds], "series": [{"name", "values", "labels"}], "note"?}."""
    lines = lines_of(asked)
    kept = _busiest(lines, most)
    x = [int(at) // 1000 for at in asked[0].answer.ts] if asked else []
    series = [{"name": one.name, "values": plain(one.values), "labels": one.labels.as_dict()} for one in kept]
    found: dict[str, Any] = {"x": x, "series": series}
    return _with_note(found, asked, f"{len(kept)} of {len(lines)} series, those with the highest values", kept, lines)


def table(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return instant answers as {"columns": [name], "rows": [[text or number]], "numbers": [place], "note"?}.

    Series of several queries with the same labels share a row, with a column of values a query, as Grafana's merge.
    """
    names: Counter[str] = Counter()
    rows: dict[Labels, list[float | None]] = {}
    for place, one in enumerate(asked):
        for labels, value in _instants(one.answer):
            shown = labels if len(asked) == 1 else labels.without(frozenset({NAME}))
            names.update(name for name, _ in shown)
            rows.setdefault(shown, [None] * len(asked))[place] = value
    labels_shown = sorted(names, key=lambda name: (name != NAME, -names[name], name))
    values_shown = [_heading(one.spec, place, len(asked)) for place, one in enumerate(asked)]
    body = [[*(labels.get(name) for name in labels_shown), *values] for labels, values in list(rows.items())[:MAX_ROWS]]
    titles = ["metric" if name == NAME else name for name in labels_shown]
    found: dict[str, Any] = {
        "columns": titles + values_shown, "rows": body, "numbers": [len(titles) + at for at in range(len(asked))],
    }  # fmt: skip
    return _with_note(found, asked, f"{len(body)} of {len(rows)} rows", body, list(rows))


def _heading(spec: QuerySpec, place: int, count: int) -> str:
    if spec.legend and not _LEGEND.search(spec.legend):
        return spec.legend
    return "value" if count == 1 else f"value {letter(place)}"


def _instants(answer: Result) -> list[tuple[Labels, float | None]]:
    if answer.type == "string":
        raise EvaluationError("The query answers with a text; a panel shows numbers.")
    if answer.raw:
        raise EvaluationError("The query selects a range; wrap it into a function such as rate(…).")
    rows = answer.labels or [EMPTY] * len(answer.values)
    return list(zip(rows, plain(answer.values), strict=False))


def _numbers(panel: PanelSpec, asked: Sequence[Asked]) -> dict[str, Any]:
    lines = [line for line in lines_of(asked) if np.isfinite(line.values).any()]
    ended = 0
    if panel.calculation == "last":
        # A machine that fell silent an hour ago must not stay green: what has no value now has no last one.
        living = [line for line in lines if np.isfinite(line.values[-RECENT_STEPS:]).any()]
        lines, ended = living, len(lines) - len(living)
    shown = lines[:MAX_NUMBERS]
    numbers = []
    for line in shown:
        value = reduced(line.values, panel.calculation)
        numbers.append({
            "name": line.name, "value": value, "severity": severity_of(value, panel.thresholds),
            "spark": plain(line.values), "labels": line.labels.as_dict(),
        })  # fmt: skip
    x = [int(at) // 1000 for at in asked[0].answer.ts] if asked else []
    steps = [asdict(step) for step in panel.thresholds]
    found: dict[str, Any] = {"numbers": numbers, "x": x, "steps": steps, "ended": ended}
    return _with_note(found, asked, f"{len(shown)} of {len(lines)} series", shown, lines)


def reduced(values: NDArray[np.float64], calculation: str) -> float | None:
    """Return one number of a series: its last, mean, min, max or sum; None when it has none. Gaps do not count."""
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    ways: dict[str, Callable[[NDArray[np.float64]], Any]] = {
        "mean": np.mean, "min": np.min, "max": np.max, "sum": np.sum,
    }  # fmt: skip
    return float(f"{float(ways[calculation](there) if calculation in ways else there[-1]):.8g}")


def severity_of(value: float | None, steps: Sequence[Step]) -> str:
    """Return what a value means: the severity of the highest step that it reaches, empty when there is none."""
    if value is None:
        return ""
    reached = [step for step in steps if step.value is None or value >= step.value]
    ordered = sorted(reached, key=lambda step: float("-inf") if step.value is None else step.value)
    return ordered[-1].severity if ordered else ""


def lines_of(asked: Sequence[Asked]) -> list[Line]:
    """Return the series of all answers, each with a name of its own."""
    found: list[Line] = []
    for one in asked:
        answer = one.answer
        rows = answer.labels or [EMPTY] * len(answer.values)
        # Infinities cannot be drawn, and JSON does not know them.
        values = np.where(answer.present & np.isfinite(answer.values), answer.values, np.nan)
        found += [Line(_name(one.spec, labels), labels, line) for labels, line in zip(rows, values, strict=True)]
    return _told_apart(found)


def _name(spec: QuerySpec, labels: Labels) -> str:
    """Return the legend template filled in, as Grafana does; without one the labels, without labels the query."""
    if not spec.legend or spec.legend == "__auto":
        return str(labels) if len(labels) else spec.expr
    text = _LEGEND.sub(lambda match: labels.get(match[1]), spec.legend)
    return " ".join(text.split()) or str(labels)


def _told_apart(lines: list[Line]) -> list[Line]:
    """Give lines of the same name the labels in which they differ, so that a legend does not say one name twice."""
    same: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        same.setdefault(line.name, []).append(place)
    for name, places in same.items():
        if len(places) < 2:
            continue
        rows = [lines[place].labels.as_dict() for place in places]
        every = sorted({label for row in rows for label in row})
        differing = [label for label in every if len({row.get(label) for row in rows}) > 1]
        for number, (place, row) in enumerate(zip(places, rows, strict=True), 1):
            # Two queries may answer with the same labels; then only a number is left to tell them apart.
            more = " ".join(dict.fromkeys(row[label] for label in differing if label in row)) or str(number)
            lines[place] = Line(f"{name} {more}", lines[place].labels, lines[place].values)
    return lines


def _busiest(lines: list[Line], most: int) -> list[Line]:
    """Return the lines with the highest peaks, in their old order; lines without any value are left out."""
    lines = [line for line in lines if np.isfinite(line.values).any()]
    if len(lines) <= most:
        return lines
    ranked = sorted(range(len(lines)), key=lambda place: -np.nanmax(lines[place].values))[:most]
    return [lines[place] for place in sorted(ranked)]


def plain(values: NDArray[np.float64]) -> list[float | None]:
    """Return JSON numbers of six digits; NaN and infinities are None, a gap."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values.tolist()]


def _with_note(
    found: dict[str, Any], asked: Sequence[Asked], cut: str, kept: Sequence[object], every: Sequence[object]
) -> dict[str, Any]:
    """Add what the reader must know: that something was left out, and PromQL's own warnings."""
    told = list(dict.fromkeys(warning for one in asked for warning in one.answer.warnings))
    empty = sum(1 for line in every if isinstance(line, Line) and not np.isfinite(line.values).any())
    notes = [cut, *told] if len(kept) < len(every) - empty else told
    return {**found, "note": " · ".join(notes)} if notes else found
