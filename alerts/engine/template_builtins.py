"""The functions every Go template may call (Go, text/template/funcs.go): comparison, printing, indexing.

A function raises FunctionError with Go's words; the executor adds the place.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from alerts.engine.go_time import Duration, Time
from alerts.engine.go_values import is_true, show, sprint, sprintf, type_name
from monitoring.promql import Labels

# A message is cut long before this; more can only come from a loop that nobody meant.
MAX_OUTPUT_CHARS = 100_000


class FunctionError(Exception):
    """A function of a template cannot do what was asked."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the kinds of its parameters; when variadic, the last kind repeats from zero times on."""

    call: Callable[..., Any]
    params: tuple[str, ...]
    is_variadic: bool = False


def _kind(value: object) -> str:
    """Return Go's basic kind of a value, "" for what has none."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | Duration):
        return "int"
    if isinstance(value, float):
        return "float"
    return "string" if isinstance(value, str) else ""


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            equal = first is other
        elif _kind(first) != _kind(other):
            raise FunctionError("incompatible types for comparison")
        elif not _kind(first) and not isinstance(first, Time):
            raise FunctionError(f"non-comparable type {show(first)}: {type_name(first)}")
        else:
            equal = first == other
        if equal:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    kind = _kind(first)
    if not kind or not _kind(second) or kind == "bool":
        raise FunctionError("invalid type for comparison")
    if kind != _kind(second):
        raise FunctionError("incompatible types for comparison")
    return bool(first < second)


def _less_or_equal(first: Any, second: Any) -> bool:
    return _less(first, second) or _equal(first, second)


def _length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, Mapping | Sequence | Labels):
        return len(value)
    raise FunctionError(f"len of type {type_name(value)}" if value is not None else "len of nil pointer")


def _index(value: object, *keys: object) -> object:
    """Return value[key]...; a missing key of a map gives its zero value, "" for labels."""
    if value is None:
        raise FunctionError("index of untyped nil")
    for key in keys:
        match value:
            case Labels() | Mapping():
                if not isinstance(key, str):
                    raise FunctionError(f"value has type {type_name(key)}; should be string")
                value = value.get(key) if isinstance(value, Labels) else value.get(key, _zero(value))
            case Sequence():
                if isinstance(key, bool) or not isinstance(key, int):
                    raise FunctionError(f"cannot index slice/array with type {type_name(key)}")
                if not 0 <= key < len(value):
                    raise FunctionError(f"index out of range: {key}")
                value = value.encode()[key] if isinstance(value, str) else value[key]
            case _:
                raise FunctionError(f"can't index item of type {type_name(value)}")
    return value


def _zero(mapping: Mapping[str, object]) -> object:
    return "" if all(isinstance(value, str) for value in mapping.values()) else None


def _slice(value: object, *bounds: object) -> object:
    if not isinstance(value, Sequence) or len(bounds) > 2:
        raise FunctionError(f"can't slice item of type {type_name(value)}")
    ends = [0, len(value)]
    for position, bound in enumerate(bounds):
        if isinstance(bound, bool) or not isinstance(bound, int) or not 0 <= bound <= len(value):
            raise FunctionError(f"index out of range: {show(bound)}")
        ends[position] = bound
    if ends[0] > ends[1]:
        raise FunctionError(f"invalid slice index: {ends[0]} > {ends[1]}")
    return value[ends[0] : ends[1]]


def _escaped(*values: object) -> str:
    return html_escape(sprint(values))


def html_escape(text: str) -> str:
    """Return text with the five characters that mean something in HTML escaped as Go writes them."""
    return html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")


_ANY = ("any",)

BUILTINS: dict[str, Function] = {
    "print": Function(lambda *values: sprint(values), _ANY, is_variadic=True),
    "println": Function(lambda *values: " ".join(show(value, True) for value in values) + "\n", _ANY, is_variadic=True),
    "printf": Function(lambda layout, *values: sprintf(layout, values), ("string", "any"), is_variadic=True),
    "html": Function(_escaped, _ANY, is_variadic=True),
    "urlquery": Function(lambda *values: quote_plus(sprint(values)), _ANY, is_variadic=True),
    "len": Function(_length, _ANY),
    "index": Function(_index, ("any", "any"), is_variadic=True),
    "slice": Function(_slice, ("any", "any"), is_variadic=True),
    "not": Function(lambda value: not is_true(value), _ANY),
    "eq": Function(_equal, ("any", "any"), is_variadic=True),
    "ne": Function(lambda first, second: not _equal(first, second), ("any", "any")),
    "lt": Function(_less, ("any", "any")),
    "le": Function(_less_or_equal, ("any", "any")),
    "gt": Function(lambda first, second: not _less_or_equal(first, second), ("any", "any")),
    "ge": Function(lambda first, second: not _less(first, second), ("any", "any")),
}
