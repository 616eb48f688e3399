"""Asks a stream of hostile queries; run as its own process, so that a crash shows as its exit status.

``python -m tests.promql.hostile SEED SECONDS`` prints how many it asked and fails on any exception but QueryError.
"""

from __future__ import annotations

import resource
import sys
import time
from random import Random

from monitoring import promql
from monitoring.promql import Limits, QueryError
from tests.promql.expressions import random_data, random_query
from tests.promqltest_engine import MemoryStore

LIMITS = Limits(max_samples=2_000_000, max_result_points=2_000_000, timeout_seconds=1)
FIXED = (
    "1" * 400 + "s",
    "x[" + "9" * 5000 + "d]",
    "x offset " + "9" * 300 + "y",
    "9" * 5000,
    "0x" + "f" * 5000,
    "(" * 10_000,
    "(" * 10_000 + "x" + ")" * 10_000,
    "x" * 1_000_000,
    "x+" * 49_000 + "x",
    "-" * 50_000 + "x",
    "2^" * 30_000 + "2",
    "abs(" * 20_000,
    "sum by (a) (" * 5_000,
    "x[" * 5_000,
    "x[5m:" * 5_000,
    "x[" + "(" * 5_000,
    "x[" + "1+" * 20_000 + "1]",
    "{" * 10_000,
    'x{a=~"(a+)+$"}',
    'x{a=~"' + "(a{1,500}){1,500}" + '"}',
    'x{a=~"' + "a" * 90_000 + '"}',
    "x[1e400]",
    "x[9e18]",
    "x offset 1e300",
    "x offset nan",
    "x @ -100",
    "x @ 1e12",
    "x @ -9e15",
    "x[5m] @ 1e300",
    "max_over_time(x[100y:1ms])",
    "rate(a_total[9000000000s])",
    "1e309",
    "9" * 400,
    "0x" + "f" * 400,
    'label_replace(g, "\\xff", "$1", "x", "(.*)")',
    'label_replace(g, "d", "$1$2${9}$$${x}", "x", "((((((.*))))))")',
    "\x00",
    "x\udcff",
    '{"\\xff"="1"}',
    "topk(1e300, g)",
    "topk(NaN, g)",
    "g @ end() offset -9999999999",
    "quantile(NaN, g)",
    "range()",
    "x[range()]",
    "x[step():step()]",
    "g[1ms:1ms]",
    "count_values('', g)",
    "limit_ratio(9e99, g)",
    "predict_linear(g[5m], 1e308)",
    "g ^ 1e308 % 0",
    "vector(time()) ^ vector(-0.5)",
    "sort_by_label(g)",
    "histogram_quantile(0.9, g)",
    "info(g)",
    "info(g, {a=~'.*'})",
)
ALPHABET = (
    *"abgxyz019.,:;(){}[]\"'`\\+-*/%^=!~<>@#\n\t \u00e9\x00",
    *("rate(", "sum by (", " offset ", "[5m]", "[5m:]", " on () ", " group_left ", " bool ", "NaN", "Inf", "1e99"),
    *("smoothed", "anchored", "fill(", "step()", "start()", "5m", "0x", "\\x", "@ end()", "a_total", "g{"),
)


def mutated(random: Random) -> str:
    """Return a query with some of its text replaced, doubled or cut."""
    text = random_query(random, random.randint(0, 3))
    for _ in range(random.randint(0, 5)):
        place, width = random.randrange(len(text) + 1), random.randint(0, 6)
        text = (
            text[:place] + random.choice(("", random.choice(ALPHABET), text[place : place + 9])) + text[place + width :]
        )
    return text


def ask(text: str, random: Random, store: MemoryStore) -> None:
    """Ask one query both ways; anything but a QueryError passes through and ends the process."""
    at = random.choice((0, 600_000, -(10**13), 10**13, 1 << 59))
    for run in (
        lambda: promql.instant(text, at, store.select, LIMITS),
        lambda: promql.range_(text, 0, 900_000, 60_000, store.select, LIMITS),
        lambda: promql.parse(text).pretty(),
    ):
        try:
            run()
        except QueryError as error:
            str(error)


def main(seed: int, seconds: float) -> int:
    """Ask until the time is over; return the number of queries."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    random = Random(seed)
    store = MemoryStore()
    for labels, times, values in random_data(random).series:
        store.append(labels, times, values)
    for text in FIXED:
        ask(text, random, store)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        ask(mutated(random), random, store)
        count += 1
    return count


if __name__ == "__main__":
    sys.stdout.write(f"{main(int(sys.argv[1]), float(sys.argv[2]))} queries\n")
