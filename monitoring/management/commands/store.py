"""`manage.py store`: look at the sample store, make it compact, check it, drop what is old."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring import store

from ._progress import Progress
from ._times import parse_time

MIB = 1 << 20


class Command(BaseCommand):
    """Each action is safe while the portal runs."""

    help = "Show, compact, verify or shorten the sample store."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take one action."""
        actions = parser.add_subparsers(dest="action", required=True)
        status = actions.add_parser("status", help="sizes, lags, and where the series come from")
        status.add_argument("--top", type=int, default=10, help="how many metrics, sources and labels to name")
        actions.add_parser("compact", help="do all housekeeping that is due, now")
        actions.add_parser("verify", help="read everything that is compressed; exit 1 if something cannot be read")
        drop = actions.add_parser("drop", help="remove old samples for good")
        drop.add_argument("--before", required=True, help="ISO time, Unix seconds, or an age such as 30d")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the action."""
        now_ms = round(time.time() * 1000)
        if options["action"] == "status":
            self._status(store.status(now_ms, options["top"]))
        elif options["action"] == "compact":
            self._compact(now_ms)
        elif options["action"] == "verify":
            self._verify()
        else:
            self._drop(options["before"])

    def _status(self, found: store.StoreStatus) -> None:
        for tier in found.tiers:
            name = tier.name.removeprefix("store_")
            line = f"{name:10} {tier.bytes / MIB:12.1f} MiB  {tier.partitions:4} partitions  about {tier.rows:,} rows"
            self.stdout.write(line)
        self.stdout.write(f"{'all':10} {found.bytes / MIB:12.1f} MiB")
        floor = datetime.fromtimestamp(found.floor_ms / 1000, UTC).isoformat() if found.floor_ms else "nothing yet"
        self.stdout.write(f"compacted up to {floor}; windows behind: {found.compact_lag_windows}")
        self.stdout.write(f"oldest row is {found.pivot_lag_seconds:.0f} s old; planned drops: {found.planned_drops}")
        series = found.cardinality
        self.stdout.write(f"{found.series:,} series, {found.keys:,} keys, {found.sources:,} sources are known")
        self.stdout.write(
            f"{series.series:,} series were sent in the last 24 hours, {series.new:,} of them for the first time"
        )
        for title, counts in (
            ("series by metric", [(each.series, each.name) for each in series.by_metric]),
            ("series by source", [(each.series, each.name) for each in series.by_source]),
            ("values by label", [(each.values, each.name) for each in series.by_label]),
        ):
            self.stdout.write(f"\n{title}")
            for count, name in counts:
                self.stdout.write(f"  {count:8,}  {name}")

    def _compact(self, now_ms: int) -> None:
        while True:
            report = store.keep_house(now_ms)
            self.stdout.write(
                f"turned {report.pivoted_rows:,} rows, compacted {report.compacted.windows:,} source windows"
                f" ({report.compacted.samples:,} samples), merged {report.merged.sources:,} sources of days,"
                f" dropped {report.planned_drops + report.dropped.partitions} partitions"
            )
            is_moving = report.compacted.windows or report.merged.sources or report.pivoted_rows
            if report.is_done or not is_moving:
                return

    def _verify(self) -> None:
        before = store.status(0)
        total = sum(tier.partitions for tier in before.tiers if tier.name in ("store_chunk", "store_day"))
        progress = Progress(self.stderr, total)
        problems = samples = series = 0
        for done, checked in enumerate(store.verify(), 1):
            samples, series = samples + checked.samples, series + checked.series
            progress.show(done, f"{samples:,} samples")
            for problem in checked.problems:
                problems += 1
                where = f"source {problem.source_id} key {problem.key_id} window {problem.window}"
                self.stdout.write(f"{problem.table} {where}: {problem.text}")
        progress.end()
        self.stdout.write(f"{series:,} packed series, {samples:,} samples, {problems} problems")
        if problems:
            raise CommandError(f"{problems} packed series cannot be read")

    def _drop(self, before: str) -> None:
        at = parse_time(before, datetime.now(UTC))
        dropped = store.drop_before(round(at.timestamp() * 1000))
        self.stdout.write(
            f"dropped {dropped.partitions} partitions and {dropped.rows:,} rows, {dropped.bytes / MIB:.1f} MiB"
        )
        if not dropped.is_done:
            raise CommandError("some partitions are being read; run it again")
