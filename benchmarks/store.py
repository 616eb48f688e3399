"""Is the store smaller and faster than Prometheus? The same samples in both, answers compared, ratios in one run.

    python benchmarks/store.py [--hosts 100 --series 200 --hours 6 --capture FILE]

A ratio below 1 means that the store needs less than Debian's Prometheus. CPU counts all Postgres processes. Times of
ours are inside the process, Prometheus' over HTTP with JSON, as each is used by the portal and by its clients.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import store_data
from benchmarks.store_peer import Peer, series_head

STEP_MS = 15_000
HOUR_MS = 3_600_000
TEN_A_HOST = 'sum(rate(node_cpu_seconds_total{mode=~"user|system|idle|iowait|softirq"}[5m]))'
ONE_A_HOST = 'sum(rate(node_cpu_seconds_total{cpu="0",mode="user"}[5m]))'
ALL_CPU = "rate(node_cpu_seconds_total[5m])"


@dataclass
class Table:
    """Rows of results: what, ours, theirs, ratio, goal."""

    rows: list[tuple[str, float, float, float | None]] = field(default_factory=list)

    def add(self, what: str, ours: float, theirs: float, goal: float | None = None) -> None:
        """Keep a row and show it at once."""
        self.rows.append((what, ours, theirs, goal))
        shown = "" if goal is None else f"  goal {goal:4.2f} {'ok' if ours / theirs <= goal else 'MISSED'}"
        print(f"{what:58s} {ours:10.3f} {theirs:10.3f}  ratio {ours / theirs:6.3f}{shown}", flush=True)


class Ours:
    """An embedded Postgres with the store's tables, fed through `store.append` as the portal does."""

    def __init__(self, folder: Path) -> None:
        from alphaq_portal.embedded import Postgres, private_dir

        run = folder / "run"
        private_dir(run)
        postgres = Postgres(folder, run)
        self.child = postgres.start(say=lambda _: None)
        os.environ.update(DATABASE_URL=postgres.url(), ALPHAQ_DATA_DIR=str(folder), DJANGO_SETTINGS_MODULE=SETTINGS)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        from monitoring import query, store

        self.store, self.query = store, query
        self.server = psutil.Process(self.child.process.pid)
        self.me = psutil.Process()

    def cpu_seconds(self) -> float:
        """Return the CPU time of this process and of all Postgres processes."""
        total = 0.0
        for process in [self.me, self.server, *self.server.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system + getattr(times, "children_user", 0) * (process != self.me)
        return total

    def feed(self, names: list[str], hosts: list[np.ndarray], start_ms: int, house: Callable[[int], None]) -> None:
        """Append scrape after scrape of all hosts, a commit a step, housekeeping as time goes on."""
        scrape = self.store.Scrape
        labels = [{"instance": f"host{number:03d}", "job": "node"} for number in range(len(hosts))]
        for step in range(len(hosts[0])):
            at_ms = start_ms + step * STEP_MS
            self.store.append(
                [
                    scrape(f"target:{number}", labels[number], at_ms + offset_ms(number), names, values[step])
                    for number, values in enumerate(hosts)
                ],
                now_ms=at_ms + STEP_MS,
            )
            if step % 20 == 19:
                house(at_ms + STEP_MS)

    def bytes_of(self, *tiers: str) -> int:
        """Return the size of some tiers on disk, indexes included."""
        return sum(tier.bytes for tier in self.store.status(0).tiers if tier.name in tiers)


SETTINGS = "alphaq_portal.settings"


def offset_ms(number: int) -> int:
    """Return when in its interval a host is scraped; never at a full step, where 2.x and 3.x ranges differ."""
    return 7 + number * 131 % (STEP_MS - 10)


def median_ms(run: Callable[[], object], times: int = 9) -> float:
    """Return the median wall time of a call."""
    run()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return statistics.median(found) * 1000


def compare(
    ours: Ours, peer: Peer, table: Table, what: str, expr: str, span: tuple[int, int, int], goal: float
) -> None:
    """Time one range query on both and check that they agree."""
    from datetime import UTC, datetime

    start_ms, end_ms, step = span
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (start_ms, end_ms))
    mine = ours.query.range_(expr, start, end, step)
    theirs = peer.range_(expr, start_ms, end_ms, step)
    check(mine.values[mine.present], np.array([float(value) for line in theirs for _, value in line["values"]]), what)
    ours_ms = median_ms(lambda: ours.query.range_(expr, start, end, step))
    table.add(what + " [ms]", ours_ms, median_ms(lambda: peer.range_(expr, start_ms, end_ms, step)), goal)


def check(mine: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """Stop when the answers differ by more than rounding."""
    mine, theirs = np.sort(mine.ravel()), np.sort(theirs.ravel())
    if mine.shape != theirs.shape or not np.allclose(mine, theirs, rtol=1e-9, atol=1e-12):
        sys.exit(f"{what}: answers differ ({mine.shape} against {theirs.shape})")


def main() -> None:
    """Run the comparison."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="aq-bench-"))
    folder.chmod(0o711)
    source = _captured(options)
    kept = _chosen(source, options.series)
    source = store_data.Capture(
        [source.names[i] for i in kept], source.values[:, kept], source.is_counter[kept], source.decimals[kept], ""
    )
    peer = Peer(folder)
    ours = Ours(folder)
    try:
        _compare_all(options, source, ours, peer)
    finally:
        peer.stop()
        ours.child.ask_to_stop()
        ours.child.wait_stopped()
        shutil.rmtree(folder, ignore_errors=True)


def _compare_all(options: argparse.Namespace, source: store_data.Capture, ours: Ours, peer: Peer) -> None:
    steps = int(options.hours * HOUR_MS / STEP_MS)
    # Two hours more than asked lie before: after the merge of a day nothing is left in smaller tiers.
    start_ms = int(time.time() * 1000) // (24 * HOUR_MS) * 24 * HOUR_MS - 24 * HOUR_MS
    end_ms = start_ms + steps * STEP_MS
    hosts = [store_data.continued(source, seed, steps) for seed in range(options.hosts)]
    million = steps * options.hosts * len(source.names) / 1e6
    print(f"{options.hosts} hosts × {len(source.names)} series × {options.hours} h = {million:.1f} M samples\n")
    table = Table()
    theirs_cpu = _feed_peer(peer, source, hosts, start_ms)
    before = ours.cpu_seconds()
    _feed_ours(ours, source, hosts, start_ms)
    span = end_ms - options.hours * HOUR_MS + HOUR_MS // 6, end_ms, 60
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, worst phase", TEN_A_HOST, span, 0.8)
    compare(ours, peer, table, "6 h sum(rate[5m]), 1 series a host, worst phase", ONE_A_HOST, span, 2.0)
    _compare_instant(ours, peer, table, end_ms)
    worked = time.perf_counter()
    ours.store.compact(end_ms + 3 * HOUR_MS)
    print(f"{'(compaction of the rest took s)':58s} {time.perf_counter() - worked:10.3f}")
    size = peer.snapshot_bytes_per_sample()
    table.add("bytes a sample after compaction", ours.bytes_of("store_chunk", "catalogue") / million / 1e6, size, 0.55)
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, compacted", TEN_A_HOST, span, 0.5)
    compare(ours, peer, table, "6 h sum(rate[5m]), 1 series a host, compacted", ONE_A_HOST, span, 1.0)
    ours.store.compact(start_ms + 28 * HOUR_MS)
    ours.store.merge(start_ms + 28 * HOUR_MS)
    table.add("bytes a sample after merge", ours.bytes_of("store_day", "catalogue") / million / 1e6, size, 0.45)
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, merged", TEN_A_HOST, span, 0.5)
    table.add("CPU s per M samples, storage path", (ours.cpu_seconds() - before) / million, theirs_cpu / million)
    mine_mib = ours.me.memory_info().rss / 2**20
    print(f"\nmemory of Prometheus {peer.rss_mib():.0f} MiB, of this process with the test data {mine_mib:.0f} MiB")


def _feed_peer(peer: Peer, source: store_data.Capture, hosts: list[np.ndarray], start_ms: int) -> float:
    """Send ten minutes a request; return the CPU seconds that Prometheus took."""
    before, began = peer.cpu_seconds(), time.perf_counter()
    heads = [
        [series_head(name, {"instance": f"host{number:03d}", "job": "node"}) for name in source.names]
        for number in range(len(hosts))
    ]
    for first in range(0, len(hosts[0]), 40):
        for number, values in enumerate(hosts):
            part = values[first : first + 40]
            ts = start_ms + (first + np.arange(len(part))) * STEP_MS + offset_ms(number)
            peer.write(heads[number], ts, part)
    print(f"{'(Prometheus took s to load)':58s} {'':10s} {time.perf_counter() - began:10.3f}")
    return peer.cpu_seconds() - before


def _feed_ours(ours: Ours, source: store_data.Capture, hosts: list[np.ndarray], start_ms: int) -> None:
    began = time.perf_counter()

    def house(now_ms: int) -> None:
        ours.store.ensure_partitions(now_ms)
        ours.store.pivot(now_ms)
        ours.store.compact(now_ms)

    ours.feed(source.names, hosts, start_ms, house)
    print(f"{'(the store took s to load)':58s} {time.perf_counter() - began:10.3f}")


def _compare_instant(ours: Ours, peer: Peer, table: Table, end_ms: int) -> None:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(end_ms / 1000, UTC)
    mine = ours.query.instant(ALL_CPU, at, select=ours.query.for_slot(at))
    theirs = peer.instant(ALL_CPU, end_ms)
    check(mine.values, np.array([float(line["value"][1]) for line in theirs]), "instant rate")
    ours_ms = median_ms(lambda: ours.query.instant(ALL_CPU, at, select=ours.query.for_slot(at)), 20)
    theirs_ms = median_ms(lambda: peer.instant(ALL_CPU, end_ms), 20)
    table.add(f"instant rate over {len(theirs)} series, one rule a slot [ms]", ours_ms, theirs_ms, 0.5)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--series", type=int, default=200, help="series a host")
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--seconds", type=int, default=75, help="how long node_exporter is captured")
    parser.add_argument("--capture", type=Path, help="file to keep the capture in, or to take it from")
    return parser.parse_args()


def _captured(options: argparse.Namespace) -> store_data.Capture:
    if options.capture and options.capture.exists():
        return store_data.load(options.capture)
    source = store_data.capture(options.seconds)
    if options.capture:
        store_data.save(source, options.capture)
    return source


def _chosen(source: store_data.Capture, count: int) -> list[int]:
    """Take the CPU series and an even share of the others, in the exporter's order."""
    cpu = [i for i, name in enumerate(source.names) if name.startswith("node_cpu_seconds_total")]
    others = [i for i in range(len(source.names)) if i not in set(cpu)]
    wanted = max(0, count - len(cpu))
    return sorted(cpu + [others[int(i)] for i in np.linspace(0, len(others) - 1, min(wanted, len(others)))])


if __name__ == "__main__":
    main()
