"""Are alerts told as fast as by Alertmanager? The same alerts through both, into the same receiver, in one run.

    python benchmarks/notify.py [--alerts 10000 --groups 1,100,1000 --singles 400] [--storm]

Ours goes from saved alerts over groups, outbox and HTTP to the receiver, in one process, as one worker does it;
Alertmanager's alerts are posted to its API. Times are until the receiver, a process of its own, has the message.
--storm adds 100 groups into one channel at Slack's limit of a message a second, which takes Alertmanager minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
ALERTMANAGER = "/usr/bin/prometheus-alertmanager"
WAIT_SECONDS = 3.0  # group_wait of the big rows


def call(url: str, value: Any = None, method: str = "") -> bytes:
    """The body of a GET, or of a POST when there is something to send."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method or None)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (loopback)
        return bytes(answer.read())


class Receiver:
    """The receiving process, with Slack's rate limit when asked for."""

    def __init__(self, rate: float = 0.0) -> None:
        script = Path(__file__).with_name("notify_receiver.py")
        command = [sys.executable, str(script), "--rate", str(rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stats(self) -> dict[str, Any]:
        """When messages arrived, how many requests there were, how many alerts the messages name."""
        return dict(json.loads(call(f"{self.url}/stats")))

    def reset(self) -> None:
        """Forget everything."""
        call(f"{self.url}/reset", {})

    def wait(self, count: int, timeout: float) -> dict[str, Any]:
        """The statistics once `count` messages are there."""
        end = time.monotonic() + timeout
        while len((stats := self.stats())["arrived"]) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(stats['arrived'])} of {count} messages after {timeout} s")
            time.sleep(0.02)
        return stats

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


class Alertmanager:
    """Debian's Alertmanager with one route and one receiver."""

    def __init__(self, folder: Path, receiver: dict[str, Any], wait: str, interval: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        route = {"receiver": "r", "group_by": ["alertname", "g"], "group_wait": wait, "group_interval": interval}
        config = {"route": route | {"repeat_interval": "1h"}, "receivers": [{"name": "r"} | receiver]}
        folder.mkdir()
        (folder / "am.yml").write_text(json.dumps(config))  # JSON is YAML
        self.process = subprocess.Popen(
            [ALERTMANAGER, f"--config.file={folder}/am.yml", f"--storage.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            try:
                call(f"http://127.0.0.1:{self.port}/-/ready")
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Alertmanager did not start")

    def post(self, alerts: list[dict[str, Any]]) -> None:
        """Post alerts in batches of 64, as Prometheus does."""
        for start in range(0, len(alerts), 64):
            call(f"http://127.0.0.1:{self.port}/api/v2/alerts", alerts[start : start + 64])

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def labels_of(number: int, groups: int) -> dict[str, str]:
    """The labels of one alert: six of them, as many as rules usually give."""
    return {
        "alertname": "Load", "g": str(number % groups), "tok": f"tok-{number}", "job": "serving",
        "instance": f"host{number % 100}:9100", "severity": "warning",
    }  # fmt: skip


class Portal:
    """The portal's outbox on an embedded Postgres."""

    def __init__(self, folder: Path) -> None:
        from alphaq_portal.embedded import Postgres, private_dir

        run = folder / "run"
        private_dir(run)
        postgres = Postgres(folder, run)
        self.child = postgres.start(say=lambda _: None)
        settings = "alphaq_portal.settings"
        os.environ.update(DATABASE_URL=postgres.url(), ALPHAQ_DATA_DIR=str(folder), DJANGO_SETTINGS_MODULE=settings)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)

    def route(self, kind: str, url: str, wait: float, interval: float) -> None:
        """Empty tables but for one route to one way out."""
        from django.db import connection

        from alerts import models

        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE alerts_alert, alerts_group, alerts_notification, alerts_notifylog, alerts_channelstate,"
                " alerts_route, alerts_receiver CASCADE"
            )
        receiver = models.Receiver.objects.create(name="r")
        models.Integration.objects.create(receiver=receiver, kind=kind, url=url)
        models.Route.objects.create(
            receiver=receiver, group_by=["alertname", "g"], group_wait_seconds=wait, group_interval_seconds=interval,
            repeat_interval_seconds=3600,
        )  # fmt: skip

    def accept(self, labels: list[dict[str, str]]) -> None:
        """Save alerts and put them into their groups, in one transaction."""
        from django.db import transaction

        from alerts import bulk, dispatch, models
        from alerts.engine.fingerprint import fingerprint
        from monitoring.promql import Labels

        at = datetime.now(UTC)
        rows = [
            models.Alert(
                source="api", name=one["alertname"], labels=one, fingerprint=fingerprint(Labels.of(one)),
                annotations={"summary": "load is high"}, state="firing", severity=one["severity"], active_since=at,
                fired_at=at, ends_at=at + timedelta(hours=1), updated_at=at,
            )
            for one in labels
        ]  # fmt: skip
        with transaction.atomic():
            bulk.insert(rows)
            dispatch.route(rows, at)

    def cpu_seconds(self) -> float:
        """CPU time so far of this process and of Postgres with all its children, living and gone."""
        server = psutil.Process(self.child.process.pid)
        mine = psutil.Process().cpu_times()
        total = mine.user + mine.system
        for process in [server, *server.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def work(self) -> int:
        """One round of a worker: flush what is due, send what is due; how many messages ended."""
        from alerts import deliver, dispatch

        dispatch.flush_due(datetime.now(UTC))
        return sum(deliver.run(datetime.now(UTC), "bench", limit=100_000).values())


def show(what: str, ours: float, theirs: float, goal: str = "") -> None:
    """One row: ours, theirs, ratio."""
    print(f"{what:52s} ours {ours:9.3f}  Alertmanager {theirs:9.3f}  ratio {ours / theirs:8.2f}  {goal}", flush=True)


def singles(portal: Portal, receiver: Receiver, folder: Path, count: int) -> None:
    """One alert after another, group_wait 0, in Slack's format: from the post to the message."""
    url = f"{receiver.url}/services/T0/B0/x"
    peer = Alertmanager(folder / "singles", {"slack_configs": [{"api_url": url, "channel": "#x"}]}, "0s", "1h")
    theirs: list[float] = []
    receiver.reset()
    try:
        for number in range(count):
            start = time.monotonic()
            peer.post([{"labels": labels_of(number, count), "annotations": {"summary": "x"}}])
            theirs.append(receiver.wait(number + 1, 30)["arrived"][-1] - start)
    finally:
        peer.stop()
    portal.route("webhook", f"{receiver.url}/hook/x", 0, 3600)
    receiver.reset()
    ours: list[float] = []
    for number in range(count):
        start = time.monotonic()
        portal.accept([labels_of(number, count)])
        portal.work()
        ours.append(receiver.wait(number + 1, 30)["arrived"][-1] - start)
    for name, part in (("p50", 50), ("p99", 99)):
        pair = [statistics.quantiles(values, n=100)[part - 1] for values in (ours, theirs)]
        show(f"one alert to its message, {count} alerts, {name}, s", *pair, "goal p99 1, beyond p50 0.05, p99 0.2")


def burst(portal: Portal, receiver: Receiver, folder: Path, alerts: int, groups: int) -> None:
    """Many alerts at once into some groups, as Alertmanager's webhook JSON."""
    labels = [labels_of(number, groups) for number in range(alerts)]
    url = f"{receiver.url}/hook/x"
    peer = Alertmanager(folder / f"burst{groups}", {"webhook_configs": [{"url": url}]}, f"{WAIT_SECONDS:g}s", "1h")
    receiver.reset()
    try:
        start = time.monotonic()
        peer.post([{"labels": one, "annotations": {"summary": "load is high"}} for one in labels])
        theirs_accepted = time.monotonic() - start
        stats = receiver.wait(groups, 60)
        theirs_last = max(stats["arrived"]) - start - WAIT_SECONDS
        times = psutil.Process(peer.process.pid).cpu_times()
        theirs_cpu = times.user + times.system
    finally:
        peer.stop()
    portal.route("webhook", url, WAIT_SECONDS, 3600)
    receiver.reset()
    start, cpu = time.monotonic(), portal.cpu_seconds()
    portal.accept(labels)
    accepted = time.monotonic() - start
    while len((stats := receiver.stats())["arrived"]) < groups:
        time.sleep(0 if portal.work() else 0.05)
    last = max(stats["arrived"]) - start - WAIT_SECONDS
    cpu = portal.cpu_seconds() - cpu
    print(f"  alerts named in our messages: {stats['alerts']} of {alerts}")
    show(f"{alerts} alerts, {groups} groups: accepted, s", accepted, theirs_accepted, "goal 3, beyond 1")
    show(f"{alerts} alerts, {groups} groups: last message after wait, s", last, theirs_last, "goal 3, beyond 1")
    show(f"{alerts} alerts, {groups} groups: CPU, s", cpu, theirs_cpu)


def storm(portal: Portal, folder: Path, groups: int) -> None:
    """Groups into one Slack channel that takes a message a second: until every problem is told."""
    receiver = Receiver(rate=1.0)
    url = f"{receiver.url}/services/T0/B0/x"
    labels = [labels_of(number, groups) for number in range(groups)]
    text = "{{ range .Alerts }}{{ .Labels.tok }} {{ end }}"
    config = {"slack_configs": [{"api_url": url, "channel": "#x", "text": text}]}
    try:
        peer = Alertmanager(folder / "storm", config, "1s", "10s")
        start = time.monotonic()
        peer.post([{"labels": one} for one in labels])
        stats = receiver.wait(groups, 400)
        theirs, their_requests = max(stats["arrived"]) - start, stats["requests"]
        peer.stop()
        receiver.reset()
        portal.route("slack_webhook", url, 1, 10)
        start = time.monotonic()
        portal.accept(labels)
        from alerts.models import NotifyLog

        while NotifyLog.objects.count() < groups:
            time.sleep(0.1 if portal.work() else 0.5)
        ours, stats = time.monotonic() - start, receiver.stats()
    finally:
        receiver.stop()
    show(f"{groups} groups into one channel: all told, s", ours, theirs, "goal 100, beyond 10")
    show(f"{groups} groups into one channel: requests", stats["requests"], their_requests, "goal 130")


def main() -> None:
    """Run all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--groups", default="1,100,1000")
    parser.add_argument("--singles", type=int, default=400)
    parser.add_argument("--storm", action="store_true")
    given = parser.parse_args()
    if not Path(ALERTMANAGER).exists():
        sys.exit(f"{ALERTMANAGER} is missing: apt-get install prometheus-alertmanager")
    folder = Path(tempfile.mkdtemp(prefix="aq-notify-"))
    folder.chmod(0o711)
    portal, receiver = Portal(folder), Receiver()
    try:
        singles(portal, receiver, folder, given.singles)
        for groups in given.groups.split(","):
            burst(portal, receiver, folder, given.alerts, int(groups))
        if given.storm:
            storm(portal, folder, 100)
    finally:
        receiver.stop()
        from django.db import connections

        from alphaq_portal.children import stop_all

        connections.close_all()
        stop_all([portal.child])
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
