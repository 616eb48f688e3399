"""Questions that need no PromQL: a metric, what of it, over which time, put together how; to PromQL and back.

What `read` returns, `write` says again with the same meaning; a question that says more is left to PromQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from alerts.engine.durations import parse_duration
from monitoring.promql import NAME, Matcher, ParseError, Query, nodes, parse, parse_matchers, printer, split_condition

#: What of the metric: the word of the form, and how people read it.
MEASURES = {
    "": "the value",
    "avg_over_time": "the average over time",
    "max_over_time": "the highest over time",
    "min_over_time": "the lowest over time",
    "rate": "the increase per second (of a counter)",
    "increase": "the increase (of a counter)",
    "p50": "the median (of a histogram)",
    "p90": "the 90th percentile (of a histogram)",
    "p95": "the 95th percentile (of a histogram)",
    "p99": "the 99th percentile (of a histogram)",
}
AGGREGATIONS = {
    "": "for each series",
    "sum": "added up",
    "avg": "on average",
    "max": "the highest of all",
    "min": "the lowest of all",
    "count": "how many series",
}
_SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_BUCKET = "_bucket"


class SimpleError(ValueError):
    """What was chosen makes no question; `field` is the form's field to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Simple:
    """One simple question; `operator` and `limit` only when the condition is part of it (no threshold rows)."""

    metric: str
    matchers: tuple[Matcher, ...] = ()
    measure: str = ""
    window_seconds: float = 0.0
    aggregation: str = ""
    by: tuple[str, ...] = ()
    operator: str = ""
    limit: float | None = None

    @property
    def filter_text(self) -> str:
        """The matchers as people type them, without braces."""
        return ", ".join(map(str, self.matchers))


def typed(
    metric: str, filter_text: str = "", measure: str = "", window: str = "", aggregation: str = "", by: str = ""
) -> Simple:
    """The question of a form's fields; raises SimpleError with the field that is wrong."""
    if not metric.strip():
        raise SimpleError("metric", "Choose a metric.")
    if measure not in MEASURES or aggregation not in AGGREGATIONS:
        raise SimpleError("measure", "Choose what of the metric counts from the list.")
    made = Simple(_name(metric), _matchers(filter_text), measure, _window(measure, window))
    names = tuple(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    if measure in _SHARES:
        if not made.metric.endswith(_BUCKET):
            raise SimpleError("metric", "A percentile needs the buckets of a histogram: a metric that ends in _bucket.")
        made = replace(made, by=tuple(name for name in names if name != "le"))
    elif aggregation:
        made = replace(made, aggregation=aggregation, by=names)
    elif names:
        raise SimpleError("aggregation", "Say how series of one group are put together: added up, the highest …")
    _check(made)
    return made


def write(simple: Simple) -> str:
    """The question in PromQL."""
    selector = nodes.VectorSelector(simple.metric, (Matcher("=", NAME, simple.metric), *simple.matchers))
    text = printer.to_text(_aggregated(simple, _measured(simple, selector)))
    return text if simple.limit is None else f"{text} {simple.operator} {printer.number_text(simple.limit)}"


def read(query: Query) -> Simple | None:
    """The simple question that a query asks, None when it says more than the form can show."""
    condition = split_condition(query)
    root = parse(condition.value).root if condition else query.root
    found = _quantile(nodes.strip_parens(root)) or _plain(nodes.strip_parens(root))
    if found is None or condition is None:
        return found
    return replace(found, operator=condition.operator, limit=condition.number)


def _measured(simple: Simple, selector: nodes.VectorSelector) -> nodes.Node:
    if not simple.measure:
        return selector
    window = nodes.MatrixSelector(selector, nodes.Duration(simple.window_seconds))
    return nodes.Call("rate" if simple.measure in _SHARES else simple.measure, [window])


def _aggregated(simple: Simple, measured: nodes.Node) -> nodes.Node:
    share = _SHARES.get(simple.measure)
    if share is not None:
        buckets = nodes.Aggregate("sum", measured, names=("le", *simple.by))
        return nodes.Call("histogram_quantile", [nodes.Number(share), buckets])
    return nodes.Aggregate(simple.aggregation, measured, names=simple.by) if simple.aggregation else measured


def _quantile(node: nodes.Node) -> Simple | None:
    """`histogram_quantile(0.95, sum by (le, model_name) (rate(x_bucket[5m])))`."""
    match node:
        case nodes.Call(
            func="histogram_quantile",
            args=[nodes.Number() as share, nodes.Aggregate(op="sum", param=None, by=True, names=names, expr=inner)],
        ) if "le" in names:
            measure = next((name for name, value in _SHARES.items() if value == share.value), "")
            found = _of_window(nodes.strip_parens(inner))
            if measure and found and found.measure == "rate" and found.metric.endswith(_BUCKET):
                return replace(found, measure=measure, by=tuple(name for name in names if name != "le"))
    return None


def _plain(node: nodes.Node) -> Simple | None:
    match node:
        case nodes.Aggregate(op=op, param=None, by=True, names=names, expr=inner) if op in AGGREGATIONS:
            found = _of_window(nodes.strip_parens(inner))
            return replace(found, aggregation=op, by=names) if found else None
    return _of_window(node)


def _of_window(node: nodes.Node) -> Simple | None:
    match node:
        case nodes.VectorSelector():
            return _of_selector(node)
        case nodes.Call(func=func, args=[nodes.MatrixSelector(vector=vector, range=length)]) if (
            func in MEASURES and length.expr is None
        ):
            found = _of_selector(vector)
            return replace(found, measure=func, window_seconds=length.seconds) if found else None
    return None


def _of_selector(node: nodes.VectorSelector) -> Simple | None:
    if not node.name or node.offset or node.at or node.mode:
        return None
    rest = tuple(one for one in node.matchers if one != Matcher("=", NAME, node.name))
    return None if any(one.name == NAME for one in rest) else Simple(node.name, rest)


def _name(text: str) -> str:
    """A metric's name; braces belong into the field beside it."""
    try:
        found = read(parse(text.strip()))
    except ParseError as error:
        raise SimpleError("metric", f"{text.strip()!r} is no name of a metric: {error.message}") from error
    if found is None or found != Simple(found.metric):
        raise SimpleError("metric", "Give the name of a metric alone; more than that is for PromQL.")
    return found.metric


def _matchers(text: str) -> tuple[Matcher, ...]:
    try:
        found = parse_matchers("{" + text.strip().removeprefix("{").removesuffix("}") + "}") if text.strip() else ()
    except ParseError as error:
        raise SimpleError("filter", f'{error.message}. Write it like host="ana", model_name=~"ranker.*".') from error
    if any(one.name == NAME for one in found):
        raise SimpleError("filter", "The metric is chosen beside it; filter by its labels.")
    return found


def _window(measure: str, text: str) -> float:
    if not measure:
        return 0.0
    try:
        seconds = parse_duration(text.strip())
    except ValueError as error:
        raise SimpleError("window", f"Give the time as 5m or 1h: {error}") from error
    if seconds <= 0:
        raise SimpleError("window", "Give a time such as 5m.")
    return seconds


def _check(simple: Simple) -> None:
    """A name of a label may still be none."""
    try:
        parse(write(simple))
    except ParseError as error:
        raise SimpleError("by", f"Give names of labels with commas between them: {error.message}") from error
