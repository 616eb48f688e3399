"""What does scraping cost? The same captured node_exporter texts scraped by the portal and by Prometheus, in one run.

    python benchmarks/scrape.py [--targets 100 --fast-targets 50 --seconds 32]

A ratio below 1 means that the portal needs less. CPU is that of the scraper and of all Postgres processes against that
of Debian's Prometheus, both with their write paths and without compaction; memory is that of the scraper alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
EXPORTER = "/usr/bin/prometheus-node-exporter"
PROMETHEUS = "/usr/bin/prometheus"
COLLECTORS = ("interrupts", "processes", "tcpstat", "systemd", "mountstats", "ksmd", "buddyinfo", "slabinfo")
AGENTS = {"portal": "alphaq-portal", "prometheus": "prometheus"}


@dataclass(frozen=True)
class Cost:
    """What one side needed for some samples."""

    samples: int
    cpu_seconds: float
    rss_mib: float
    seconds: float

    @property
    def seconds_a_million(self) -> float:
        """CPU seconds a million samples."""
        return self.cpu_seconds / self.samples * 1e6


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def capture(folder: Path, scrapes: int) -> int:
    """Run node_exporter, keep a text a second in `folder`, return the samples of one."""
    port = free_port()
    flags = [f"--collector.{name}" for name in COLLECTORS]
    exporter = subprocess.Popen([EXPORTER, f"--web.listen-address=127.0.0.1:{port}", *flags], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        for number in range(scrapes):
            body = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()
            (folder / f"{number:03d}.txt").write_bytes(body)
            time.sleep(1)
    finally:
        exporter.kill()
        exporter.wait()
    return sum(line[:1] not in (b"#", b"") for line in body.split(b"\n"))


@contextmanager
def running(*command: str, **env: str) -> Iterator[psutil.Process]:
    """A child process until the end of the block."""
    child = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the CPU time of some processes and of all their children, ended ones included."""
    total = 0.0
    for process in processes:
        for one in [process, *process.children(recursive=True)]:
            times = one.cpu_times()
            total += times.user + times.system
        times = process.cpu_times()
        total += times.children_user + times.children_system
    return total


def served(port: int, agent: str) -> int:
    """Return how many samples a client has been given."""
    counts = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=30).read())
    return int(counts.get(agent, 0))


def measure(port: int, agent: str, watched: list[psutil.Process], warm: float, seconds: float) -> Cost:
    """Let a client scrape, then return what it needs in `seconds`."""
    time.sleep(warm)
    samples, cpu, started = served(port, agent), cpu_seconds(watched), time.monotonic()
    time.sleep(seconds)
    rss = watched[0].memory_info().rss / 2**20
    return Cost(served(port, agent) - samples, cpu_seconds(watched) - cpu, rss, time.monotonic() - started)


class Portal:
    """An embedded Postgres and targets in its registry."""

    def __init__(self, folder: Path) -> None:
        from alphaq_portal.embedded import Postgres, private_dir

        folder.chmod(0o711)
        private_dir(folder / "run")
        postgres = Postgres(folder, folder / "run")
        self.child = postgres.start(say=lambda _: None)
        self.env = {
            "DATABASE_URL": postgres.url(), "ALPHAQ_DATA_DIR": str(folder), "REDIS_URL": "redis://127.0.0.1:9/0",
            "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings",
        }  # fmt: skip
        os.environ.update(self.env)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        from monitoring.models import Target

        self.target = Target
        self.server = psutil.Process(self.child.process.pid)

    def cost(self, port: int, targets: int, interval: float, warm: float, seconds: float) -> Cost:
        """Scrape with a process of its own."""
        self.target.objects.all().delete()
        self.target.objects.bulk_create(
            self.target(
                job="node", url=f"http://127.0.0.1:{port}/t/{number}", instance_label=f"t{number}",
                interval_seconds=interval,
            )
            for number in range(targets)
        )  # fmt: skip
        with running(sys.executable, "manage.py", "scrape", **self.env) as scraper:
            # Ready when it has asked for the first time; its start is not what is measured.
            before = served(port, AGENTS["portal"])
            while served(port, AGENTS["portal"]) == before:
                time.sleep(0.5)
            return measure(port, AGENTS["portal"], [scraper, self.server], warm, seconds)

    def stop(self) -> None:
        """End the database."""
        from alphaq_portal.children import stop_all

        stop_all([self.child])

    def missed(self) -> int:
        """Return how many planned times could not be kept."""
        from monitoring.models import TargetStatus

        return sum(TargetStatus.objects.values_list("missed_slots", flat=True))


def prometheus_cost(folder: Path, port: int, targets: int, interval: float, warm: float, seconds: float) -> Cost:
    """Scrape with Debian's Prometheus."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    static = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"__metrics_path__": f"/t/{number}", "instance": f"t{number}"}}
        for number in range(targets)
    ]
    config = {
        "global": {"scrape_interval": f"{interval:g}s", "scrape_timeout": f"{min(interval, 10):g}s"},
        "scrape_configs": [{"job_name": "node", "static_configs": static}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=error")
    with running(PROMETHEUS, *flags, f"--web.listen-address=127.0.0.1:{free_port()}") as process:
        return measure(port, AGENTS["prometheus"], [process], warm, seconds)


def show(what: str, ours: Cost, theirs: Cost, goal: float) -> None:
    """Print a phase."""
    ratio = ours.seconds_a_million / theirs.seconds_a_million
    verdict = "ok" if ratio <= goal else "MISSED"
    print(
        f"{what:34s} CPU s/M {ours.seconds_a_million:6.2f} {theirs.seconds_a_million:6.2f}  ratio {ratio:5.2f}"
        f"  goal {goal:4.2f} {verdict}   RSS MiB {ours.rss_mib:5.0f} {theirs.rss_mib:5.0f}"
        f"   samples/s {ours.samples / ours.seconds:7.0f} {theirs.samples / theirs.seconds:7.0f}",
        flush=True,
    )


def parser_cost(folder: Path) -> None:
    """Print what reading alone costs, of texts whose numbers change."""
    from monitoring.collect.exposition import Parser

    texts = [path.read_bytes() for path in sorted(folder.glob("*.txt"))]
    reader, samples = Parser(1_000_000), 0
    for text in texts:
        reader.read(text, False)
    started = time.process_time()
    for _ in range(20):
        for text in texts:
            samples += reader.read(text, False).samples
    taken = time.process_time() - started
    print(f"reading alone: {taken / samples * 1e6:.2f} CPU s/M = {samples / taken / 1e6:.1f} M samples/s", flush=True)


def main() -> None:
    """Run all phases."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--targets", type=int, default=100)
    options.add_argument("--fast-targets", type=int, default=50, help="targets scraped every second")
    options.add_argument("--seconds", type=float, default=32, help="measured time at 15 s")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aq-scrape-"))
    (folder / "texts").mkdir()
    samples = capture(folder / "texts", 12)
    port = free_port()
    print(f"{samples} series a target; columns: portal, Prometheus", flush=True)
    portal = Portal(folder)
    try:
        parser_cost(folder / "texts")
        with running(sys.executable, str(ROOT / "benchmarks/scrape_server.py"), str(port), str(folder / "texts")):
            time.sleep(2)
            for targets, interval, warm, seconds, goal in (
                (given.fast_targets, 1, 8, 15, 0.9),
                (given.targets, 15, 17, given.seconds, 1.2),
            ):
                ours = portal.cost(port, targets, interval, warm, seconds)
                theirs = prometheus_cost(folder / "prometheus", port, targets, interval, warm, seconds)
                show(f"{targets} targets x {samples} series, {interval} s", ours, theirs, goal)
        print(f"planned times missed: {portal.missed()}")
    finally:
        portal.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
