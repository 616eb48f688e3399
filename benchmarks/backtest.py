"""What a backtest of a month costs: 30 days of one-minute data, one rule at a time, no peer.

    python -m benchmarks.backtest [--series 10,100] [--days 30] [--interval 60]

History is written to the store as an import writes it. Then each rule is tried over all of it as a worker does, routing
and messages included, and a limit is suggested. Prints seconds, CPU seconds, samples read and what was found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tests.conftest import running_services

END = datetime(2026, 3, 5, tzinfo=UTC)
# What a rule asks, and its limit.
RULES = (
    ("a value", "load", 80.0),
    ("a rate over 5 minutes", "rate(work_total[5m])", 1.8),
    ("an average over an hour", "avg_over_time(load[1h])", 72.0),
    ("a condition", "load > 80", None),
)


def fill(series: int, days: float) -> int:
    """Store the history of some hosts; returns how many samples."""
    from monitoring import query, store
    from monitoring.store.backfill import Batch

    count = round(days * 1440)
    ts = query.to_ms(END) - 60_000 * np.arange(count, dtype=np.int64)[::-1]
    noise = np.random.default_rng(7)
    for number in range(series):
        # A day's rhythm with noise: it passes its limit now and then, as what is watched does.
        day = 60 + 20 * np.sin(np.arange(count) / 1440 * 2 * np.pi + number)
        load = day + noise.normal(0, 4, count)
        work = np.cumsum(60 * (1 + load / 100))
        lines = {"load": (ts.tolist(), load.tolist()), "work_total": (ts.tolist(), work.tolist())}
        host = f"host-{number:03d}"
        store.write(Batch((f"import:{host}", (("host", host),), True), lines), now_ms=query.to_ms(END))
    return 2 * series * count


def rule_of(expr: str, limit: float | None, interval: float) -> Any:
    """A saved rule with one limit, told to a webhook."""
    from tests import build

    rule = build.rule(
        f"R{time.monotonic_ns()}", expr, group=build.rule_group(interval_seconds=interval), hold_seconds=300
    )
    if limit is not None:
        build.threshold(rule, limit, "warning")
    return rule


def tried(rule: Any, days: float, kind: str) -> tuple[float, float, Any]:
    """Seconds, CPU seconds and the finished run."""
    from alerts import backtest_content, backtest_runs
    from alerts.models import Backtest

    content = backtest_content.freeze_saved(rule)
    if kind == Backtest.Kind.SUGGEST:
        content = {**content, "row": 0 if content["limits"] else None}
    run = backtest_runs.ask([content], None, END, span="30d" if days <= 30 else "all", kind=kind)
    started, cpu = time.perf_counter(), time.process_time()
    backtest_runs.run_next(lambda: datetime.now(UTC))
    taken = time.perf_counter() - started, time.process_time() - cpu
    run.refresh_from_db()
    return *taken, run


def told(run: Any) -> str:
    """What a run found, in a few words."""
    if run.problem:
        return run.problem
    result = run.result
    if "marks" in result:
        return ", ".join(f"{mark['name']} {mark['text']}" for mark in result["marks"])
    return f"{len(result['sides'][0]['episodes'])} episodes"


def measure(series: int, days: float, interval: float) -> None:
    """Print a line for each rule."""
    from alerts.models import Backtest

    started = time.perf_counter()
    samples = fill(series, days)
    print(f"{series} hosts, {samples:,} samples stored in {time.perf_counter() - started:.1f} s")
    for name, expr, limit in RULES:
        for kind in (Backtest.Kind.BACKTEST, Backtest.Kind.SUGGEST):
            seconds, cpu, run = tried(rule_of(expr, limit, interval), days, kind)
            print(f"  {name:26} {kind:9} {seconds:6.2f} s  {cpu:6.2f} CPU s  {run.samples:>12,} samples  {told(run)}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", default="10")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--interval", type=float, default=60)
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
    os.environ.pop("DATABASE_URL", None)
    for series in map(int, given.series.split(",")):
        with running_services() as services:
            os.environ.update(services)
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            from tests import build

            root = build.route()
            build.integration(root.receiver, "webhook", url="http://127.0.0.1:9/x")
            measure(series, given.days, given.interval)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
