"""Nodes to PromQL text: one line for machines, broken lines for people (promql/parser/printer.go, prettier.go)."""

from __future__ import annotations

import math

from . import nodes as n
from .labels import NAME, is_metric_name, quote, quote_name
from .matchers import Matcher

_WIDTH = 100
_UNITS = (("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))


def number_text(value: float) -> str:
    """Return a number so that the parser reads the same value back."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e16:
        return str(int(value))
    return repr(value)


def duration_text(milliseconds: int) -> str:
    """Return a duration in PromQL's units, ``1h30m``; weeks and years only when they fit alone, as upstream."""
    if milliseconds == 0:
        return "0s"
    sign, rest = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    parts = []
    for unit, size in _UNITS:
        if unit in ("y", "w") and rest % size:
            continue
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest}ms")
    return sign + "".join(parts)


def to_text(node: n.Node) -> str:
    """Return the canonical one-line text of a node."""
    if isinstance(node, n.Binary):
        return _binary(node)
    return _simple(node)


def _simple(node: n.Node) -> str:
    match node:
        case n.Number():
            short = node.is_duration and node.value * 1000 == int(node.value * 1000)
            return duration_text(int(node.value * 1000)) if short else number_text(node.value)
        case n.String():
            return quote(node.value)
        case n.Paren():
            return f"({to_text(node.expr)})"
        case n.Unary():
            return node.op + to_text(node.expr)
        case n.VectorSelector():
            return _selector(node) + _modifiers(node)
        case n.MatrixSelector():
            return f"{_selector(node.vector)}[{_duration(node.range)}]{_modifiers(node.vector)}"
        case n.Subquery():
            step = _duration(node.step) if node.step else ""
            return f"{to_text(node.expr)}[{_duration(node.range)}:{step}]{_place(node)}"
        case n.Call():
            return f"{node.func}({', '.join(to_text(arg) for arg in node.args)})"
        case n.Aggregate():
            return f"{_head(node)}({', '.join(to_text(child) for child in node.children())})"
    raise TypeError(f"no text for {type(node).__name__}")


def _binary(node: n.Binary) -> str:
    # A chain of a thousand terms leans left; it is printed in a loop.
    tail: list[str] = []
    left: n.Node = node
    while isinstance(left, n.Binary):
        tail.append(f" {_operator(left)} {to_text(left.rhs)}")
        left = left.lhs
    return to_text(left) + "".join(reversed(tail))


def _selector(node: n.VectorSelector) -> str:
    bare = node.name and is_metric_name(node.name)
    shown = [_matcher(m, node.name) for m in node.matchers if not (bare and m == Matcher("=", NAME, node.name))]
    return (node.name if bare else "") + (f"{{{', '.join(shown)}}}" if shown or not bare else "")


def _matcher(matcher: Matcher, name: str) -> str:
    return quote(name) if name and matcher == Matcher("=", NAME, name) else str(matcher)


def _duration(duration: n.Duration) -> str:
    if duration.expr is not None:
        return to_text(duration.expr)
    return duration_text(round(duration.seconds * 1000))


def _place(node: n.VectorSelector | n.Subquery) -> str:
    text = ""
    if node.at is not None:
        text += f" @ {node.at.kind}()" if node.at.kind != "time" else f" @ {node.at.at_ms / 1000:.3f}"
    if node.offset is not None:
        inner = _duration(node.offset)
        compound = isinstance(node.offset.expr, n.Binary)
        text += f" offset ({inner})" if compound else f" offset {inner}"
    return text


def _modifiers(node: n.VectorSelector) -> str:
    return (f" {node.mode}" if node.mode else "") + _place(node)


def _names(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(quote_name(name) for name in names) + ")"


def _head(node: n.Aggregate) -> str:
    if node.by and not node.names:
        return node.op
    return f"{node.op} {'by' if node.by else 'without'} {_names(node.names)} "


def _operator(node: n.Binary) -> str:
    matching = node.matching
    text = node.op + (" bool" if node.return_bool else "")
    if matching.explicit:
        text += f" {'on' if matching.on else 'ignoring'} {_names(matching.names)}"
    if matching.card in ("many-to-one", "one-to-many"):
        text += f" {'group_left' if matching.card == 'many-to-one' else 'group_right'} {_names(matching.include)}"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and right is not None and (left == right or (math.isnan(left) and math.isnan(right))):
        return text + f" fill ({number_text(left)})"
    text += f" fill_left ({number_text(left)})" if left is not None else ""
    return text + (f" fill_right ({number_text(right)})" if right is not None else "")


def pretty(node: n.Node, indent: int = 0) -> str:
    """Return the canonical text, with one part a line wherever a line would pass 100 characters."""
    line = to_text(node)
    pad = "  " * indent
    if len(pad) + len(line) <= _WIDTH:
        return pad + line
    match node:
        case n.Paren():
            return f"{pad}(\n{pretty(node.expr, indent + 1)}\n{pad})"
        case n.Call():
            return f"{pad}{node.func}(\n{_lines(node.args, indent + 1)}\n{pad})"
        case n.Aggregate():
            return f"{pad}{_head(node)}(\n{_lines(node.children(), indent + 1)}\n{pad})"
        case n.Binary():
            return _pretty_chain(node, indent)
        case n.Unary():
            return f"{pad}{node.op}{pretty(node.expr, indent).lstrip()}"
        case n.Subquery():
            step = _duration(node.step) if node.step else ""
            return f"{pretty(node.expr, indent)}[{_duration(node.range)}:{step}]{_place(node)}"
    return pad + line


def _lines(parts: list[n.Node], indent: int) -> str:
    return ",\n".join(pretty(part, indent) for part in parts)


def _pretty_chain(node: n.Binary, indent: int) -> str:
    tail: list[str] = []
    left: n.Node = node
    while isinstance(left, n.Binary):
        tail.append(f"\n{'  ' * indent}{_operator(left)}\n{pretty(left.rhs, indent + 1)}")
        left = left.lhs
    return pretty(left, indent + 1) + "".join(reversed(tail))
