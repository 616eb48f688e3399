"""Lint of an expression: functions that do not fit a metric's type, windows too short, selectors that match nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from alerts.engine.durations import format_duration
from alerts.engine.findings import Facts, Finding, Level
from alerts.engine.units import Quantity, unit_of_metric
from monitoring.promql import Matcher, Query, nodes
from monitoring.promql.metric_names import lint_name

_RATES = frozenset({"rate", "irate", "increase"})
# Functions and aggregations under which a raw counter's height does no harm.
_HEIGHT_FREE = frozenset({"absent", "absent_over_time", "timestamp", "count_over_time", "present_over_time", "changes"})
_COUNTER_FUNCTIONS = _RATES | _HEIGHT_FREE | {"resets", "delta", "idelta", "deriv"}
_COUNTING = frozenset({"count", "group", "count_values"})
_SET_OPERATORS = frozenset({"and", "unless"})
_SERIES_SUFFIXES = ("_bucket", "_sum", "_count")
_GAUGE_LIKE = frozenset({Quantity.PERCENT, Quantity.RATIO, Quantity.CELSIUS, Quantity.TIMESTAMP})


@dataclass(frozen=True, slots=True)
class _Use:
    """One selector, the functions and aggregations over it from the outside in, its range in seconds or None."""

    selector: nodes.VectorSelector
    name: str
    over: tuple[str, ...]
    range_seconds: float | None

    @property
    def has_rate(self) -> bool:
        return bool(_RATES.intersection(self.over))


def lint_expr(query: Query, facts: Facts) -> list[Finding]:
    """Return the findings about the expression."""
    if query.type not in ("vector", "scalar"):
        text = f"the expression gives a {nodes.DOCUMENTED[query.type]}; a rule needs an instant vector or a scalar"
        return [Finding("wrong-type", Level.ERROR, text, line=1, column=1)]
    found: list[Finding] = []
    for use in _uses(query.root, (), None):
        found += _lint_use(use, query, facts)
    for node in nodes.walk(query.root):
        found += _lint_node(node, query.text)
    if facts.series is not None and not facts.series:
        message = "the expression returns no series now: it cannot tell a healthy state from a wrong name"
        found.append(Finding("matches-nothing", Level.WARNING, message, line=1, column=1))
    # Two checks may see one fault; the first one says more.
    return list({(finding.code, finding.line, finding.column): finding for finding in reversed(found)}.values())[::-1]


def _uses(node: nodes.Node, over: tuple[str, ...], range_seconds: float | None) -> Iterator[_Use]:
    match node:
        case nodes.VectorSelector():
            named = (matcher.value for matcher in node.matchers if matcher.name == "__name__" and matcher.op == "=")
            yield _Use(node, node.name or next(named, ""), over, range_seconds)
        case nodes.MatrixSelector():
            yield from _uses(node.vector, over, node.range.seconds if node.range.expr is None else None)
        case nodes.Call():
            for arg in node.args:
                yield from _uses(arg, (*over, node.func), range_seconds)
        case nodes.Aggregate():
            yield from _uses(node.expr, (*over, node.op), range_seconds)
        case nodes.Binary(op=op) if op in _SET_OPERATORS:
            yield from _uses(node.lhs, over, range_seconds)
            # Of the right side only the labels count.
            yield from _uses(node.rhs, (*over, "group"), range_seconds)
        case _:
            for child in node.children():
                yield from _uses(child, over, range_seconds)


def _at(code: str, level: Level, message: str, text: str, offset: int, suggestion: str = "") -> Finding:
    line, column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
    return Finding(code, level, message, "expr", line, column, suggestion)


def _replaced(text: str, node: nodes.Node, better: str) -> str:
    return text[: node.pos] + better + text[node.end :]


def _lint_use(use: _Use, query: Query, facts: Facts) -> Iterator[Finding]:
    text = query.text
    kind = (facts.metric_types or {}).get(use.name, "")
    yield from _naming(use, text, kind, facts)
    yield from _contradiction(use, text)
    if _is_bare_histogram(use, facts):
        yield _bare_histogram(use, text, facts)
        return
    yield from _unknown_metric(use, query, facts)
    yield from _unknown_label(use, text, facts)
    if use.has_rate:
        yield from _rate_of_gauge(use, text, kind)
        yield from _short_range(use, text, facts)
    else:
        yield from _raw_counter(use, text, kind, facts)


def _is_bare_histogram(use: _Use, facts: Facts) -> bool:
    """A histogram has no series of its own name, only _bucket, _sum and _count; asking for that name finds nothing."""
    types = facts.metric_types
    if types is None or not use.name or use.name.endswith(_SERIES_SUFFIXES):
        return False
    if f"{use.name}_bucket" not in types and types.get(use.name) != "histogram":
        return False
    return types.get(use.name, "histogram") == "histogram"


def _bare_histogram(use: _Use, text: str, facts: Facts) -> Finding:
    quantile = next((m.value for m in use.selector.matchers if m.name == "quantile" and m.op == "="), "")
    others = [m for m in use.selector.matchers if m.name not in ("quantile", "__name__")]
    selector = f"{use.name}_bucket" + ("{" + ", ".join(map(str, others)) + "}" if others else "")
    window = format_duration(max(300.0, 4 * (facts.scrape_interval_seconds or 15.0)))
    better = f"rate({selector}[{window}])"
    if "histogram_quantile" not in use.over:
        better = f"histogram_quantile({quantile or '0.9'}, sum by (le) ({better}))"
    told = f"{use.name} is a histogram: it has no series of that name{', and no label quantile' if quantile else ''}"
    told += "; it has _bucket, _sum and _count, so this never matches"
    is_plain = not use.range_seconds
    return _at(
        "histogram-without-bucket",
        Level.ERROR,
        told,
        text,
        use.selector.pos,
        _replaced(text, use.selector, better) if is_plain else "",
    )


def _naming(use: _Use, text: str, kind: str, facts: Facts) -> Iterator[Finding]:
    """Yield what is unusual about a name; only its owner can change it, so it is good to know and no more."""
    if ":" in use.name:  # a recording rule's, which names what it computes by other customs
        return
    is_part = use.name.endswith(_SERIES_SUFFIXES) and kind not in ("gauge", "counter")
    name = use.name.rpartition("_")[0] if is_part else use.name
    for finding in lint_name(name, kind, facts.model_names):
        level = Level.WARNING if finding.code == "model-in-name" else Level.INFO
        yield _at(finding.code, level, f"{finding.message}{_better(finding.suggestion)}", text, use.selector.pos)


def _better(suggestion: str) -> str:
    """What its owner could do; it is no text for the expression, since the metric is not there yet."""
    return f"; better: {suggestion}" if suggestion else ""


def _unknown_metric(use: _Use, query: Query, facts: Facts) -> Iterator[Finding]:
    text, types = query.text, facts.metric_types
    if types is None or not use.name or use.name in types or "absent" in use.over or "absent_over_time" in use.over:
        return
    others = [name for name in types if name not in query.metric_names()]
    near = next(iter(get_close_matches(use.name, others, n=1, cutoff=0.8)), "")
    hint = f"; did you mean {near}?" if near else ""
    asked = text[use.selector.pos : use.selector.end]
    better = _replaced(text, use.selector, asked.replace(use.name, near)) if near else ""
    message = f"there is no series named {use.name}: this part never matches{hint}"
    yield _at("unknown-metric", Level.WARNING, message, text, use.selector.pos, better)


def _unknown_label(use: _Use, text: str, facts: Facts) -> Iterator[Finding]:
    labels = (facts.label_values or {}).get(use.name)
    if labels is None or "absent" in use.over:
        return
    for matcher in use.selector.matchers:
        if matcher.name == "__name__" or matcher.matches(""):
            continue
        values = labels.get(matcher.name)
        if values is None:
            known = ", ".join(sorted(labels)) or "none"
            message = f'{use.name} has no label "{matcher.name}" (it has: {known}): this never matches'
        elif not matcher.accepted(values):
            near = get_close_matches(matcher.value, values, n=1)
            message = f"{use.name} has no {matcher.name} that fits {matcher}: this matches nothing now"
            message += f'; did you mean "{near[0]}"?' if near and matcher.op == "=" else ""
        else:
            continue
        yield _at("never-matches", Level.WARNING, message, text, use.selector.pos)


def _contradiction(use: _Use, text: str) -> Iterator[Finding]:
    exact: dict[str, Matcher] = {}
    for matcher in use.selector.matchers:
        first = exact.setdefault(matcher.name, matcher) if matcher.op == "=" else exact.get(matcher.name)
        if first is not None and not matcher.matches(first.value):
            message = f"{first} and {matcher} exclude each other: this never matches"
            yield _at("never-matches", Level.ERROR, message, text, use.selector.pos)
            return


def _rate_of_gauge(use: _Use, text: str, kind: str) -> Iterator[Finding]:
    quantity = unit_of_metric(use.name).quantity
    if kind == "gauge" or (not kind and quantity in _GAUGE_LIKE):
        function = next(name for name in use.over if name in _RATES)
        message = f"{use.name} is a gauge: {function} takes each fall for a counter reset; use delta or deriv"
        yield _at("rate-of-gauge", Level.WARNING, message, text, use.selector.pos)


def _short_range(use: _Use, text: str, facts: Facts) -> Iterator[Finding]:
    interval, length = facts.scrape_interval_seconds, use.range_seconds
    if interval is None or length is None or not length or length >= 2 * interval:
        return
    asked, needed = format_duration(length), format_duration(max(60.0, 4 * interval))
    every = format_duration(interval)
    message = f"a window of {asked} holds fewer than two samples at times: they come every {every}; use {needed}"
    end = text.find("]", use.selector.end)
    start = text.find("[", use.selector.end)
    better = text[: start + 1] + needed + text[end:] if 0 <= start < end else ""
    yield _at("short-range", Level.WARNING, message, text, use.selector.pos, better)


def _raw_counter(use: _Use, text: str, kind: str, facts: Facts) -> Iterator[Finding]:
    is_part = kind in ("histogram", "summary") and use.name.endswith(_SERIES_SUFFIXES)
    is_counter = kind == "counter" or is_part or (not kind and use.name.endswith("_total"))
    if not is_counter or _COUNTER_FUNCTIONS.intersection(use.over) or _COUNTING.intersection(use.over):
        return
    message = f"{use.name} is a counter, which only grows until its process restarts: compare its rate or increase"
    window = format_duration(max(300.0, 4 * (facts.scrape_interval_seconds or 15.0)))
    asked = text[use.selector.pos : use.selector.end]
    # Over a range the whole call would have to change, which is for a person to do.
    better = _replaced(text, use.selector, f"rate({asked}[{window}])") if use.range_seconds is None else ""
    yield _at("raw-counter", Level.WARNING, message, text, use.selector.pos, better)


def _lint_node(node: nodes.Node, text: str) -> Iterator[Finding]:
    match node:
        case nodes.Call(func="histogram_quantile", args=[_, measured]):
            yield from _quantile(node, measured, text)
        case nodes.Binary(op="or"):
            sides = (nodes.strip_parens(node.lhs), nodes.strip_parens(node.rhs))
            if all(isinstance(side, nodes.Binary) and side.op in _COMPARISONS for side in sides):
                message = (
                    "two conditions in one rule: their alerts have different labels and one $value; make two rules"
                )
                yield _at("two-conditions", Level.INFO, message, text, node.op_pos or node.pos)
        case nodes.Binary(op=op, lhs=left, rhs=right) if op in (">", ">=") and not node.return_bool:
            yield from _failure_rate(node, left, right, text)


_COMPARISONS = frozenset({">", ">=", "<", "<=", "==", "!="})


def _quantile(node: nodes.Call, measured: nodes.Node, text: str) -> Iterator[Finding]:
    """histogram_quantile needs bucket series with their label le, as rates."""
    selectors = [part for part in nodes.walk(measured) if isinstance(part, nodes.VectorSelector)]
    for aggregate in (part for part in nodes.walk(measured) if isinstance(part, nodes.Aggregate)):
        if ("le" in aggregate.names) != aggregate.by:
            message = f"{aggregate.op} drops the label le, without which there is no quantile: keep it with by (le, …)"
            yield _at("quantile-without-le", Level.ERROR, message, text, aggregate.pos)
    for selector in selectors:
        if selector.name and not selector.name.endswith("_bucket"):
            message = f"histogram_quantile needs the series {selector.name}_bucket"
            better = text[: selector.pos] + f"{selector.name}_bucket" + text[selector.pos + len(selector.name) :]
            yield _at("histogram-without-bucket", Level.WARNING, message, text, selector.pos, better)
    has_window = any(isinstance(part, nodes.MatrixSelector) for part in nodes.walk(measured))
    if selectors and not has_window and all(selector.name.endswith("_bucket") for selector in selectors):
        message = "buckets count since the start of the process: take their rate, or the quantile is that of all time"
        yield _at("raw-counter", Level.WARNING, message, text, node.pos)


def _failure_rate(node: nodes.Binary, left: nodes.Node, right: nodes.Node, text: str) -> Iterator[Finding]:
    """A rate of errors above a small number reads like a share and is none."""
    limit, measured = nodes.strip_parens(right), nodes.strip_parens(left)
    while isinstance(measured, nodes.Aggregate):
        measured = nodes.strip_parens(measured.expr)
    if not (isinstance(limit, nodes.Number) and 0 < limit.value < 1 and isinstance(measured, nodes.Call)):
        return
    if measured.func not in ("rate", "irate") or not isinstance(measured.args[0], nodes.MatrixSelector):
        return
    window = measured.args[0]
    failing = [matcher for matcher in window.vector.matchers if matcher.name in ("status", "code", "status_code")]
    if not failing:
        return
    everything = [
        matcher for matcher in window.vector.matchers if matcher not in failing and matcher.name != "__name__"
    ]
    name = window.vector.name + ("{" + ", ".join(map(str, everything)) + "}" if everything else "")
    span = text[window.vector.end : window.end]
    share = f"sum(rate({text[window.pos : window.end]})) / sum(rate({name}{span}))"
    message = (
        f"this is failures per second, not their share: above {limit.value:g} means one in {1 / limit.value:.0f} s"
    )
    yield _at("rate-not-share", Level.INFO, message, text, node.pos, f"{share} {node.op} {limit.value:g}")
