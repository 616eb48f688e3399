"""Which unit an expression's value has, and numbers written in it; hides metric-name suffixes and unit arithmetic.

The suffixes are those of Prometheus' naming practice: base units last, then _total, _sum, _count or _bucket.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from monitoring.promql import Query, nodes


class Quantity(StrEnum):
    """What kind of thing is measured."""

    PLAIN = ""
    COUNT = "count"
    BYTES = "bytes"
    SECONDS = "seconds"
    TIMESTAMP = "timestamp"
    RATIO = "ratio"
    PERCENT = "percent"
    CELSIUS = "celsius"
    WATTS = "watts"
    HERTZ = "hertz"
    JOULES = "joules"


@dataclass(frozen=True, slots=True)
class Unit:
    """A quantity, or so much of it per second."""

    quantity: Quantity = Quantity.PLAIN
    is_rate: bool = False


PLAIN = Unit()

_SUFFIXES = {
    "bytes": Quantity.BYTES,
    "seconds": Quantity.SECONDS,
    "ratio": Quantity.RATIO,
    "percent": Quantity.PERCENT,
    "celsius": Quantity.CELSIUS,
    "watts": Quantity.WATTS,
    "hertz": Quantity.HERTZ,
    "joules": Quantity.JOULES,
}
_TIMESTAMPS = ("_timestamp_seconds", "_timestamp", "_start_time_seconds", "_boot_time_seconds")
_RATES = frozenset({"rate", "irate", "deriv"})
_COUNTS = frozenset(
    {
        *("count_over_time", "changes", "resets", "absent", "absent_over_time", "present_over_time", "scalar", "sgn"),
        *(
            "day_of_month",
            "day_of_week",
            "day_of_year",
            "days_in_month",
            "hour",
            "minute",
            "month",
            "year",
            "exp",
            "ln",
        ),
        *("log2", "log10", "sqrt", "histogram_count", "histogram_fraction"),
    }
)
_COUNTING_AGGREGATIONS = frozenset({"count", "count_values", "group"})


def unit_of_metric(name: str) -> Unit:
    """Return the unit that a metric's name tells: node_memory_free_bytes is in bytes, http_requests_total counts."""
    base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_total")
    if name.endswith("_count"):
        return Unit(Quantity.COUNT)
    if base.endswith(_TIMESTAMPS):
        return Unit(Quantity.TIMESTAMP)
    quantity = _SUFFIXES.get(base.rsplit("_", 1)[-1])
    if quantity is None:
        return Unit(Quantity.COUNT) if name.endswith("_total") else PLAIN
    return Unit(quantity)


def unit_of(query: Query) -> Unit:
    """Return the unit of a query's value, PLAIN when it cannot be told."""
    return _unit(query.root)


def _unit(node: nodes.Node) -> Unit:
    match node:
        case nodes.Paren() | nodes.Unary():
            return _unit(node.expr)
        case nodes.VectorSelector():
            return unit_of_metric(_name(node))
        case nodes.MatrixSelector():
            return _unit(node.vector)
        case nodes.Subquery():
            return _unit(node.expr)
        case nodes.Call():
            return _unit_of_call(node)
        case nodes.Aggregate():
            return Unit(Quantity.COUNT) if node.op in _COUNTING_AGGREGATIONS else _unit(node.expr)
        case nodes.Binary():
            return _unit_of_binary(node)
    return PLAIN


def _name(node: nodes.VectorSelector) -> str:
    named = (matcher.value for matcher in node.matchers if matcher.name == "__name__" and matcher.op == "=")
    return node.name or next(named, "")


def _unit_of_call(node: nodes.Call) -> Unit:
    if node.func in ("time", "timestamp"):
        return Unit(Quantity.TIMESTAMP)
    if node.func in _COUNTS:
        return PLAIN
    measured = [arg for arg in node.args if arg.type in (nodes.VECTOR, nodes.MATRIX)]
    if not measured:
        return PLAIN
    # The last vector is the one measured: histogram_quantile(q, buckets), quantile_over_time(q, range).
    unit = _unit(measured[-1])
    if node.func == "histogram_quantile":
        return Unit(unit.quantity)
    return Unit(unit.quantity, True) if node.func in _RATES else unit


def _unit_of_binary(node: nodes.Binary) -> Unit:
    left, right = _unit(node.lhs), _unit(node.rhs)
    left_number, right_number = _constant(node.lhs), _constant(node.rhs)
    match node.op:
        case "+" | "-":
            if left_number is not None or right_number is not None:
                return right if left_number is not None else left
            if node.op == "-" and left == right == Unit(Quantity.TIMESTAMP):
                return Unit(Quantity.SECONDS)
            return left if left == right else PLAIN
        case "*":
            is_share = Quantity.RATIO in (left.quantity, right.quantity)
            return Unit(Quantity.PERCENT) if is_share and 100 in (left_number, right_number) else PLAIN
        case "/":
            part = _hundredth(node.lhs)
            if part is not None and _unit_of_quotient(_unit(part), right, right_number).quantity is Quantity.RATIO:
                return Unit(Quantity.PERCENT)  # 100 * a / b, as people write a share
            return _unit_of_quotient(left, right, right_number)
        case "%":
            return left
        case "^" | "atan2":
            return PLAIN
        case "and" | "or" | "unless":
            return left if left == right or node.op != "or" else PLAIN
    return right if left_number is not None else left


def _unit_of_quotient(left: Unit, right: Unit, right_number: float | None) -> Unit:
    if right_number is not None:
        return Unit(Quantity.RATIO) if left.quantity is Quantity.PERCENT and right_number == 100 else PLAIN
    if left.is_rate == right.is_rate:
        if left.quantity is right.quantity:
            return PLAIN if left.quantity is Quantity.PLAIN else Unit(Quantity.RATIO)
        # Sum over count of a histogram or summary: the mean, in the unit of the sum.
        if right.quantity is Quantity.COUNT:
            return Unit(left.quantity)
    return PLAIN


def _hundredth(node: nodes.Node) -> nodes.Node | None:
    """The other factor when the node is a product with 100."""
    inner = nodes.strip_parens(node)
    if not isinstance(inner, nodes.Binary) or inner.op != "*":
        return None
    if _constant(inner.lhs) == 100:
        return inner.rhs
    return inner.lhs if _constant(inner.rhs) == 100 else None


def _constant(node: nodes.Node) -> float | None:
    inner = nodes.strip_parens(node)
    return inner.value if isinstance(inner, nodes.Number) else None


def number(value: float) -> str:
    """Return a number as people write it: at most six digits, thousands set apart, no exponent below 1e15."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    if 1e6 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.6g}"


def scales(unit: Unit) -> tuple[tuple[str, float], ...]:
    """The units that people type a number in, each with its size in the base unit; one without a name is plain."""
    per_second = "/s" if unit.is_rate else ""
    match unit.quantity:
        case Quantity.BYTES:
            names = ("B", "KiB", "MiB", "GiB", "TiB")
            return tuple((name + per_second, 1024.0**power) for power, name in enumerate(names))
        case Quantity.SECONDS if not unit.is_rate:
            return (("s", 1.0), ("ms", 0.001), ("min", 60.0), ("h", 3600.0), ("d", 86400.0))
        case Quantity.RATIO if not unit.is_rate:
            return (("%", 0.01), ("of 1", 1.0))
        case Quantity.PERCENT if not unit.is_rate:
            return (("%", 1.0),)
        case Quantity.CELSIUS | Quantity.WATTS | Quantity.HERTZ | Quantity.JOULES if not unit.is_rate:
            return ((_SYMBOLS[unit.quantity], 1.0),)
        case Quantity.COUNT if unit.is_rate:
            return (("per second", 1.0), ("per minute", 1 / 60), ("per hour", 1 / 3600))
    return (("per second" if unit.is_rate else "", 1.0),)


def format_value(value: float, unit: Unit = PLAIN) -> str:
    """Return a number in its unit: 1.5 GiB, 350 ms, 12.5%, 3 per second."""
    if not math.isfinite(value):
        return number(value)
    match unit.quantity:
        case Quantity.BYTES:
            return _bytes(value) + ("/s" if unit.is_rate else "")
        case Quantity.SECONDS if not unit.is_rate:
            return _seconds(value)
        case Quantity.RATIO if not unit.is_rate:
            return f"{_short(value * 100)}%"
        case Quantity.PERCENT if not unit.is_rate:
            return f"{_short(value)}%"
        case Quantity.CELSIUS | Quantity.WATTS | Quantity.HERTZ | Quantity.JOULES if not unit.is_rate:
            return f"{_short(value)} {_SYMBOLS[unit.quantity]}"
        case Quantity.COUNT if unit.is_rate:
            return f"{_short(value)} per second"
        case Quantity.SECONDS:
            return number(value)  # seconds per second: a share of time, cores and the like
    return f"{number(value)} per second" if unit.is_rate else number(value)


_SYMBOLS = {Quantity.CELSIUS: "°C", Quantity.WATTS: "W", Quantity.HERTZ: "Hz", Quantity.JOULES: "J"}


def _short(value: float) -> str:
    """Four significant digits are enough beside a unit."""
    return number(float(f"{value:.4g}"))


def _bytes(value: float) -> str:
    size, unit = abs(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{'-' if value < 0 else ''}{_short(size)} {unit}"


def _seconds(value: float) -> str:
    size, sign = abs(value), "-" if value < 0 else ""
    if size >= 60:
        return sign + _clock(round(size))
    for unit, seconds in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if size >= seconds or (unit == "s" and size == 0):
            return f"{sign}{_short(size / seconds)} {unit}"
    return f"{sign}{_short(size / 1e-9)} ns"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count)


def in_words(seconds: float) -> str:
    """Return a duration in words: 5 minutes, 1 hour 30 minutes, 0.5 seconds."""
    if seconds < 60:
        return f"{number(seconds)} second{'' if seconds == 1 else 's'}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "day"), (hours, "hour"), (minutes, "minute"), (rest, "second")]
    return " ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts if count)
