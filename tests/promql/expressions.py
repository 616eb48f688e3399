"""Random series and random queries over them: material for fuzzing and property tests.

Everything comes from one seeded ``random.Random``, so a failure is repeated by its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from monitoring.promql import STALE_NAN, Labels

STEP_MS = 15_000
RANGES = ("1m", "2m30s", "5m", "7m1s", "10m")
METRICS = ("a_total", "b_total", "g", "h")
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ELEMENTWISE = ("abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin", "cos", "atan", "deg", "rad")
OVER_TIME = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "changes",
    "resets",
    "deriv",
    "count_over_time",
    "present_over_time",
    "last_over_time",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "stddev_over_time",
    "stdvar_over_time",
]
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
LABELS = ("x", "y", "z")


@dataclass
class Data:
    """Random series: label set, times in ms, values."""

    series: list[tuple[Labels, list[int], list[float]]]
    end_ms: int


def random_data(random: Random, start_ms: int = 0, samples: int = 80, wild: bool = True) -> Data:
    """Return some series of every metric, with gaps, resets, stale markers, NaN, infinities and jitter."""
    series = []
    for metric in METRICS:
        for x in range(random.randint(1, 3)):
            for y in range(random.randint(1, 2)):
                labels = {"__name__": metric, "x": str(x), "y": str(y)}
                if random.random() < 0.4:
                    labels["z"] = random.choice(("p", "q"))
                series.append((Labels.of(labels), *_samples(random, metric, start_ms, samples, wild)))
    for le in ("0.1", "1", "10", "+Inf"):
        labels = Labels.of({"__name__": "c_bucket", "le": le, "x": "0"})
        rise = {"0.1": 1, "1": 3, "10": 4, "+Inf": 5}[le]
        times = [start_ms + i * STEP_MS for i in range(samples)]
        series.append((labels, times, [float(rise * i) for i in range(samples)]))
    return Data(series, start_ms + samples * STEP_MS)


def _samples(random: Random, metric: str, start_ms: int, samples: int, wild: bool) -> tuple[list[int], list[float]]:
    jitter = random.random() < 0.3
    times, values, level = [], [], float(random.randint(0, 5))
    for i in range(samples):
        if random.random() < 0.06:
            continue
        times.append(start_ms + i * STEP_MS + (random.randint(0, 900) if jitter else 0))
        if metric.endswith("_total"):
            level = 0.0 if random.random() < 0.05 else level + random.randint(0, 9)
            value = level
        else:
            value = random.choice((random.uniform(-50, 50), float(random.randint(-3, 3))))
        odd = random.random()
        if odd < 0.02:
            value = STALE_NAN
        elif wild and odd < 0.035:
            value = random.choice((math.nan, math.inf, -math.inf))
        values.append(value)
    return times, values


def random_query(random: Random, depth: int = 3) -> str:
    """Return a query of instant vector type."""
    return _vector(random, depth)


def _selector(random: Random) -> str:
    name = random.choice(METRICS)
    matchers = []
    if random.random() < 0.3:
        matchers.append(random.choice(('x="0"', 'x!="1"', 'y=~"0|1"', 'z=~".+"', 'z=""', 'x!~"2.*"')))
    return name + (f"{{{','.join(matchers)}}}" if matchers else "")


def _place(random: Random) -> str:
    text = ""
    if random.random() < 0.12:
        text += f" offset {random.choice(('1m', '-1m', '45s', '3m'))}"
    if random.random() < 0.08:
        text += f" @ {random.choice(('300', '600', 'start()', 'end()', '450.5'))}"
    return text


def _range(random: Random, depth: int) -> str:
    if depth > 1 and random.random() < 0.25:
        step = random.choice(("", "30s", "1m", "17s"))
        return f"({_vector(random, depth - 1)})[{random.choice(RANGES)}:{step}]{_place(random)}"
    return f"{_selector(random)}[{random.choice(RANGES)}]{_place(random)}"


def _scalar(random: Random, depth: int) -> str:
    kind = random.random()
    if kind < 0.6 or depth < 1:
        return random.choice(("0", "1", "2", "0.5", "-1", "10", "NaN", "Inf", "1e3"))
    if kind < 0.8:
        return f"scalar({_vector(random, depth - 1)})"
    return random.choice(("time()", "(time() % 60)", "pi()"))


def _grouping(random: Random) -> str:
    if random.random() < 0.3:
        return ""
    names = ", ".join(random.sample(LABELS, random.randint(0, 2)))
    return f"{random.choice(('by', 'without'))} ({names})"


def _aggregate(random: Random, depth: int) -> str:
    inner = _vector(random, depth - 1)
    kind = random.random()
    if kind < 0.7:
        return f"{random.choice(AGGREGATIONS)} {_grouping(random)} ({inner})"
    if kind < 0.85:
        return f"{random.choice(('topk', 'bottomk'))} {_grouping(random)} ({random.randint(0, 4)}, {inner})"
    if kind < 0.95:
        return f"quantile {_grouping(random)} ({random.choice(('0', '0.3', '0.5', '0.99', '1', '1.2'))}, {inner})"
    return f'count_values {_grouping(random)} ("v", {inner})'


def _call(random: Random, depth: int) -> str:
    kind = random.random()
    if kind < 0.55:
        return f"{random.choice(OVER_TIME)}({_range(random, depth)})"
    if kind < 0.62:
        return f"predict_linear({_range(random, depth)}, {random.choice(('60', '-30', '600'))})"
    if kind < 0.69:
        return f"quantile_over_time({random.choice(('0.1', '0.5', '0.9'))}, {_range(random, depth)})"
    inner = _vector(random, depth - 1)
    if kind < 0.8:
        return f"{random.choice(ELEMENTWISE)}({inner})"
    return random.choice(
        (
            f"round({inner}, 0.5)",
            f"clamp({inner}, -5, {_scalar(random, 0)})",
            f"clamp_min({inner}, {_scalar(random, 0)})",
            f"clamp_max({inner}, {_scalar(random, 0)})",
            f"timestamp({inner})",
            f"absent({inner})",
            f"vector({_scalar(random, depth - 1)})",
            f'label_replace({inner}, "z", "$1-n", "x", "(.*)")',
            f'label_join({inner}, "w", "-", "x", "y")',
            f"histogram_quantile({random.choice(('0.5', '0.9'))}, rate(c_bucket[{random.choice(RANGES)}]))",
            f"absent_over_time({_range(random, depth)})",
        )
    )


def _binary(random: Random, depth: int) -> str:
    left, right = _vector(random, depth - 1), _vector(random, depth - 1)
    kind = random.random()
    match = ""
    if random.random() < 0.5:
        match = f" {random.choice(('on', 'ignoring'))} ({', '.join(random.sample(LABELS, random.randint(0, 2)))})"
    if kind < 0.2:
        return f"({left}) {random.choice(('and', 'or', 'unless'))}{match} ({right})"
    if kind < 0.45:
        op, side = random.choice(ARITHMETIC + COMPARISONS), _scalar(random, depth - 1)
        pair = (f"({left})", side) if random.random() < 0.6 else (side, f"({left})")
        return f"{pair[0]} {op} {pair[1]}"
    group = f" {random.choice(('group_left', 'group_right'))} ({random.choice(('', 'z', 'y'))})" if match else ""
    if group and random.random() < 0.5:
        group = ""
    if random.random() < 0.5:
        return f"({left}) {random.choice(ARITHMETIC)}{match}{group} ({right})"
    boolean = random.choice((" bool", ""))
    return f"({left}) {random.choice(COMPARISONS)}{boolean}{match}{group} ({right})"


def _vector(random: Random, depth: int) -> str:
    kind = random.random()
    if depth <= 0 or kind < 0.1:
        return _selector(random) + _place(random)
    if kind < 0.4:
        return _call(random, depth)
    if kind < 0.65:
        return _aggregate(random, depth)
    if kind < 0.95:
        return _binary(random, depth)
    return f"-({_vector(random, depth - 1)})"
