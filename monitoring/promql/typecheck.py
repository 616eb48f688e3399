"""Type rules of PromQL, checked while the nodes are built (Prometheus, promql/parser/parse.go checkAST)."""

from __future__ import annotations

from . import nodes as n
from .errors import error_at
from .labels import NAME
from .matchers import predicate
from .signatures import AGGREGATIONS, Function

_SMOOTHED = frozenset(("delta", "increase", "rate"))
_ANCHORED = frozenset(("changes", "delta", "increase", "rate", "resets"))


def _expect(text: str, node: n.Node, wanted: str, where: str) -> None:
    if node.type != wanted:
        message = f"expected type {n.DOCUMENTED[wanted]} in {where}, got {n.DOCUMENTED[node.type]}"
        raise error_at(text, node.pos, message)


def check_unary(text: str, node: n.Unary) -> None:
    """Refuse a sign before a range vector or a string."""
    if node.expr.type not in (n.SCALAR, n.VECTOR):
        kind = n.DOCUMENTED[node.expr.type]
        message = f'unary expression only allowed on expressions of type scalar or instant vector, got "{kind}"'
        raise error_at(text, node.pos, message)


def check_aggregate(text: str, node: n.Aggregate) -> None:
    """Check expression and parameter of an aggregation."""
    _expect(text, node.expr, n.VECTOR, "aggregation expression")
    wanted = AGGREGATIONS[node.op]
    if wanted is not None and node.param is not None:
        _expect(text, node.param, wanted, "aggregation parameter")


def check_call(text: str, node: n.Call, function: Function) -> None:
    """Check number and types of a call's arguments."""
    wanted, given = len(function.args), len(node.args)
    name = function.name
    problem = ""
    if function.optional == 0:
        if wanted != given:
            problem = f'expected {wanted} argument(s) in call to "{name}", got {given}'
    elif given < wanted - 1:
        problem = f'expected at least {wanted - 1} argument(s) in call to "{name}", got {given}'
    elif 0 < function.optional < given - wanted + 1:
        problem = f'expected at most {wanted - 1 + function.optional} argument(s) in call to "{name}", got {given}'
    if problem:
        raise error_at(text, node.pos, problem)
    for index, arg in enumerate(node.args):
        _expect(text, arg, function.args[min(index, wanted - 1)], f'call to function "{name}"')
    if name == "info" and given > 1:
        _check_info(text, node.args[1])


def _check_info(text: str, arg: n.Node) -> None:
    if not isinstance(arg, n.VectorSelector):
        raise error_at(text, arg.pos, "expected label selectors as the second argument to info function")
    if arg.name and text[arg.pos : arg.pos + 1] != "{":
        raise error_at(text, arg.pos, "expected label selectors only, got vector selector instead")


def check_binary(text: str, node: n.Binary) -> None:
    """Check the two sides of an operator and its modifiers."""
    left, right = node.lhs.type, node.rhs.type
    matching = node.matching
    both_scalar = left == right == n.SCALAR
    problem, pos = "", node.op_pos
    for side in (node.lhs, node.rhs):
        if side.type not in (n.SCALAR, n.VECTOR):
            raise error_at(text, side.pos, "binary expression must contain only scalar and instant vector types")
    if both_scalar and node.op in ("==", "!=", "<", "<=", ">", ">=") and not node.return_bool:
        problem = "comparisons between scalars must use BOOL modifier"
    elif n.SCALAR in (left, right) and matching.card == "many-to-many":
        problem = f'set operator "{node.op}" not allowed in binary scalar expression'
    elif n.SCALAR in (left, right) and (matching.names or matching.include):
        problem = "vector matching only allowed between instant vectors"
    elif n.SCALAR in (left, right) and (matching.fill_left is not None or matching.fill_right is not None):
        problem = "filling in missing series only allowed between instant vectors"
    elif matching.on:
        twice = next((name for name in matching.include if name in matching.names), None)
        if twice is not None:
            problem = f'label "{twice}" must not occur in ON and GROUP clause at once'
    if problem:
        raise error_at(text, pos, problem)


def check_whole(text: str, root: n.Node) -> None:
    """Check what needs a look at parent and child: empty selectors, places of smoothed and anchored."""
    exempt: set[int] = set()
    for node in n.walk(root):
        if isinstance(node, n.Call):
            if node.func == "info" and len(node.args) > 1:
                exempt.add(id(node.args[1]))
            _check_modes(text, node)
        elif isinstance(node, n.VectorSelector) and id(node) not in exempt:
            _check_selector(text, node)


def _check_selector(text: str, node: n.VectorSelector) -> None:
    if all(predicate(matcher.op, matcher.value)("") for matcher in node.matchers):
        raise error_at(text, node.pos, "vector selector must contain at least one non-empty matcher")
    names = [matcher.value for matcher in node.matchers if matcher.name == NAME and matcher.op == "="]
    if node.name and len(names) > 1:
        raise error_at(text, node.pos, f'metric name must not be set twice: "{names[0]}" or "{names[1]}"')


def _check_modes(text: str, call: n.Call) -> None:
    for arg in call.args:
        inner = n.strip_parens(arg)
        if not isinstance(inner, n.MatrixSelector) or not inner.vector.mode:
            continue
        mode = inner.vector.mode
        allowed = _SMOOTHED if mode == "smoothed" else _ANCHORED
        if call.func not in allowed:
            names = ", ".join(sorted(allowed))
            message = f"{mode} modifier can only be used with: {names} - not with {call.func}"
            raise error_at(text, call.pos, message)
