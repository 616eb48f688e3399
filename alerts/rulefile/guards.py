"""Threshold rows as plain PromQL conditions: one for each limit, true for the same series as the rows.

Hides how "the row that wins" is said in a language that has no filter for the labels of a result: by matchers inside
the selectors where these decide about the result's labels, else by a marker label that label_replace gives to each
series and that is taken away again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from alerts.engine.thresholds import Operator, Threshold, rank_key
from monitoring import promql
from monitoring.promql import NAME, Matcher, nodes
from monitoring.promql.labels import quote
from monitoring.promql.printer import number_text, to_text

# More rows than this make selectors that nobody can read; markers grow by a line a row.
MOST_IN_SELECTOR = 8
_MARK, _PART = "aq_limit", "aq_part"
_NEGATED = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}
_KEEPS_LABELS = re.compile(
    r"(abs|ceil|floor|round|sqrt|exp|ln|log2|log10|sgn|clamp|clamp_max|clamp_min|rate|irate|increase|delta|idelta|deriv"
    r"|predict_linear|changes|resets|(avg|min|max|sum|count|quantile|stddev|stdvar|last|present)_over_time)"
)
_FOLDS = frozenset({"sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile"})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^"})
Terms = tuple[Operator, float, float | None, float | None]


@dataclass(frozen=True)
class Condition:
    """One condition and the row whose numbers it has; of several rows with the same numbers, the first in rank."""

    text: str
    row: Threshold


def conditions(expr: str, rows: Iterable[Threshold]) -> list[Condition]:
    """Return the conditions of the rows of one severity, which all count; the ones that rule most come last.

    Each series is covered by at most one of them, that of its winning row.
    """
    ranked = _reachable(sorted(rows, key=rank_key, reverse=True))
    if len(ranked) == 1 and not ranked[0].matchers:
        return [Condition(_compared(_bracketed(promql.parse(expr).root), ranked[0]), ranked[0])]
    return _by_selectors(expr, ranked) or _by_marks(expr, ranked)


def _reachable(ranked: Sequence[Threshold]) -> list[Threshold]:
    """The rows down to the first that applies to every series: none below it ever wins."""
    last = next((place for place, row in enumerate(ranked) if not row.matchers), len(ranked))
    return list(ranked[: last + 1])


def terms(row: Threshold) -> Terms:
    """The numbers of a row: rows that agree in them can share a condition."""
    return (row.operator, row.value, row.upper, row.hold_seconds)


def _compared(value: str, row: Threshold) -> str:
    low = number_text(row.value)
    high = number_text(row.upper) if row.upper is not None else ""
    if row.operator is Operator.OUTSIDE:
        return f"{value} < {low} or {value} > {high}"
    if row.operator is Operator.INSIDE:
        return f"({value} >= {low}) <= {high}"
    return f"{value} {row.operator} {low}"


def _bracketed(node: nodes.Node) -> str:
    text = to_text(node)
    return f"({text})" if isinstance(node, nodes.Binary | nodes.Unary) else text


# -- matchers inside the selectors -------------------------------------------------------------------------------------


def _by_selectors(expr: str, ranked: Sequence[Threshold]) -> list[Condition]:
    """Conditions whose selectors say which series they are about; none when that cannot be said so."""
    special = [row for row in ranked if row.matchers]
    if len(special) > MOST_IN_SELECTOR or any(len(row.matchers) > 1 for row in special):
        return []
    found, root = [], promql.parse(expr).root
    for place, row in enumerate(ranked):
        above = tuple(replace(m, op=_NEGATED[m.op]) for higher in ranked[:place] for m in higher.matchers)
        node = _pushed(root, (*row.matchers, *above))
        if node is None:
            return []
        found.append(Condition(_compared(_bracketed(node), row), row))
    return found


def _pushed(node: nodes.Node, extra: tuple[Matcher, ...]) -> nodes.Node | None:
    """The expression with matchers added, where these decide about its result's labels; None where they may not."""
    names = {matcher.name for matcher in extra}
    if NAME in names:
        return None
    match node:
        case nodes.VectorSelector():
            return replace(node, matchers=(*node.matchers, *extra))
        case nodes.MatrixSelector(vector=vector):
            return replace(node, vector=replace(vector, matchers=(*vector.matchers, *extra)))
        case nodes.Paren() | nodes.Unary() | nodes.Subquery():
            inner = _pushed(node.expr, extra)
            return None if inner is None else replace(node, expr=inner)
        case nodes.Call() if _KEEPS_LABELS.fullmatch(node.func):
            given = [_pushed(one, extra) if one.type in (nodes.VECTOR, nodes.MATRIX) else one for one in node.args]
            args = [one for one in given if one is not None]
            return replace(node, args=args) if len(args) == len(given) else None
        case nodes.Aggregate() if node.op in _FOLDS and (
            names <= set(node.names) if node.by else not names & set(node.names)
        ):
            inner = _pushed(node.expr, extra)
            return None if inner is None else replace(node, expr=inner)
        case nodes.Binary() if node.op in _ARITHMETIC and not node.matching.explicit:
            return _pushed_binary(node, extra)
    return None


def _pushed_binary(node: nodes.Binary, extra: tuple[Matcher, ...]) -> nodes.Node | None:
    """Both sides carry the labels of the result, so both take the matchers; a number takes none."""
    left = _pushed(node.lhs, extra) if node.lhs.type == nodes.VECTOR else node.lhs
    right = _pushed(node.rhs, extra) if node.rhs.type == nodes.VECTOR else node.rhs
    if left is None or right is None or nodes.VECTOR not in (node.lhs.type, node.rhs.type):
        return None
    return replace(node, lhs=left, rhs=right)


# -- a marker label ----------------------------------------------------------------------------------------------------


def _by_marks(expr: str, ranked: Sequence[Threshold]) -> list[Condition]:
    """Conditions over the value with the number of its limit in a label, which goes before anybody sees it."""
    numbers: dict[Terms, int] = {}
    for row in ranked:
        numbers.setdefault(terms(row), len(numbers) + 1)
    text, parts = to_text(promql.parse(expr).root), 0
    for row in reversed(ranked):
        text, used = _marked(text, row, numbers[terms(row)])
        parts = max(parts, used)
    found = []
    for kind, number in numbers.items():
        row = next(row for row in ranked if terms(row) == kind)
        own = f'{text} and on ({_MARK}) label_replace(vector(1), "{_MARK}", "{number}", "", "")'
        for name in (_MARK, *(f"{_PART}{place}" for place in range(parts)), *([_PART] if parts else [])):
            own = f'label_replace({own}, "{name}", "", "", "")'
        found.append(Condition(_compared(own, row), row))
    return found


def _marked(text: str, row: Threshold, number: int) -> tuple[str, int]:
    """The value with `number` as mark on every series that the row matches; and how many flags that took."""
    if not row.matchers:
        return f'label_replace({text}, "{_MARK}", "{number}", "", "")', 0
    if len(row.matchers) == 1 and row.matchers[0].op in ("=", "=~"):
        matcher = row.matchers[0]
        return f'label_replace({text}, "{_MARK}", "{number}", {quote(matcher.name)}, {quote(_regex(matcher))})', 0
    flags = [f"{_PART}{place}" for place in range(len(row.matchers))]
    for flag, matcher in zip(flags, row.matchers, strict=True):
        # A flag is "1" where the matcher holds: set from the matching side, after the other side was set for all.
        holds, fails = ("1", "0") if matcher.op in ("=", "=~") else ("0", "1")
        text = f'label_replace({text}, "{flag}", "{fails}", "", "")'
        text = f'label_replace({text}, "{flag}", "{holds}", {quote(matcher.name)}, {quote(_regex(matcher))})'
    listed = ", ".join(f'"{flag}"' for flag in flags)
    text = f'label_join({text}, "{_PART}", "", {listed})'
    ones = "1" * len(flags)
    return f'label_replace({text}, "{_MARK}", "{number}", "{_PART}", "{ones}")', len(flags)


def _regex(matcher: Matcher) -> str:
    return _escaped(matcher.value) if matcher.op in ("=", "!=") else matcher.value


def _escaped(text: str) -> str:
    """A text as a regular expression that matches it alone (Go, regexp.QuoteMeta)."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
