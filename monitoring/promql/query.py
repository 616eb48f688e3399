"""A parsed query and what can be read off it without evaluating: names, selectors, its printed form, its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from . import nodes as n
from .labels import NAME
from .matchers import Matcher
from .parse import COMPARISONS, parse_selector_text, parse_text
from .printer import pretty, to_text

#: Lookback of an instant selector (Prometheus --query.lookback-delta) and step of a subquery without one
#: (its default evaluation interval); the upstream test scripts rely on both.
LOOKBACK_MS = 300_000
SUBQUERY_STEP_MS = 60_000


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of a query: its matchers, its range in milliseconds (0 for an instant selector)."""

    matchers: tuple[Matcher, ...]
    range_ms: int


class Query:
    """One parsed query; immutable, shared by everything in the process that asks the same text."""

    def __init__(self, text: str, root: n.Node) -> None:
        self.text = text
        self.root = root

    @property
    def type(self) -> str:
        """What an instant evaluation answers: "vector", "matrix", "scalar" or "string"."""
        return self.root.type

    @cached_property
    def _selectors(self) -> tuple[Selector, ...]:
        ranged = {id(node.vector): node.range for node in n.walk(self.root) if isinstance(node, n.MatrixSelector)}
        found: dict[Selector, None] = {}
        for node in n.walk(self.root):
            if isinstance(node, n.VectorSelector):
                length = ranged.get(id(node))
                found[Selector(node.matchers, round(length.seconds * 1000) if length else 0)] = None
        return tuple(found)

    def selectors(self) -> tuple[Selector, ...]:
        """Return the distinct selectors, in order of appearance; a range that depends on step() counts as 0."""
        return self._selectors

    def metric_names(self) -> tuple[str, ...]:
        """Return the metric names the query asks for by equality, in order of appearance."""
        names = {
            matcher.value: None
            for selector in self._selectors
            for matcher in selector.matchers
            if matcher.name == NAME and matcher.op == "="
        }
        return tuple(names)

    def pretty(self) -> str:
        """Return the query in canonical form, broken over lines when it is long."""
        return pretty(self.root)

    def __str__(self) -> str:
        """Return the text as it was given."""
        return self.text

    def __repr__(self) -> str:
        """Return the text, marked as a query."""
        return f"Query({self.text!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle as text: the other process parses it again."""
        return parse, (self.text,)


#: Longer texts are parsed anew each time: a cache of them would be a way to fill a worker's memory.
_CACHED_CHARS = 4_000


def parse(text: str) -> Query:
    """Return the parsed query, cached per process; raise ParseError with line, column and caret."""
    return _cached_query(text) if len(text) <= _CACHED_CHARS else Query(text, parse_text(text))


@lru_cache(maxsize=4096)
def _cached_query(text: str) -> Query:
    return Query(text, parse_text(text))


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Return the matchers of ``{a="b", c=~"d.*"}``, braces optional, an empty text none; raise ParseError."""
    return _parse_matchers(text) if len(text) <= _CACHED_CHARS else _parse_matchers.__wrapped__(text)


@lru_cache(maxsize=4096)
def _parse_matchers(text: str) -> tuple[Matcher, ...]:
    from_braces = text.strip()
    if not from_braces:
        return ()
    if not from_braces.endswith("}"):
        from_braces = "{" + from_braces + "}"
    return parse_selector_text(from_braces)


@dataclass(frozen=True, slots=True)
class SplitCondition:
    """A condition taken apart: ``value`` is the expression that measures, ``op number`` what was too much.

    The operator has the vector on its left, whichever side it was written on.
    """

    value: str
    operator: str
    number: float


_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def split_condition(query: Query | str) -> SplitCondition | None:
    """Return value, operator and number of ``vector cmp number`` (either order, no bool); None for any other root."""
    root = n.strip_parens((parse(query) if isinstance(query, str) else query).root)
    if not isinstance(root, n.Binary) or root.op not in COMPARISONS or root.return_bool:
        return None
    for vector, other, mirrored in ((root.lhs, root.rhs, False), (root.rhs, root.lhs, True)):
        value = _constant(other)
        if vector.type == n.VECTOR and value is not None:
            return SplitCondition(to_text(vector), _MIRRORED[root.op] if mirrored else root.op, value)
    return None


def _constant(node: n.Node) -> float | None:
    node = n.strip_parens(node)
    if isinstance(node, n.Unary):
        inner = _constant(node.expr)
        return -inner if inner is not None and node.op == "-" else inner
    return node.value if isinstance(node, n.Number) else None
