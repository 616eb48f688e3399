"""A query in words, for people who do not read PromQL; what has no short wording is quoted."""

from alerts.engine.units import in_words, number
from monitoring.promql import Matcher, Query, nodes

# Longer text in the middle of a sentence helps nobody.
_MAX_QUOTED_CHARS = 80
_AGGREGATIONS = {
    "sum": "the total",
    "avg": "the average",
    "min": "the lowest",
    "max": "the highest",
    "count": "the number of series",
    "stddev": "the standard deviation",
}
_OVER_TIME = {
    "avg_over_time": "the average",
    "min_over_time": "the lowest value",
    "max_over_time": "the highest value",
    "sum_over_time": "the sum",
    "count_over_time": "the number of samples",
    "last_over_time": "the last value",
    "stddev_over_time": "the standard deviation",
    "increase": "the increase",
    "rate": "the rate per second",
    "irate": "the latest rate per second",
    "delta": "the change",
    "deriv": "the slope per second",
    "changes": "the number of changes",
    "resets": "the number of resets",
}
_COMPARISONS = {
    ">": "above",
    ">=": "at or above",
    "<": "below",
    "<=": "at or below",
    "==": "equal to",
    "!=": "other than",
}
_SIGNS = {"=": "is", "!=": "is not", "=~": "matches", "!~": "does not match"}


def describe_query(query: Query) -> str:
    """Return what a query measures, as a noun phrase: the highest rate per second of x over 5 minutes per model."""
    return _phrase(query.root, query.text)


def comparison_words(operator: str) -> str:
    """Return a comparison in words: ">" is "above"."""
    return _COMPARISONS[operator]


def _phrase(node: nodes.Node, text: str) -> str:
    node = nodes.strip_parens(node)
    found = _known_phrase(node, text)
    if found:
        return found
    quoted = " ".join(text[node.pos : node.end].split())
    return f"`{quoted}`" if 0 < len(quoted) <= _MAX_QUOTED_CHARS else "the expression"


def _known_phrase(node: nodes.Node, text: str) -> str:
    match node:
        case nodes.VectorSelector() if not node.offset and not node.at:
            return _selector(node)
        case nodes.Call(func=func, args=[nodes.MatrixSelector() as window]) if func in _OVER_TIME:
            return _windowed(_OVER_TIME[func], window)
        case nodes.Call(func="histogram_quantile" | "quantile_over_time", args=[nodes.Number() as share, measured]):
            return f"the {number(share.value * 100)}th percentile of {_buckets(measured, text)}"
        case nodes.Call(func="absent", args=[measured]):
            return f"the absence of {_phrase(measured, text)}"
        case nodes.Aggregate(op=op, param=None) if op in _AGGREGATIONS:
            return f"{_aggregated(op, _phrase(node.expr, text))}{_grouping(node)}"
        case nodes.Binary(op="/", lhs=left, rhs=right) if right.type == nodes.VECTOR:
            return f"{_phrase(left, text)} divided by {_phrase(right, text)}"
    return ""


def _aggregated(op: str, phrase: str) -> str:
    """Join "the highest" and "the rate of x" to "the highest rate of x"."""
    joins = op in ("sum", "avg", "min", "max") and phrase.startswith("the ") and phrase != "the expression"
    return f"{_AGGREGATIONS[op]} {phrase.removeprefix('the ')}" if joins else f"{_AGGREGATIONS[op]} of {phrase}"


def _selector(node: nodes.VectorSelector) -> str:
    conditions = [_condition(matcher) for matcher in node.matchers if matcher.name != "__name__"]
    name = node.name or next((m.value for m in node.matchers if m.name == "__name__" and m.op == "="), "every series")
    return f"{name} where {' and '.join(conditions)}" if conditions else name


def _condition(matcher: Matcher) -> str:
    if matcher.value:
        value = f'"{matcher.value}"' if matcher.op.endswith("~") else matcher.value
        return f"{matcher.name} {_SIGNS[matcher.op]} {value}"
    return f"there is {'no' if matcher.op in ('=', '=~') else 'a'} {matcher.name}"


def _windowed(what: str, window: nodes.MatrixSelector) -> str:
    phrase = f"{what} of {_selector(window.vector)}"
    return phrase if window.range.expr is not None else f"{phrase} over {in_words(window.range.seconds)}"


def _buckets(node: nodes.Node, text: str) -> str:
    """Return what a quantile is taken of: buckets of a histogram by their metric, anything else by its phrase."""
    selectors = [part for part in nodes.walk(node) if isinstance(part, nodes.VectorSelector)]
    windows = [part.range.seconds for part in nodes.walk(node) if isinstance(part, nodes.MatrixSelector)]
    if len(selectors) != 1 or not selectors[0].name.endswith("_bucket") or len(windows) != 1:
        return _phrase(node, text)
    name = _selector(selectors[0]).replace("_bucket", "", 1)
    aggregate = next((part for part in nodes.walk(node) if isinstance(part, nodes.Aggregate)), None)
    return f"{name} over {in_words(windows[0])}{_grouping(aggregate) if aggregate else ''}"


def _grouping(node: nodes.Aggregate) -> str:
    names = [name for name in node.names if name != "le"]
    if not node.by:
        return f" (all labels but {_list(node.names)})" if node.names else ""
    return f" per {_list(names)}" if names else ""


def _list(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)
