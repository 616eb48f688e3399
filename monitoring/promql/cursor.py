"""The place reached in a query's tokens, and the parser of durations on top of it."""

from __future__ import annotations

from typing import NoReturn

from . import nodes as n
from .errors import error_at
from .lex import Token, duration_ms, number, tokens

MAX_DEPTH = 100

PRECEDENCE = {
    **dict.fromkeys(("or",), 1),
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
POWER = 6
_DURATION_CALLS = {"step": 0, "range": 0, "min_of": 2, "max_of": 2}
#: The longest time Prometheus' durations hold: 2^63 nanoseconds.
MAX_SECONDS = 9.2e9


class Cursor:
    """The state of one parse: the tokens and the place reached."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The token not yet taken."""
        return self.tokens[self.at]

    def take(self) -> Token:
        """Take one token."""
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def is_op(self, *texts: str) -> bool:
        """Tell whether the next token is one of these signs."""
        token = self.token
        return token.kind == "op" and token.text in texts

    def word(self) -> str:
        """Return the next token in lower case when it is a word, else the empty string."""
        token = self.token
        return token.text.lower() if token.kind == "word" else ""

    def accept(self, text: str) -> bool:
        """Take the sign ``text`` when it is next."""
        if self.is_op(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str, where: str) -> Token:
        """Take the sign ``text`` or fail."""
        if not self.is_op(text):
            self.unexpected(where, f'"{text}"')
        return self.take()

    def fail(self, message: str, pos: int | None = None) -> NoReturn:
        """Raise a ParseError at ``pos`` (default: the next token)."""
        raise error_at(self.text, self.token.pos if pos is None else pos, message)

    def unexpected(self, where: str, wanted: str = "") -> NoReturn:
        """Raise a ParseError about the next token."""
        token = self.token
        shown = "end of input" if token.kind == "end" else f'"{token.text[:40]}"'
        self.fail(f"unexpected {shown} in {where}" + (f", expected {wanted}" if wanted else ""))

    def number_literal(self) -> n.Number:
        """Parse a number or a duration that stands for its seconds."""
        token = self.take()
        if token.kind == "number":
            value = number(token.text)
            if value is None:
                self.fail(f'error parsing number: "{token.text[:40]}" is out of range', token.pos)
            return n.Number(value, pos=token.pos, end=token.end)
        return n.Number(self.seconds(token), True, pos=token.pos, end=token.end)

    def seconds(self, token: Token) -> float:
        """Return the seconds of a duration token."""
        length = duration_ms(token.text)
        if length is None:
            self.fail(f'bad number or duration syntax: "{token.text[:40]}"', token.pos)
        if length >= 1 << 63:  # milliseconds are 64 bits wide, as in Prometheus
            self.fail(f'duration out of range: "{token.text[:40]}"', token.pos)
        return length / 1000


class DurationParser(Cursor):
    """Durations and duration expressions (promql/parser/durations.go)."""

    def duration(self) -> n.Duration:
        """Parse the duration expression of a range or a step."""
        return self.as_duration(self.duration_expression(4), positive=True)

    def offset_duration(self) -> n.Duration:
        """Parse the duration after ``offset``: a signed literal, a call or parentheses, without operators."""
        if self.is_op("+", "-"):
            sign = self.take()
            inner = self.duration_atom()
            node: n.Node = inner if sign.text == "+" else n.Unary("-", inner, pos=sign.pos, end=inner.end)
            return self.as_duration(node, positive=False)
        return self.as_duration(self.duration_atom(), positive=False)

    def duration_expression(self, lowest: int) -> n.Node:
        """Parse arithmetic over numbers, durations, step() and range()."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"expression is nested more than {MAX_DEPTH} levels deep")
        if self.is_op("+", "-"):
            sign = self.take()
            operand = self.duration_expression(POWER)
            left: n.Node = n.Unary(sign.text, operand, pos=sign.pos, end=operand.end)
        else:
            left = self.duration_atom()
        while self.is_op("+", "-", "*", "/", "%", "^") and PRECEDENCE[self.token.text] >= lowest:
            op = self.take()
            power = PRECEDENCE[op.text]
            right = self.duration_expression(power if op.text == "^" else power + 1)
            left = n.Binary(op.text, left, right, pos=left.pos, end=right.end)
        self.depth -= 1
        return left

    def duration_atom(self) -> n.Node:
        """Parse a number, a duration, step(), range(), min_of(), max_of() or parentheses."""
        token = self.token
        if token.kind in ("number", "duration"):
            return self.number_literal()
        if self.accept("("):
            inner = self.duration_expression(4)
            self.expect(")", "duration expression")
            return n.Paren(inner, pos=token.pos, end=self.tokens[self.at - 1].end)
        word = self.word()
        if word not in _DURATION_CALLS:
            self.unexpected("duration", "number, duration, step() or range()")
        self.take()
        self.expect("(", "duration expression")
        args: list[n.Node] = []
        for index in range(_DURATION_CALLS[word]):
            if index:
                self.expect(",", "duration expression")
            args.append(self.duration_expression(4))
        self.expect(")", "duration expression")
        return n.Call(word, args, n.SCALAR, pos=token.pos, end=self.tokens[self.at - 1].end)

    def as_duration(self, node: n.Node, positive: bool) -> n.Duration:
        """Return the Duration of a parsed expression, computed now when it does not depend on the query."""
        if any(isinstance(part, n.Call) and part.func in ("step", "range") for part in n.walk(node)):
            return n.Duration(expr=node)
        from_text = self.text[node.pos : node.end]
        seconds = duration_value(node, 0.0, 0.0)
        if not abs(seconds) < MAX_SECONDS:
            self.fail(f"duration out of range: {from_text[:40]}", node.pos)
        if positive and seconds <= 0:
            self.fail("duration must be greater than 0", node.pos)
        literal = isinstance(node, n.Number) or (isinstance(node, n.Unary) and isinstance(node.expr, n.Number))
        return n.Duration(seconds, None if literal else node)


def duration_value(node: n.Node, step_seconds: float, range_seconds: float) -> float:
    """Return the seconds of a duration expression; NaN for what arithmetic cannot give."""
    if isinstance(node, n.Number):
        return node.value
    if isinstance(node, n.Paren):
        return duration_value(node.expr, step_seconds, range_seconds)
    if isinstance(node, n.Unary):
        value = duration_value(node.expr, step_seconds, range_seconds)
        return -value if node.op == "-" else value
    if isinstance(node, n.Call):
        if node.func in ("step", "range"):
            return step_seconds if node.func == "step" else range_seconds
        values = [duration_value(arg, step_seconds, range_seconds) for arg in node.args]
        return min(values) if node.func == "min_of" else max(values)
    assert isinstance(node, n.Binary)  # noqa: S101  -- the parser builds nothing else in a duration
    left = duration_value(node.lhs, step_seconds, range_seconds)
    right = duration_value(node.rhs, step_seconds, range_seconds)
    return _arithmetic(node.op, left, right)


def _arithmetic(op: str, left: float, right: float) -> float:
    try:
        if op == "+":
            return left + right
        if op == "-":
            return left - right
        if op == "*":
            return left * right
        if op == "/":
            return left / right
        if op == "%":
            return float(left - right * int(left / right))
        power = left**right
        return power if isinstance(power, float) else float("nan")
    except (ZeroDivisionError, OverflowError, ValueError):
        return float("nan")
