"""Is the store smaller and faster than Prometheus? The same samples in both, answers compared, ratios in one run.

    python benchmarks/store.py [--hosts 100 --series 120 --hours 6 --capture FILE]

A ratio below 1 means that the store needs less than Debian's Prometheus. CPU counts all Postgres processes. Times of
ours are inside the process, Prometheus' over HTTP with JSON, as each is used by the portal and by its clients; the
shortest of some runs in turn counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
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
        print(f"{what:66s} {ours:10.3f} {theirs:10.3f}  ratio {ours / theirs:6.3f}{shown}", flush=True)


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

    def feed(
        self, names: list[str], hosts: list[np.ndarray], start_ms: int, house: Callable[[int], None], prefix: str
    ) -> None:
        """Append scrape after scrape of all hosts, a commit a step, housekeeping as time goes on."""
        scrape = self.store.Scrape
        labels = [{"instance": f"{prefix}{number:03d}", "job": "node"} for number in range(len(hosts))]
        for step in range(len(hosts[0])):
            at_ms = start_ms + step * STEP_MS
            self.store.append(
                [
                    scrape(f"{prefix}:{number}", labels[number], at_ms + offset_ms(number), names, values[step])
                    for number, values in enumerate(hosts)
                ],
                now_ms=at_ms + STEP_MS,
            )
            if step % 20 == 19:
                house(at_ms + STEP_MS)

    def settle(self) -> None:
        """Vacuum now: hours were loaded in seconds, and autovacuum would work at them while reads are measured."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("vacuum (analyze) store_row, store_block, store_chunk")

    def bytes_of(self, *tiers: str) -> int:
        """Return the size of some tiers on disk, indexes included."""
        return sum(tier.bytes for tier in self.store.status(0).tiers if tier.name in tiers)


SETTINGS = "alphaq_portal.settings"


def offset_ms(number: int) -> int:
    """Return when in its interval a host is scraped; never at a full step, where 2.x and 3.x ranges differ."""
    return 7 + number * 131 % (STEP_MS - 10)


def best_ms(ours: Callable[[], object], theirs: Callable[[], object], times: int = 9) -> tuple[float, float]:
    """Return the shortest wall times of two calls, taken in turn: a busy machine slows both, the shortest least."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for place, run in enumerate((ours, theirs)):
            started = time.perf_counter()
            run()
            found[place].append(time.perf_counter() - started)
    return min(found[0]) * 1000, min(found[1]) * 1000


def cpu_ms(server: Ours | Peer, run: Callable[[], object], times: int = 20) -> float:
    """Return the CPU time of a call; a busy machine changes it little."""
    before = server.cpu_seconds()
    for _ in range(times):
        run()
    return (server.cpu_seconds() - before) / times * 1000


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

    def ask_us() -> object:
        return ours.query.range_(expr, start, end, step)

    def ask_them() -> object:
        return peer.range_(expr, start_ms, end_ms, step)

    table.add(what + " [ms]", *best_ms(ask_us, ask_them), goal)
    table.add("    the same in CPU ms, all processes", cpu_ms(ours, ask_us), cpu_ms(peer, ask_them))


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
    whole = _captured(options)
    kept = _chosen(whole, options.series)
    source = store_data.Capture(
        [whole.names[i] for i in kept], whole.values[:, kept], whole.is_counter[kept], whole.decimals[kept], ""
    )
    peer = Peer(folder)
    ours = Ours(folder)
    try:
        _compare_all(options, source, whole, ours, peer, folder)
    finally:
        peer.stop()
        ours.child.ask_to_stop()
        ours.child.wait_stopped()
        shutil.rmtree(folder, ignore_errors=True)


def _compare_all(
    options: argparse.Namespace,
    source: store_data.Capture,
    whole: store_data.Capture,
    ours: Ours,
    peer: Peer,
    folder: Path,
) -> None:
    steps = int(options.hours * HOUR_MS / STEP_MS)
    # Two hours more than asked lie before: after the merge of a day nothing is left in smaller tiers.
    start_ms = int(time.time() * 1000) // (24 * HOUR_MS) * 24 * HOUR_MS - 24 * HOUR_MS
    end_ms = start_ms + steps * STEP_MS
    hosts = [store_data.continued(source, seed, steps) for seed in range(options.hosts)]
    million = steps * options.hosts * len(source.names) / 1e6
    print(f"{options.hosts} hosts × {len(source.names)} series × {options.hours} h = {million:.1f} M samples\n")
    table = Table()
    _match_labels()
    _feed_peer(peer, source, hosts, start_ms)
    _feed_ours(ours, source, hosts, start_ms)
    ours.settle()
    span = end_ms - options.hours * HOUR_MS + HOUR_MS // 6, end_ms, 60
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, worst phase", TEN_A_HOST, span, 0.8)
    compare(ours, peer, table, "6 h sum(rate[5m]), 1 series a host, worst phase", ONE_A_HOST, span, 2.0)
    _compare_instant(ours, peer, table, end_ms)
    worked = time.perf_counter()
    ours.store.compact(end_ms + 3 * HOUR_MS)
    print(f"{'(compaction of the rest took s)':66s} {time.perf_counter() - worked:10.3f}")
    size = peer.snapshot_bytes_per_sample()
    table.add("bytes a sample after compaction", ours.bytes_of("store_chunk", "catalogue") / million / 1e6, size, 0.55)
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, compacted", TEN_A_HOST, span, 0.5)
    compare(ours, peer, table, "6 h sum(rate[5m]), 1 series a host, compacted", ONE_A_HOST, span, 1.0)
    ours.store.compact(start_ms + 28 * HOUR_MS)
    ours.store.merge(start_ms + 28 * HOUR_MS)
    table.add("bytes a sample after merge", ours.bytes_of("store_day", "catalogue") / million / 1e6, size, 0.45)
    compare(ours, peer, table, "6 h sum(rate[5m]), 10 series a host, merged", TEN_A_HOST, span, 0.5)
    _compare_week(ours, folder, table, source, start_ms)
    _compare_cpu(ours, peer, table, whole, start_ms)
    mine_mib = ours.me.memory_info().rss / 2**20
    print(f"\nmemory of Prometheus {peer.rss_mib():.0f} MiB, of this process with the test data {mine_mib:.0f} MiB")


def _feed_peer(
    peer: Peer, source: store_data.Capture, hosts: list[np.ndarray], start_ms: int, prefix: str = "host"
) -> float:
    """Send ten minutes a request; return the CPU seconds that Prometheus took."""
    before, began = peer.cpu_seconds(), time.perf_counter()
    heads = [
        [series_head(name, {"instance": f"{prefix}{number:03d}", "job": "node"}) for name in source.names]
        for number in range(len(hosts))
    ]
    for first in range(0, len(hosts[0]), 40):
        for number, values in enumerate(hosts):
            part = values[first : first + 40]
            ts = start_ms + (first + np.arange(len(part))) * STEP_MS + offset_ms(number)
            peer.write(heads[number], ts, part)
    print(f"{'(Prometheus took s to load)':66s} {'':10s} {time.perf_counter() - began:10.3f}")
    return peer.cpu_seconds() - before


def _feed_ours(
    ours: Ours, source: store_data.Capture, hosts: list[np.ndarray], start_ms: int, prefix: str = "host"
) -> None:
    began = time.perf_counter()

    def house(now_ms: int) -> None:
        ours.store.ensure_partitions(now_ms)
        ours.store.pivot(now_ms)
        ours.store.join_halves(now_ms)
        ours.store.compact(now_ms)

    ours.feed(source.names, hosts, start_ms, house, prefix)
    print(f"{'(the store took s to load)':66s} {time.perf_counter() - began:10.3f}")


def _compare_instant(ours: Ours, peer: Peer, table: Table, end_ms: int) -> None:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(end_ms / 1000, UTC)
    mine = ours.query.instant(ALL_CPU, at, select=ours.query.for_slot(at))
    theirs = peer.instant(ALL_CPU, end_ms)
    check(mine.values, np.array([float(line["value"][1]) for line in theirs]), "instant rate")
    what = f"instant rate over {len(theirs)} series"
    select = ours.query.for_slot(at)

    def ask() -> object:
        return peer.instant(ALL_CPU, end_ms)

    best = best_ms(lambda: ours.query.instant(ALL_CPU, at, select=ours.query.for_slot(at)), ask, 20)
    table.add(what + ", one rule a slot [ms]", *best, 0.5)
    best = best_ms(lambda: ours.query.instant(ALL_CPU, at, select=select), ask, 20)
    table.add(what + ", a further rule of the slot [ms]", *best, 0.5)


def _compare_week(ours: Ours, folder: Path, table: Table, source: store_data.Capture, start_ms: int) -> None:
    """Seven days of one host, imported: ten series of it over all the time. Prometheus takes them only when empty."""
    (folder / "week").mkdir()
    peer = Peer(folder / "week")
    days = 7
    steps = days * 24 * HOUR_MS // STEP_MS
    first_ms = start_ms - (days + 1) * 24 * HOUR_MS
    values = [store_data.continued(source, 9_999, steps)]
    _feed_peer(peer, source, values, first_ms, prefix="week")
    _backfill(ours, source, values[0], first_ms)
    span = first_ms + HOUR_MS, first_ms + days * 24 * HOUR_MS - HOUR_MS, 600
    compare(ours, peer, table, "7 d sum(rate[5m]), 10 series", TEN_A_HOST, span, 0.5)
    peer.stop()


def _backfill(ours: Ours, source: store_data.Capture, values: np.ndarray, first_ms: int) -> None:
    """Bring old samples in as an import does, day by day."""
    labels = (("instance", "week000"), ("job", "node"))
    for day in range(0, len(values), 5760):
        part = values[day : day + 5760]
        ts = (first_ms + offset_ms(0) + (day + np.arange(len(part))) * STEP_MS).tolist()
        series = {name: (ts, line) for name, line in zip(source.names, part.T.tolist(), strict=True)}
        ours.store.write(ours.store.Batch(("import:week", labels, True), series), now_ms=first_ms)


def _compare_cpu(ours: Ours, peer: Peer, table: Table, source: store_data.Capture, start_ms: int) -> None:
    """Whole exporters, some hosts for two hours: the CPU of everything from samples in memory to compressed chunks."""
    steps, first_ms = 480, start_ms + 30 * 24 * HOUR_MS
    hosts = [store_data.continued(source, seed, steps) for seed in range(40)]
    million = steps * len(hosts) * len(source.names) / 1e6
    theirs = _feed_peer(peer, source, hosts, first_ms, prefix="cpu")
    before = ours.cpu_seconds()
    _feed_ours(ours, source, hosts, first_ms, prefix="cpu")
    ours.store.compact(first_ms + 3 * HOUR_MS)
    mine = ours.cpu_seconds() - before
    what = f"CPU s per M samples, {len(hosts)} × {len(source.names)} series, append to chunk"
    table.add(what, mine / million, theirs / million)


def _match_labels() -> None:
    """Every kind of matcher over 100,000 series; no selection is remembered, label sets are."""
    from monitoring.promql import parse_matchers
    from monitoring.store.index import Index

    index = Index()
    keys = [(n + 1, f"metric_{n % 50}", {"cpu": str(n % 16), "mode": f"mode{n // 16}"}) for n in range(1000)]
    layout = np.arange(1, 1001, dtype="<i4").tobytes()
    hosts = [(n + 1, f"target:{n}", {"instance": f"host{n:03d}:9100", "job": f"job{n % 3}"}, False) for n in range(100)]
    index.add({"key": keys, "source": hosts, "layout": [(1, layout)], "used": [(n + 1, 1) for n in range(100)]})
    for text in (
        '{__name__="metric_7",cpu="7"}', '{__name__="metric_7",mode!="mode3"}', '{__name__=~"metric_1.",cpu=~"[0-4]"}',
        '{__name__=~"metric_[0-9]+",instance=~"host0[0-4].*",mode!~"mode1.*"}',
    ):  # fmt: skip
        matchers = parse_matchers(text)
        found = []
        for _ in range(20):
            index.forget()
            started = time.perf_counter()
            picked = index.select(matchers)
            found.append(time.perf_counter() - started)
        series = sum(len(pick.key_ids) for pick in picked)
        print(f"{text:66s} {min(found) * 1000:10.3f}  ms for {series} of 100,000 series  goal 2")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--series", type=int, default=120, help="series a host")
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
