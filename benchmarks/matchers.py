"""What a matcher costs over 100,000 series that differ in one label: the index against RE2 asked value by value.

    python benchmarks/matchers.py [--series 100000]

Nothing of the answer is remembered from run to run; the layout of the values, made once a process, is timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import django
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
django.setup()
from monitoring.promql.matchers import Matcher, compile_regex  # noqa: E402
from monitoring.store.postings import KeyTable  # noqa: E402

RUNS = 7
PATTERNS = {
    "pods": [
        "pod-00017|pod-00018", "pod-00.*", "pod-0[0-9]*7", "pod-0.*5.", ".*5.*", "pod-(1|2|33).*", r"pod-[0-4]{2}\d+",
        "(.*1.*2.*|.*77)", "[^-]+-[^-]+", "pod-.*",
    ],
    "replicas": [
        "ranker-canary-.*", "ranker-(a|canary)-.*[0-9a-f]{5}", "ranker-.+-.*f0.*", ".*-1[0-9a-f]{4}", "(.*1.*2.*|.*77)",
    ],
    "instances": [r"gpu-1?[0-9]\..*eu-1.*:90.[13579]", "gpu-17.*", ".*:9001", ".*rack1[0-9].*", "(.*1.*2.*|.*77)"],
}  # fmt: skip


def names(kind: str, count: int) -> list[str]:
    """Values of one label, all different, as clusters have them."""
    draw = random.Random(1)
    if kind == "pods":
        return [f"pod-{number:05d}" for number in range(count)]
    if kind == "replicas":
        stages = ["a", "b", "canary"]
        ends = ((draw.choice(stages), draw.getrandbits(36), draw.getrandbits(20)) for _ in range(count))
        return [f"ranker-{stage}-{template:09x}-{pod:05x}" for stage, template, pod in ends]
    return [f"gpu-{n % 200}.rack{n % 37}.eu-{n % 3}.example.internal:{9000 + n // 200}" for n in range(count)]


def best(work: Callable[[], object], runs: int) -> float:
    """The shortest of some runs, in milliseconds."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def main() -> None:
    """Print a table for each kind of name; every answer is compared with RE2's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    count = parser.parse_args().series
    for kind, patterns in PATTERNS.items():
        values = names(kind, count)
        table = KeyTable()
        table.add((number, "up", json.dumps({"pod": value})) for number, value in enumerate(values))
        first = best(lambda table=table: table.mask([Matcher("=~", "pod", "x.*y")], frozenset()), 1)
        print(f"\n{kind}, such as {values[-1]} (first question of a process: {first:.0f} ms)\n")
        print("| regex | series | index ms | RE2 ms | ratio |\n|---|---|---|---|---|")
        for pattern in patterns:
            matcher, fullmatch = Matcher("=~", "pod", pattern), compile_regex(pattern).fullmatch

            def ours(table: KeyTable = table, matcher: Matcher = matcher) -> NDArray[np.bool_]:
                table.forget()
                return table.mask([matcher], frozenset())

            asked = best(ours, RUNS)
            theirs = best(lambda values=values, fullmatch=fullmatch: [fullmatch(value) for value in values], 1)
            answer = ours().tolist()
            if answer != [fullmatch(value) is not None for value in values]:
                sys.exit(f"{pattern}: the answers differ")
            shown = pattern.replace("|", "\\|")
            print(f"| `{shown}` | {sum(answer):,} | {asked:.2f} | {theirs:.0f} | {asked / theirs:.3f} |")


if __name__ == "__main__":
    main()
