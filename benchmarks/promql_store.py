"""Rules over the real sample store against a real Prometheus: reading included on both sides.

    python -m benchmarks.promql_store [--prometheus PATH] [--series 1000,10000]

Two hours of samples are written to both while rules are evaluated once a minute, as in a portal that runs. Then every
step writes one more sample of each series to both, opens a slot as the evaluator does (``query.for_slot``: recent
samples from the process's head, older ones from Postgres) and asks each question once in it; the server is asked the
same over HTTP and tells its own ``evalTotalTime``, which leaves out HTTP and JSON. The row "open a slot" is what a slot
costs before its first rule. Medians over the steps; answers are compared.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from benchmarks import promql as bench
from monitoring import promql
from tests.conftest import running_services, use

STEPS = 7
LOADED = 2 * 3600 * 1000 // bench.STEP_MS
# Rule-sized windows: 5 minutes to an hour.
QUERIES = (
    ("rate 5m, sum by", "sum by (host) (rate(x[5m]))"),
    ("filter", "g > 80"),
    ("histogram_quantile 5m", "histogram_quantile(0.9, sum by (le) (rate(b[5m])))"),
    ("topk", "topk(5, x)"),
    ("group_left", "g / on (host) group_left h"),
    ("avg_over_time 30m", "avg_over_time(g[30m])"),
    ("max_over_time 1h", "max_over_time(g[1h])"),
    ("predict_linear 1h", "predict_linear(g[1h], 3600)"),
    ("one host, rate 5m", 'sum(rate(x{host="host-042"}[5m]))'),
)


class Portal:
    """The store on an embedded Postgres, fed as hosts feed it: one scrape a host and step."""

    def __init__(self, data: bench.ArrayStore) -> None:
        from monitoring import query, store

        self.store, self.query = store, query
        rows: dict[str, list[tuple[str, np.ndarray]]] = {}
        for metric in data.metrics.values():
            for labels, values in zip(metric.labels, metric.values, strict=True):
                pairs = labels.as_dict()
                host = pairs.pop("host")
                rows.setdefault(host, []).append((store.sample_key(pairs.pop("__name__"), pairs), values))
        self.keys = {host: [key for key, _ in found] for host, found in rows.items()}
        self.values = {host: np.array([values for _, values in found]) for host, found in rows.items()}

    def write(self, step: int) -> None:
        """Store the samples of one step of all hosts."""
        at_ms = int(bench.TS[step])
        scrapes = [
            self.store.Scrape(f"host:{host}", {"host": host}, at_ms, keys, self.values[host][:, step])
            for host, keys in self.keys.items()
        ]
        receipt = self.store.append(scrapes, now_ms=at_ms)
        assert not receipt.dropped, receipt

    def open_slot(self, at_ms: int) -> float:
        """Begin a slot as an evaluator does; seconds until the first rule can ask."""
        started = time.perf_counter()
        self.at = datetime.fromtimestamp(at_ms / 1000, UTC)
        self.select = self.query.for_slot(self.at)
        self.query.instant("nothing", self.at, select=self.select)
        return time.perf_counter() - started

    def ask(self, query: str) -> tuple[float, promql.Result]:
        """Seconds and answer of one question in the open slot."""
        started = time.perf_counter()
        result = self.query.instant(query, self.at, select=self.select)
        return time.perf_counter() - started, result


def feed_step(server: bench.Server, data: bench.ArrayStore, first: int, last: int) -> None:
    """Write the samples of steps first … last-1 to the server."""
    for metric in data.metrics.values():
        ts = bench.TS[first:last]
        many = max(1, 400_000 // len(ts))
        for start in range(0, len(metric.labels), many):
            rows = bench.encoded_samples(ts, np.ascontiguousarray(metric.values[start : start + many, first:last]))
            server.write(metric.labels[start : start + many], rows)


def ask_server(server: bench.Server, query: str, at_ms: int) -> tuple[float, list[dict[str, object]]]:
    """Evaluation seconds and result of an instant query."""
    before, bench.TO_MS = bench.TO_MS, at_ms
    try:
        return server.ask("instant", query)
    finally:
        bench.TO_MS = before


def measure(series: int, binary: str, say: Callable[[str], None]) -> None:
    """Print the table of one data set."""
    data = bench.build(series, 1, np.random.default_rng(series))
    portal, server = Portal(data), bench.Server(binary)
    try:
        for step in range(LOADED):
            portal.write(step)
            if step % 4 == 0:
                portal.open_slot(int(bench.TS[step]))
        portal.store.keep_house(int(bench.TS[LOADED - 1]))
        feed_step(server, data, 0, LOADED)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in QUERIES}
        differs: dict[str, str] = {}
        opened: list[float] = []
        for step in range(LOADED, LOADED + STEPS + 1):
            portal.write(step)
            feed_step(server, data, step, step + 1)
            at_ms = int(bench.TS[step]) + 7_000
            opened.append(portal.open_slot(at_ms))
            for name, query in QUERIES:
                theirs, answer = ask_server(server, query, at_ms)
                mine, result = portal.ask(query)
                differs[name] = bench.difference("instant", answer, result) or differs.get(name, "")
                if step > LOADED:  # the first step fills both sides' caches
                    times[name].append((mine, theirs))
        say(f"\n### {series:,} series on 100 hosts, store's read included\n")
        say("| query | ours ms | Prometheus ms | ratio | answers |\n|---|---|---|---|---|")
        say(f"| open a slot | {statistics.median(opened) * 1e3:,.1f} | | | |")
        for name, pairs in times.items():
            mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            verdict = differs[name] or "equal"
            say(f"| {name} | {mine * 1e3:,.1f} | {theirs * 1e3:,.1f} | {mine / theirs:.2f} | {verdict} |")
    finally:
        server.stop()


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prometheus", default=shutil.which("prometheus"))
    parser.add_argument("--series", default="1000,10000")
    options = parser.parse_args()
    if not options.prometheus:
        sys.exit("No prometheus binary found; install Debian's package or give --prometheus PATH.")
    version = subprocess.run([options.prometheus, "--version"], capture_output=True, text=True, check=True)
    print((version.stdout or version.stderr).splitlines()[0])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from alphaq_portal import env

    for series in map(int, options.series.split(",")):
        with running_services() as urls:
            use(env.read({**os.environ, **urls}))
            call_command("migrate", verbosity=0, interactive=False)
            measure(series, options.prometheus, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
