"""Our PromQL evaluator against a real Prometheus: same data, answers compared, times side by side.

    python -m benchmarks.promql [--prometheus PATH] [--series 1000,10000] [--kind instant,range] [--grids N] [--only X]

The server gets the samples by remote write into an empty database on /dev/shm and is asked over HTTP; its time is
``evalTotalTime`` of ``stats=all``, which leaves out HTTP and JSON and includes decoding its in-memory chunks. Our time
is the whole ``instant()`` or ``range_()`` call over arrays in memory, the selection of series included. Questions are
asked by turns, so that a noisy machine hits both. Times are medians. Evaluation times lie 7 s beside the samples:
there a Prometheus 2 (closed ranges) and a Prometheus 3 (left-open ones) must answer alike.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monitoring import promql
from monitoring.promql import Block, Labels, Limits, Matcher
from monitoring.promql.text_column import TextColumn

STEP_MS = 15_000
START_MS = 1_700_000_000_000 // STEP_MS * STEP_MS
HOURS = 7  # six asked for, one before them for the windows
SAMPLES = HOURS * 3600 * 1000 // STEP_MS
FROM_MS = START_MS + 3_600_000 + 7_000
TO_MS = START_MS + HOURS * 3_600_000 - 8_000
TS = START_MS + STEP_MS * np.arange(SAMPLES, dtype=np.int64)
PATIENCE = 120  # seconds; what takes longer is measured once
ROOMY = Limits(max_samples=1_000_000_000, max_result_points=1_000_000_000, timeout_seconds=600)
HOSTS = 100
WRITE_HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
MEMORY = "/dev/shm"  # noqa: S108  -- the database is to lie in memory
BUCKETS = ("0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf")

# name, query, whether it is wide: goal three times ahead instead of level
QUERIES = (
    ("rate, sum by", "sum by (host) (rate(x[5m]))", True),
    ("filter", "g > 80", True),
    ("histogram_quantile", "histogram_quantile(0.9, sum by (le) (rate(b[5m])))", True),
    ("topk", "topk(5, x)", True),
    ("group_left", "g / on (host) group_left h", True),
    ("max_over_time", "max_over_time(g[1h])", False),
    ("avg_over_time", "avg_over_time(g[1h])", False),
    ("stddev_over_time", "stddev_over_time(g[1h])", False),
    ("predict_linear", "predict_linear(g[1h], 3600)", False),
    ("quantile_over_time", "quantile_over_time(0.9, g[1h])", False),
    ("subquery", "max_over_time(sum by (host) (rate(x[5m]))[30m:1m])", False),
)
REGEX_QUERY = 'count(r{pod=~"pod-.*5."})'


@dataclass
class Metric:
    """One metric's series, those of a time grid together; ``grids`` are the first row and the times of each."""

    labels: tuple[Labels, ...]
    values: np.ndarray
    grids: list[tuple[int, np.ndarray]]
    _columns: dict[str, tuple[TextColumn, np.ndarray]] = field(default_factory=dict)
    _parts: list[tuple[slice, tuple[Labels, ...], np.ndarray]] = field(default_factory=list)

    def parts(self) -> list[tuple[slice, tuple[Labels, ...], np.ndarray]]:
        """Return rows, labels and times of each grid."""
        if not self._parts:
            ends = [*[first for first, _ in self.grids[1:]], len(self.labels)]
            rows = [slice(first, end) for (first, _), end in zip(self.grids, ends, strict=True)]
            self._parts = [(row, self.labels[row], ts) for row, (_, ts) in zip(rows, self.grids, strict=True)]
        return self._parts

    def column(self, name: str) -> tuple[TextColumn, np.ndarray]:
        """Return the distinct values of a label and which of them each series has, as an index of a store would."""
        found = self._columns.get(name)
        if found is None:
            seen: dict[str, int] = {}
            codes = np.array([seen.setdefault(labels.get(name), len(seen)) for labels in self.labels])
            found = self._columns[name] = TextColumn(list(seen)), codes
        return found


class ArrayStore:
    """Series in memory, selected as a store with an index of label values would."""

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the matching series of one metric between two times."""
        metric = self.metrics[next(m.value for m in matchers if m.name == "__name__")]
        rest = [m for m in matchers if m.name != "__name__"]
        keep = np.ones(len(metric.labels), bool)
        for matcher in rest:
            names, codes = metric.column(matcher.name)
            keep &= names.mask(matcher)[codes]
        blocks = []
        for rows, labels, ts in metric.parts():
            first, last = np.searchsorted(ts, (start_ms, end_ms + 1))
            values = metric.values[rows, first:last]
            if rest:
                chosen = np.flatnonzero(keep[rows])
                labels, values = tuple([labels[row] for row in chosen.tolist()]), values[chosen]
            blocks.append(Block(labels, ts[first:last], values))
        return blocks


def build(series: int, grids: int, rng: np.random.Generator) -> ArrayStore:
    """Return counters x with resets, gauges g, histogram buckets b and one h per host, hosts spread over time grids."""
    store = ArrayStore()

    def add(name: str, rows: list[dict[str, str]], values: np.ndarray) -> None:
        first: dict[int, int] = {}
        for row, labels in enumerate(rows):
            first.setdefault(int(labels["host"][5:]) * grids // HOSTS, row)
        # Off the samples' 7 s mark whatever the grid, so that both kinds of range boundaries agree.
        lines = [(row, TS + (grid * 140 % 14_000 + 20 if grid else 0)) for grid, row in first.items()]
        store.metrics[name] = Metric(tuple(Labels.of({"__name__": name, **row}) for row in rows), values, lines)

    def host(index: int, count: int) -> str:
        return f"host-{index * HOSTS // count:03d}"

    where = [{"host": host(i, series), "instance": f"i-{i:05d}", "job": "serving"} for i in range(series)]
    counters = np.round(np.cumsum(rng.random((series, SAMPLES)) * 50, axis=1), 3)
    for row in range(0, series, 10):
        at = int(rng.integers(1, SAMPLES))
        counters[row, at:] -= counters[row, at]
    add("x", where, counters)
    add("g", where, np.round(rng.random((series, SAMPLES)) * 100, 3))
    many = series // len(BUCKETS)
    marks = [{"le": le, "instance": f"i-{i:05d}", "host": host(i, many)} for i in range(many) for le in BUCKETS]
    rises = np.cumsum(np.cumsum(rng.integers(0, 5, (many, len(BUCKETS), SAMPLES)), axis=1), axis=2)
    add("b", marks, rises.reshape(-1, SAMPLES).astype(float))
    add("h", [{"host": f"host-{i:03d}", "cores": "8"} for i in range(HOSTS)], np.full((HOSTS, SAMPLES), 8.0))
    return store


def build_pods(count: int) -> ArrayStore:
    """Return ``count`` series that differ in one label, five minutes of samples each."""
    store = ArrayStore()
    ts = TS[-20:]
    labels = tuple(Labels.of({"__name__": "r", "pod": f"pod-{i}", "job": "pods"}) for i in range(count))
    store.metrics["r"] = Metric(labels, np.ones((count, len(ts))), [(0, ts)])
    return store


# -- the server ---------------------------------------------------------------------------------------------------
def varint(number: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def framed(tag: int, data: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(tag << 3 | 2) + varint(len(data)) + data


def encoded_samples(ts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (series, n * 18) bytes: every sample as a remote-write field; all times must need six varint bytes."""
    record = np.zeros((*values.shape, 18), np.uint8)
    record[..., 0], record[..., 1], record[..., 2], record[..., 11] = 0x12, 16, 0x09, 0x10
    record[..., 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(*values.shape, 8)
    for byte in range(6):
        record[..., 12 + byte] = ((ts >> (7 * byte)) & 0x7F) | (0x80 if byte < 5 else 0)
    return record.reshape(len(values), -1)


def snappy(data: bytes) -> bytes:
    """Return data in snappy's format, uncompressed."""
    pieces = [varint(len(data))]
    for start in range(0, len(data), 65_536):
        piece = data[start : start + 65_536]
        pieces.append(bytes([61 << 2]) + (len(piece) - 1).to_bytes(2, "little") + piece)
    return b"".join(pieces)


class Server:
    """A Prometheus on loopback with an empty database."""

    def __init__(self, binary: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="promql-bench", dir=MEMORY if Path(MEMORY).is_dir() else None))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.base = f"http://127.0.0.1:{free.getsockname()[1]}"
        config = self.folder / "config.yml"
        config.write_text("global: {scrape_interval: 1m}\nstorage: {tsdb: {out_of_order_time_window: 36500d}}\n")
        command = [binary, f"--config.file={config}", f"--storage.tsdb.path={self.folder}/data", "--log.level=error"]
        command += [f"--web.listen-address={self.base[7:]}", "--web.enable-remote-write-receiver"]
        command += ["--storage.tsdb.min-block-duration=36500d", "--storage.tsdb.max-block-duration=36500d"]
        command += ["--storage.tsdb.retention.time=36500d", "--query.max-samples=1000000000", "--query.timeout=1h"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.base + "/-/ready", timeout=5).read()  # noqa: S310
                return
            time.sleep(0.1)
        raise SystemExit(f"{binary} does not start")

    def feed(self, store: ArrayStore) -> None:
        """Write every series, some hundred at a time."""
        for metric in store.metrics.values():
            for rows, names, ts in metric.parts():
                many = max(1, 400_000 // len(ts))
                for start in range(0, len(names), many):
                    data = encoded_samples(ts, metric.values[rows][start : start + many])
                    self.write(names[start : start + many], data)

    def write(self, names: Sequence[Labels], data: np.ndarray) -> None:
        """Send some series by remote write."""
        body = bytearray()
        for labels, row in zip(names, data, strict=True):
            pairs = (framed(1, framed(1, name.encode()) + framed(2, value.encode())) for name, value in labels)
            body += framed(1, b"".join(pairs) + row.tobytes())
        self.post("/api/v1/write", snappy(bytes(body)), WRITE_HEADERS)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Send one request; fail on a refusal."""
        request = urllib.request.Request(self.base + path, body, headers or {})  # noqa: S310
        with urllib.request.urlopen(request, timeout=3600) as response:  # noqa: S310
            return response.read()

    def ask(self, kind: str, query: str) -> tuple[float, list[dict[str, object]]]:
        """Return evaluation seconds and the result."""
        form = {"query": query, "stats": "all", "time": TO_MS / 1000}
        if kind == "range":
            form |= {"start": FROM_MS / 1000, "end": TO_MS / 1000, "step": 60}
        path = "/api/v1/query_range" if kind == "range" else "/api/v1/query"
        data = json.loads(self.post(path, urllib.parse.urlencode(form).encode()))["data"]
        return data["stats"]["timings"]["evalTotalTime"], data["result"]

    def peak_bytes(self) -> int:
        """Return the most memory the server has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def stop(self) -> None:
        """End the server and remove its data."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


# -- comparing ------------------------------------------------------------------------------------------------------
def ours(kind: str, query: str, store: ArrayStore) -> tuple[float, promql.Result]:
    """Return seconds and the result of our evaluator."""
    started = time.perf_counter()
    if kind == "range":
        result = promql.range_(query, FROM_MS, TO_MS, 60_000, store.select, ROOMY)
    else:
        result = promql.instant(query, TO_MS, store.select, ROOMY)
    return time.perf_counter() - started, result


def difference(kind: str, theirs: list[dict[str, object]], mine: promql.Result) -> str:
    """Return what differs between the two answers, the empty string when nothing does (relative 1e-9)."""
    rows = {labels: row for row, labels in enumerate(mine.labels)}
    if len(theirs) != len(rows):
        return f"{len(theirs)} series against {len(rows)}"
    worst = 0.0
    for series in theirs:
        row = rows.get(Labels.of(series["metric"]))
        if row is None:
            return f"{series['metric']} is not ours"
        if kind == "range":
            pairs = np.array([(float(t) * 1000, float(v)) for t, v in series["values"]])
            ts, values = mine.points(row)
            if len(ts) != len(pairs) or not np.array_equal(ts, np.rint(pairs[:, 0])):
                return f"{series['metric']}: other times"
            expected = pairs[:, 1]
        else:
            expected, values = np.array([float(series["value"][1])]), mine.values[row : row + 1]
        size = np.maximum(np.abs(expected), np.abs(values))
        error = np.abs(expected - values) / np.where(size > 0, size, 1)
        worst = max(worst, float(np.where(np.isnan(expected) & np.isnan(values), 0, error).max(initial=0)))
    return "" if worst < 1e-9 else f"relative difference {worst:.1e}"


def measure(server: Server | None, store: ArrayStore, kind: str, query: str) -> tuple[float, float, float, str]:
    """Return their median, our median, our first run (all seconds) and what differs."""
    theirs: list[float] = []
    mine: list[float] = []
    verdict = "not compared"
    if server is not None:
        spent, answer = server.ask(kind, query)
        theirs.append(spent)
    first, result = ours(kind, query, store)
    if server is not None:
        verdict = difference(kind, answer, result) or "equal"
        del answer
    slowest = max([first, *theirs])
    repeats = 1 if slowest > 10 else 3 if slowest > 2 else 5 if slowest > 0.3 else 15
    for _ in range(repeats):
        mine.append(ours(kind, query, store)[0])
        if server is not None and slowest < PATIENCE:
            theirs.append(server.ask(kind, query)[0])
    return statistics.median(theirs) if theirs else math.nan, statistics.median(mine), first, verdict


def rows_of(series: int, kinds: list[str], only: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield name, kind, query and whether the row is a wide one."""
    for name, query, wide in QUERIES:
        for kind in kinds:
            if only in name:
                yield name, kind, query, wide and series >= 10_000


def report(name: str, kind: str, times: tuple[float, float, float, str], wide: bool) -> None:
    """Print one row of the table."""
    theirs, mine, first, verdict = times
    ratio = mine / theirs
    goal = 1 / 3 if wide else 1.0
    mark = "" if math.isnan(ratio) else "ok" if ratio <= goal else "behind"
    print(
        f"| {name} | {kind} | {mine * 1000:,.1f} | {first * 1000:,.1f} | {theirs * 1000:,.1f} | {ratio:.2f} "
        f"| {mark} | {verdict} |",
        flush=True,
    )


def run(binary: str | None, store: ArrayStore, rows: list[tuple[str, str, str, bool]], title: str) -> None:
    """Print the table of one data set."""
    print(f"\n{title}\n")
    print("| query | kind | ours ms | ours first ms | Prometheus ms | ratio | goal | answers |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    server = Server(binary) if binary else None
    try:
        if server is not None:
            server.feed(store)
        for name, kind, query, wide in rows:
            report(name, kind, measure(server, store, kind, query), wide)
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        theirs = server.peak_bytes() if server else 0
        print(
            f"\nPeak memory: ours {mine / 2**20:,.0f} MiB (data set and checker included), "
            f"Prometheus {theirs / 2**20:,.0f} MiB."
        )
    finally:
        if server is not None:
            server.stop()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prometheus", default=shutil.which("prometheus"), help="binary; empty: ours alone")
    parser.add_argument("--series", default="1000,10000")
    parser.add_argument("--kind", default="instant,range")
    parser.add_argument("--grids", type=int, default=1, help="time grids the hosts are spread over, at most 100")
    parser.add_argument("--only", default="", help="only rows whose name holds this")
    arguments = parser.parse_args()
    binary = arguments.prometheus or None
    if binary:
        version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
        print((version.stdout or version.stderr).splitlines()[0])
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}; {SAMPLES} samples a series, 15 s apart, over 7 h")
    kinds = arguments.kind.split(",")
    for series in map(int, arguments.series.split(",")):
        rows = list(rows_of(series, kinds, arguments.only))
        if rows:
            run(
                binary,
                build(series, arguments.grids, np.random.default_rng(series)),
                rows,
                f"### {series:,} series, {arguments.grids} time grids",
            )
    if arguments.only in "regex selector":
        rows = [("regex selector", "instant", REGEX_QUERY, False)]
        run(binary, build_pods(100_000), rows, "### 100,000 series, one label regex")


if __name__ == "__main__":
    main()
