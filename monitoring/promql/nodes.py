"""The parts of a query: what the parser builds, the evaluator walks and the printer writes.

Every node knows its place in the text (``pos`` to ``end``, in characters). Nodes compare by identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from .matchers import Matcher

SCALAR, VECTOR, MATRIX, STRING = "scalar", "vector", "matrix", "string"
#: How error messages name the types (promql/parser/value.go DocumentedType).
DOCUMENTED = {SCALAR: "scalar", VECTOR: "instant vector", MATRIX: "range vector", STRING: "string"}


@dataclass(eq=False)
class Node:
    """One part of a query."""

    pos: int = field(kw_only=True, default=0)
    end: int = field(kw_only=True, default=0)
    type = SCALAR

    def children(self) -> list[Node]:
        """Return the parts below this one, left to right."""
        return []


@dataclass(eq=False)
class Number(Node):
    """A number, or a duration used as one (in seconds)."""

    value: float
    is_duration: bool = False


@dataclass(eq=False)
class String(Node):
    """A quoted text."""

    value: str
    type = STRING


@dataclass(eq=False)
class Paren(Node):
    """An expression in parentheses."""

    expr: Node

    @property
    def type(self) -> str:  # type: ignore[override]
        """The type of the expression inside."""
        return self.expr.type

    def children(self) -> list[Node]:
        """Return the expression inside."""
        return [self.expr]


@dataclass(eq=False)
class Unary(Node):
    """A sign before an expression: ``-`` or ``+``."""

    op: str
    expr: Node

    @property
    def type(self) -> str:  # type: ignore[override]
        """The type of the signed expression."""
        return self.expr.type

    def children(self) -> list[Node]:
        """Return the signed expression."""
        return [self.expr]


@dataclass(frozen=True)
class At:
    """An @ modifier: ``kind`` is "time" (with ``at_ms``), "start" or "end" of the query's range."""

    kind: str
    at_ms: int = 0


@dataclass(frozen=True)
class Duration:
    """A length of time in a selector: seconds, or an expression over step() and range() known only at query time."""

    seconds: float = 0.0
    expr: Node | None = None


@dataclass(eq=False)
class VectorSelector(Node):
    """``name{matchers} offset d @ t``; ``mode`` is "", "smoothed" or "anchored"."""

    name: str
    matchers: tuple[Matcher, ...]
    offset: Duration | None = None
    at: At | None = None
    mode: str = ""
    type = VECTOR


@dataclass(eq=False)
class MatrixSelector(Node):
    """``selector[range]``; offset, @ and mode sit on the selector."""

    vector: VectorSelector
    range: Duration
    type = MATRIX

    def children(self) -> list[Node]:
        """Return the selector inside."""
        return [self.vector]


@dataclass(eq=False)
class Subquery(Node):
    """``expr[range:step]``; ``step`` None stands for the engine's default of one minute."""

    expr: Node
    range: Duration
    step: Duration | None = None
    offset: Duration | None = None
    at: At | None = None
    type = MATRIX

    def children(self) -> list[Node]:
        """Return the expression that is evaluated at every step."""
        return [self.expr]


@dataclass(eq=False)
class Call(Node):
    """A function call; ``type`` is what the function returns."""

    func: str
    args: list[Node]
    type: str = VECTOR

    def children(self) -> list[Node]:
        """Return the arguments."""
        return self.args


@dataclass(eq=False)
class Aggregate(Node):
    """``op by|without (names) (param, expr)``; ``by`` with no names is one group."""

    op: str
    expr: Node
    param: Node | None = None
    by: bool = True
    names: tuple[str, ...] = ()
    type = VECTOR

    def children(self) -> list[Node]:
        """Return parameter and expression."""
        return [self.expr] if self.param is None else [self.param, self.expr]


@dataclass(frozen=True)
class Matching:
    """How two vectors meet; ``card`` is "one-to-one", "many-to-one", "one-to-many" or "many-to-many"."""

    card: str = "one-to-one"
    on: bool = False
    names: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None
    explicit: bool = False


@dataclass(eq=False)
class Binary(Node):
    """``lhs op rhs``."""

    op: str
    lhs: Node
    rhs: Node
    return_bool: bool = False
    matching: Matching = Matching()
    op_pos: int = 0

    @cached_property
    def type(self) -> str:  # type: ignore[override]
        """Scalar when both sides are."""
        return SCALAR if self.lhs.type == self.rhs.type == SCALAR else VECTOR

    def children(self) -> list[Node]:
        """Return both sides."""
        return [self.lhs, self.rhs]


def walk(root: Node) -> Iterator[Node]:
    """Yield every node, parents before children, without recursion."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children()))


def strip_parens(node: Node) -> Node:
    """Return the expression inside any parentheses."""
    while isinstance(node, Paren):
        node = node.expr
    return node
