"""Go's values inside a template: their type names, truth, text form and printf (Go, fmt/print.go and fmt/format.go).

Python int, float, bool, str and None stand for Go's int, float64, bool, string and nil; mappings and sequences for maps
and slices. What has fields is a Struct.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from alerts.engine.go_time import Duration, Time
from monitoring.promql import Labels

# fmt/format.go: a wider or more precise verb is refused.
_MAX_WIDTH = 10_000


class SafeHtml(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


class QueryResult(tuple["Struct", ...]):
    """What `query` returns in a template: samples."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Struct:
    """A Go struct: a type name for messages, its fields, and fields of ours that are not printed with it."""

    type_name: str
    fields: Mapping[str, object]
    hidden: Mapping[str, object] = field(default_factory=dict, kw_only=True)


def sample(labels: Labels | Mapping[str, str], value: float) -> Struct:
    """Return one element of a query result as templates see it: .Labels and .Value."""
    return Struct("*template.sample", {"Labels": labels, "Value": value})


def type_name(value: object) -> str:
    """Return Go's name of a value's type, as error messages give it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case SafeHtml():
            return "template.HTML"
        case str():
            return "string"
        case QueryResult():
            return "template.queryResult"
        case Struct():
            return value.type_name
        case Time():
            return "*time.Time"
        case Duration():
            return "time.Duration"
        case Labels():
            return "map[string]string"
        case Mapping():
            return "map[string]interface {}"
    return "[]interface {}"


def is_true(value: object) -> bool:
    """Return a value's truth: zero, "", nil and what is empty are false, NaN and structs are true."""
    return True if isinstance(value, Struct | Time) else bool(value)


def format_float(value: float) -> str:
    """Return a float as %v prints it: the shortest text that reads back, 95.5, 1e+06, NaN, +Inf.

    Go, strconv/ftoa.go: the exponent form is used below 1e-04 and from 1e+06 on when the shortest form is asked for.
    """
    if 1e-4 <= abs(value) < 1e6:  # here repr has no exponent either; nearly all values take this way
        return repr(value).removesuffix(".0")
    if not math.isfinite(value):
        return _special(value)
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0") or "0"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    power = len(digits) + int(exponent) - 1
    if power < -4 or power >= _SHORTEST_PRECISION:
        return f"{sign}{shown[0]}{'.' + shown[1:] if len(shown) > 1 else ''}e{power:+03d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{shown}"
    whole = shown[: power + 1].ljust(power + 1, "0")
    return f"{sign}{whole}" + (f".{shown[power + 1 :]}" if len(shown) > power + 1 else "")


_SHORTEST_PRECISION = 6


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def four_digits(value: float) -> str:
    """Return a float with four significant digits, as %.4g prints it."""
    return f"{value:.4g}" if math.isfinite(value) else _special(value)


def show(value: object, is_nested: bool = False) -> str:
    """Return a value as %v prints it; nil is "<no value>" by itself and "<nil>" inside another value."""
    match value:
        case str():
            return str(value)
        case None:
            return "<nil>" if is_nested else "<no value>"
        case bool():
            return "true" if value else "false"
        case float():
            return format_float(value)
        case Struct():
            return "{" + " ".join(show(part, True) for part in value.fields.values()) + "}"
        case Labels():
            return "map[" + " ".join(f"{name}:{text}" for name, text in value) + "]"
        case Mapping():
            return "map[" + " ".join(f"{name}:{show(value[name], True)}" for name in sorted(value)) + "]"
        case Sequence():
            return "[" + " ".join(show(part, True) for part in value) + "]"
    return str(value)


def sprint(values: Sequence[object]) -> str:
    """Return values printed one after another, with a space between two of which neither is a string (fmt.Sprint)."""
    parts: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            parts.append(" ")
        parts.append(show(value, True))
    return "".join(parts)


_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?(?P<verb>.|$)", re.DOTALL)


def sprintf(layout: str, values: Sequence[object]) -> str:
    """Return values set into a layout by Go's verbs; mistakes show in the text as Go shows them, e.g. %!d(string=x)."""
    left = list(values)

    def place(match: re.Match[str]) -> str:
        flags, verb = match["flags"], match["verb"]
        width, precision = _count(match["width"], left), _count(match["precision"], left)
        if width is not None and width < 0:
            flags, width = flags + "-", -width
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        if (width or 0) > _MAX_WIDTH or (precision or 0) > _MAX_WIDTH:
            return "%!(BADWIDTH)"
        if not left:
            return f"%!{verb}(MISSING)"
        return _pad(_verb(left.pop(0), verb, flags, precision), flags, width, verb)

    text = _VERB.sub(place, layout)
    if left:
        text += "%!(EXTRA " + ", ".join(f"{type_name(value)}={show(value, True)}" for value in left) + ")"
    return text


def _count(text: str | None, left: list[object]) -> int | None:
    if text is None:
        return None
    if text != "*":
        return int(text or "0")
    value = left.pop(0) if left else None
    return value if isinstance(value, int) else None


def _pad(text: str, flags: str, width: int | None, verb: str) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and verb in "dfeEgGxXobtvFs" and text not in ("NaN", "+Inf", "-Inf"):
        signed = text[:1] in ("+", "-") and verb not in "sv"
        return (text[0] if signed else "") + text[1 if signed else 0 :].rjust(width - signed, "0")
    return text.rjust(width)


def _verb(value: object, verb: str, flags: str, precision: int | None) -> str:
    """Return one value under one verb, not yet padded."""
    plus = "+" if "+" in flags else (" " if " " in flags else "")
    text: str | None = None
    if verb == "v":
        text = show(value, True)
        if isinstance(value, int | float) and not isinstance(value, bool) and plus and text[:1] not in "+-N":
            text = plus + text
    elif verb == "T":
        text = type_name(value)
    elif isinstance(value, bool):
        text = show(value) if verb == "t" else None
    elif isinstance(value, int):
        text = _int_verb(value, verb, flags, plus)
    elif isinstance(value, float):
        text = _float_verb(value, verb, plus, precision)
    elif isinstance(value, str | Time | Duration):
        text = _string_verb(str(value), verb, precision)
    elif value is not None:
        text = _parts_verb(value, verb, flags, precision)
    if text is None:
        return f"%!{verb}({type_name(value)}={show(value, True)})" if value is not None else f"%!{verb}(<nil>)"
    return text


def _parts_verb(value: object, verb: str, flags: str, precision: int | None) -> str | None:
    """Return a map, struct or slice with the verb applied to each of its parts, keys included."""

    def part(inner: object) -> str:
        return _verb(inner, verb, flags, precision)

    match value:
        case Struct():
            return "{" + " ".join(map(part, value.fields.values())) + "}"
        case Labels() | Mapping():
            pairs = value if isinstance(value, Labels) else sorted(value.items())
            return "map[" + " ".join(f"{part(name)}:{part(inner)}" for name, inner in pairs) + "]"
        case Sequence():
            return "[" + " ".join(map(part, value)) + "]"
    return None


def _int_verb(value: int, verb: str, flags: str, plus: str) -> str | None:
    sign = "-" if value < 0 else plus
    size = abs(value)
    match verb:
        case "d":
            return f"{sign}{size}"
        case "x" | "X" | "o" | "b":
            alternate = "#" in flags
            prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}[verb] if alternate else ""
            return f"{sign}{prefix}{size:{verb}}"
        case "c" | "q" if 0 <= value <= 0x10FFFF:
            return chr(value) if verb == "c" else f"'{chr(value)}'"
        case "U":
            return f"U+{size:04X}"
    return None


def _float_verb(value: float, verb: str, plus: str, precision: int | None) -> str | None:
    if verb not in "feEgGF":
        return None
    if not math.isfinite(value):
        return _special(value)
    if verb in "gG" and precision is None:
        text = format_float(value)
        text = text.upper() if verb == "G" else text
    else:
        text = f"{value:.{6 if precision is None else precision}{verb.replace('F', 'f')}}"
    return text if text.startswith("-") else plus + text


_QUOTED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def _string_verb(text: str, verb: str, precision: int | None) -> str | None:
    cut = text if precision is None else text[:precision]
    match verb:
        case "s":
            return cut
        case "q":
            return '"' + cut.translate(_QUOTED) + '"'
        case "x" | "X":
            digits = cut.encode("utf-8", "surrogateescape").hex()
            return digits.upper() if verb == "X" else digits
    return None
