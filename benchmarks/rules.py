"""What does a cycle of rules cost? The same series and rules evaluated by the portal and by Prometheus, in one run.

    python benchmarks/rules.py [--series 10000 --rules 1000 --cycles 5 --only idle,rate,firing,all,rows,unchanged]

A ratio below 1 means that the portal is faster. Ours is the whole cycle of one worker: claim, read, evaluate, decide,
write states, events, the evaluation record and the ALERTS series, commit. Theirs is what Debian's Prometheus says of
itself (prometheus_rule_group_last_duration_seconds). Detection from endpoint to message is in rules_latency.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from scrape import PROMETHEUS, Portal, free_port, running

TARGETS = 10
SCRAPE_SECONDS, EVALUATION_SECONDS = 5, 20
ANNOTATION = "shard {{ $labels.shard }} is {{ $value | humanize }}"
# What each rule asks, with its number; in `firing` all is true, elsewhere nothing.
EXPRESSIONS = {
    "idle": 'm{{shard="{k:04d}"}} > 90',
    "rate": 'rate(c{{shard="{k:04d}"}}[1m]) > 100',
    "firing": 'm{{shard="{k:04d}"}} > 40',
    "all": "avg by (host) (m) > 9{k:04d}",
}
WORDS = {
    "idle": "each rule selects {per} series, none true",
    "rate": "rate over {per} series each, none true",
    "firing": "all {series} alerts pending or firing",
    "all": "each rule aggregates all {series} series",
}
# Goal and what lies beyond it, as ratios to Prometheus (rows: to the same rule without override rows).
GOALS = {"idle": (3, 1), "rate": (3, 1), "firing": (1.5, 1), "all": (0.1, 0.03), "rows": (1.2, 1.05)}


class World:
    """The series of the benchmark: `m` stands still, `c` counts; TARGETS targets have equal shares."""

    def __init__(self, series: int, rules: int) -> None:
        share = series // TARGETS
        self.places = [
            [(f"{(target * share + i) % rules:04d}", f"h{target}", str(i)) for i in range(share)]
            for target in range(TARGETS)
        ]
        self.series = share * TARGETS

    def text(self, target: int, at: float) -> bytes:
        """What the endpoint of a target says at a time in unix seconds."""
        sets = [f'{{shard="{shard}",host="{host}",i="{i}"}}' for shard, host, i in self.places[target]]
        return "".join(f"m{one} 50\nc{one} {at * 5 % 1e7}\n" for one in sets).encode()

    def scrape(self, target: int, at_ms: int) -> Any:
        """The same as a row for our store."""
        import numpy as np

        from monitoring import store

        labels = [{"shard": shard, "host": host, "i": i} for shard, host, i in self.places[target]]
        keys = [store.sample_key(name, one) for name in ("m", "c") for one in labels]
        values = np.repeat([50.0, at_ms / 200 % 1e7], len(labels))
        source = {"job": f"t{target}", "instance": "x"}
        return store.Scrape(f"target:{target + 1}", source, at_ms, tuple(keys), values)


@contextmanager
def serving(world: World) -> Iterator[int]:
    """An HTTP server for the endpoints /m/<target>; gives its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = world.text(int(self.path.rpartition("/")[2]), time.time())
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def prometheus_cycles(folder: Path, port: int, variant: str, rules: int, cycles: int) -> list[float]:
    """Durations in seconds of that many cycles of Debian's Prometheus, after two to warm up."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    wanted = [
        {"alert": f"A{k:04d}", "expr": EXPRESSIONS[variant].format(k=k), "for": "1m",
         "labels": {"severity": "warning"}, "annotations": {"summary": ANNOTATION}}
        for k in range(rules)
    ]  # fmt: skip
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "g", "rules": wanted}]}))  # JSON is YAML
    scrapes = [
        {"job_name": f"t{target}", "metrics_path": f"/m/{target}",
         "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": "x"}}]}
        for target in range(TARGETS)
    ]  # fmt: skip
    config = {
        "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{EVALUATION_SECONDS}s"},
        "rule_files": [str(folder / "rules.yml")], "scrape_configs": scrapes,
    }  # fmt: skip
    config["global"]["scrape_timeout"] = f"{SCRAPE_SECONDS}s"  # type: ignore[index]
    (folder / "prometheus.yml").write_text(json.dumps(config))
    listen = free_port()
    flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=error")
    with running(PROMETHEUS, *flags, f"--web.listen-address=127.0.0.1:{listen}"):
        return list(_durations(listen, cycles + 2))[2:]


def _durations(port: int, count: int) -> Iterator[float]:
    """What Prometheus says of each of its next evaluations that had series to look at."""
    seen = ""
    while count:
        time.sleep(0.5)
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
        except OSError:
            continue
        at = re.search(r"^prometheus_rule_group_last_evaluation_timestamp_seconds\S* (\S+)$", text, re.M)
        took = re.search(r"^prometheus_rule_group_last_duration_seconds\S* (\S+)$", text, re.M)
        if at and took and float(at[1]) > 0 and at[1] != seen:
            seen, count = at[1], count - 1
            yield float(took[1])


class Ours:
    """One rule group of ours and a clock that is turned on by hand, so that a cycle follows the other."""

    def __init__(self, world: World, make: Callable[[Any], None]) -> None:
        from django.db import connection

        from alerts import alert_rows
        from alerts.models import RuleGroup
        from alerts.prepared import latest_slot

        self.world = world
        self.cpu_seconds: list[float] = []  # of each cycle
        RuleGroup.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE alerts_alert, alerts_event, alerts_evaluationrecord CASCADE")
        self.group = RuleGroup.objects.create(name="g", interval_seconds=EVALUATION_SECONDS)
        make(self.group)
        alert_rows.forget(self.group.pk)
        # Each part goes on in time where the one before it ended: the store takes no sample twice.
        start = max(datetime.now(UTC) - timedelta(hours=1), Ours.last + timedelta(minutes=10))
        self.slot = latest_slot(self.group, start)
        self._scrape_until(self.slot - timedelta(seconds=60), self.slot)

    last = datetime(2000, 1, 1, tzinfo=UTC)

    def _cpu_seconds(self) -> float:
        """CPU time so far of this process and of its connection's Postgres process."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            times = psutil.Process(cursor.fetchone()[0]).cpu_times()
        return time.process_time() + times.user + times.system

    def _scrape_until(self, start: datetime, end: datetime) -> None:
        from monitoring import store

        at = start
        while at < end:
            at_ms = round(at.timestamp() * 1000)
            store.append([self.world.scrape(target, at_ms) for target in range(TARGETS)], now_ms=at_ms)
            at += timedelta(seconds=SCRAPE_SECONDS)

    def cycle(self, may_fail: bool = False) -> float:
        """Evaluate the next slot; seconds that it took. With `may_fail` rules may run out of the group's time."""
        from alerts import evaluate

        evaluate.due(self.slot)
        started, cpu = time.perf_counter(), self._cpu_seconds()
        outcome = evaluate.evaluate(self.group.pk, self.slot)
        taken = time.perf_counter() - started
        self.cpu_seconds.append(self._cpu_seconds() - cpu)
        assert outcome is not None, "the group was not due"
        assert may_fail or not outcome.errors, "a rule could not be evaluated"
        following = self.slot + timedelta(seconds=EVALUATION_SECONDS)
        self._scrape_until(self.slot, following)
        self.slot = Ours.last = following
        return taken


def rules_of(variant: str, rules: int) -> Callable[[Any], None]:
    """A maker of the rules of a variant in a group."""

    def make(group: Any) -> None:
        from alerts.models import Rule

        Rule.objects.bulk_create(
            Rule(group=group, position=k, name=f"A{k:04d}", expr=EXPRESSIONS[variant].format(k=k), hold_seconds=60,
                 labels={"severity": "warning"}, annotations={"summary": ANNOTATION})
            for k in range(rules)
        )  # fmt: skip

    return make


def rows_of(count: int) -> Callable[[Any], None]:
    """A maker of one rule over all series with a limit for all and `count` overrides, none passed."""

    def make(group: Any) -> None:
        from alerts.models import Rule, Threshold

        rule = Rule.objects.create(group=group, name="Rows", expr="m")
        Threshold.objects.create(rule=rule, value=90)
        Threshold.objects.bulk_create(
            Threshold(rule=rule, value=91 + k % 7, selector=f'{{shard="{k:04d}"}}', reason="benchmark")
            for k in range(count)
        )

    return make


def show(what: str, ours: float, theirs: float, variant: str, against: str = "Prometheus") -> None:
    """One row: ours, theirs, ratio and goal."""
    goal, beyond = GOALS[variant]
    ratio = ours / theirs
    verdict = "beyond" if ratio <= beyond else "ok" if ratio <= goal else "MISSED"
    pair = f"ours {ours:8.4f} s  {against} {theirs:8.4f} s"
    print(f"{what:50s} {pair}  ratio {ratio:7.3f}  goal {goal}/{beyond} {verdict}", flush=True)


def cycles_of(world: World, variant: str, rules: int, cycles: int) -> tuple[list[float], list[float]]:
    """Our durations and CPU times after two cycles to warm up, which find the first values and make pending alerts."""
    ours = Ours(world, rules_of(variant, rules))
    taken = [ours.cycle() for _ in range(cycles + 2)]
    return taken[2:], ours.cpu_seconds[2:]


def compare_rows(world: World, rules: int, cycles: int) -> None:
    """One rule with override rows and without, in turns, so that both meet the same noise."""
    found: dict[int, list[float]] = {0: [], rules: []}
    for _ in range(2):
        for count, durations in found.items():
            ours = Ours(world, rows_of(count))
            durations += [ours.cycle() for _ in range(3 * cycles + 2)][2:]
    with_rows, without = (statistics.median(found[count]) for count in (rules, 0))
    show(f"{rules} override rows, {world.series} series", with_rows, without, "rows", "without")


WRITTEN = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE relname = ANY(%s)"
# Not the statuses of rules: one row a rule and minute, however many alerts it has.
COUNTED = ["alerts_alert", "alerts_event", "alerts_group", "alerts_groupalert", "alerts_notification"]


def rows_written() -> int:
    """Rows of alerts, events, groups and messages written so far, as Postgres counts them."""
    from django.db import connection

    connection.close()  # a backend tells its counts when it ends
    time.sleep(1)
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, [COUNTED])
        return int(cursor.fetchone()[0])


def unchanged(rules: int, alerts: int) -> None:
    """Alerts that go on firing: what a cycle writes and takes."""
    world = World(alerts, rules)
    ours = Ours(world, rules_of("firing", rules))
    for _ in range(12):  # all known, pending, firing after a minute, then at rest
        ours.cycle(may_fail=True)
    before = rows_written()
    durations = [ours.cycle() for _ in range(2)]
    written = rows_written() - before
    print(f"{world.series} active unchanged alerts: {written} rows written in 2 cycles of {durations} s", flush=True)


def main() -> None:
    """Run all rows."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--series", type=int, default=10_000)
    options.add_argument("--rules", type=int, default=1000)
    options.add_argument("--cycles", type=int, default=5)
    options.add_argument("--only", default="idle,rate,firing,all,rows,unchanged")
    given = options.parse_args()
    if not Path(PROMETHEUS).exists():
        sys.exit(f"{PROMETHEUS} is missing: apt-get install prometheus")
    folder = Path(tempfile.mkdtemp(prefix="aq-rules-"))
    wanted = given.only.split(",")
    world = World(given.series, given.rules)
    portal = Portal(folder)
    gc.collect()  # as a worker does
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        for variant in (name for name in EXPRESSIONS if name in wanted):
            ours, cpu = cycles_of(world, variant, given.rules, given.cycles)
            with serving(world) as port:
                theirs = prometheus_cycles(folder / "prometheus", port, variant, given.rules, given.cycles)
            words = WORDS[variant].format(per=world.series // given.rules, series=world.series)
            show(words, statistics.median(ours), statistics.median(theirs), variant)
            for side, seconds in (("ours", ours), ("our CPU", cpu), ("theirs", theirs)):
                print(f"  {side:8s} {[round(one, 4) for one in seconds]}", flush=True)
        if "rows" in wanted:
            compare_rows(world, given.rules, given.cycles)
        if "unchanged" in wanted:
            unchanged(given.rules, 10 * given.series)
    finally:
        from django.db import connections

        connections.close_all()
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
