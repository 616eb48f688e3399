"""Are alerts told as fast, and held as cheaply, as by Alertmanager? The same posts to both, in one run.

    python benchmarks/notify.py [--rows one,burst,scrape,storm,hold] [--singles 400] [--alerts 10000]
                                [--groups 1,100,1000] [--series 15000] [--held 100000] [--minutes 5]

Ours is a whole portal (`manage.py up`), the peer is Debian's Alertmanager (and its Prometheus, where one scrapes); both
take the same configuration and the same requests to /api/v2/alerts, and tell one receiver, a process of its own. Each
row starts both sides anew. Times are read on one monotonic clock; CPU and memory are those of all processes of a side.

    one     an alert after the other, group_wait 0, until the message in Slack's format
    burst   many alerts at once, in requests of 64, into some groups: accepted, and last message after group_wait
    scrape  series that cross a limit in one scrape: rules and routing by the portal, or by Prometheus and Alertmanager
    storm   100 groups into one Slack channel that takes a message a second
    hold    alerts that are resent unchanged every minute
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from notify_scrape import Crossing, Prometheus
from notify_sides import ALERTMANAGER, Alertmanager, Config, Portal, Receiver, Side

WAIT_SECONDS = 3.0  # group_wait of the big rows
WARM_MINUTES = 5  # of resends before the row of held alerts is measured: every process has seen them then
CHANNELS = 50  # of the row of single alerts: so that no channel gets more than Slack takes
# Loads what is loaded once, and is over: nobody is told.
WARMING = {"labels": {"alertname": "Warming"}, "endsAt": "2020-01-01T00:00:00Z"}
Make = Callable[[Path, Config], Side]
SIDES: tuple[Make, Make] = (Portal, Alertmanager)


def alert(number: int, groups: int, **more: str) -> dict[str, Any]:
    """One posted alert with as many labels and annotations as rules usually give."""
    labels = {
        "alertname": "Load", "tok": f"tok-{number}-", "g": f"g{number % groups:05d}", "job": "model-server",
        "instance": f"10.0.{number % 250}.{number % 200}:9100", "cluster": "prod-eu-1", "severity": "critical",
        "model": f"model-{number % 37}",
    }  # fmt: skip
    return {
        "labels": labels,
        "annotations": {
            "summary": f"Latency of model-{number % 37} is above the threshold",
            "description": "The 90th percentile is 2.34 s for the last 5 minutes, see https://wiki.example/latency",
        },
        "generatorURL": "http://prometheus.example/graph?g0.expr=latency_seconds%7Bquantile%3D%220.9%22%7D+%3E+1",
        **more,
    }


def config(receiver: dict[str, Any], wait: str, interval: str = "1h", **more: Any) -> Config:
    """One route to one receiver."""
    route = {"receiver": "r", "group_by": ["alertname", "g"], "group_wait": wait, "group_interval": interval}
    return {"route": route | {"repeat_interval": "2h"} | more, "receivers": [{"name": "r"} | receiver]}


def slack(url: str, name: str = "x") -> dict[str, Any]:
    """A receiver in Slack's format."""
    text = "{{ range .Alerts }}{{ .Labels.tok }} {{ end }}"
    way = {"api_url": f"{url}/services/T0/B0/{name}", "channel": f"#{name}", "send_resolved": True, "text": text}
    return {"slack_configs": [way]}


def hook(url: str) -> dict[str, Any]:
    """A receiver of Alertmanager's webhook JSON."""
    return {"webhook_configs": [{"url": f"{url}/hook/x", "send_resolved": True}]}


def show(what: str, ours: float, theirs: float, goal: str = "") -> None:
    """One row: ours, theirs, ratio."""
    ratio = ours / theirs if theirs else float("nan")
    print(f"{what:52s} portal {ours:9.3f}  peer {theirs:9.3f}  ratio {ratio:8.2f}  {goal}", flush=True)


def heading(words: str) -> None:
    """A line above the rows of one question, with the load of the machine."""
    print(f"\n{words}   (load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores)", flush=True)


def one(receiver: Receiver, folder: Path, count: int) -> None:
    """One alert after the other: from the post to the message."""
    names = [f"c{number}" for number in range(CHANNELS)]
    wanted = config({}, "0s")
    wanted["receivers"] += [{"name": name} | slack(receiver.url, name) for name in names]
    wanted["route"]["routes"] = [{"receiver": name, "matchers": [f'channel="{name}"']} for name in names]
    heading(f"{count} alerts, one after the other, into {CHANNELS} Slack channels, group_wait 0")
    found = []
    for make in SIDES:
        receiver.reset()
        seconds = []
        with make(folder, wanted) as side:
            for number in range(count + 5):
                posted = alert(number, count + 5)
                posted["labels"]["channel"] = names[number % CHANNELS]
                started = time.monotonic()
                side.post([posted])
                arrived = receiver.wait(number + 1, 60)["arrived"][-1]
                seconds.append(arrived - started)
        found.append(seconds[5:])  # the first ones find caches cold on both sides
    for name, part, goal in (("p50", 50, "beyond 0.05"), ("p99", 99, "goal 1, beyond 0.2")):
        ours, theirs = (statistics.quantiles(values, n=100)[part - 1] for values in found)
        show(f"post to message, {name}, s", ours, theirs, goal)


def burst(receiver: Receiver, folder: Path, count: int, groups: int) -> None:
    """Many alerts at once into some groups, told as webhooks: a Slack channel takes one message a second."""
    alerts = [alert(number, groups) for number in range(count)]
    heading(f"{count} alerts at once into {groups} groups, group_wait {WAIT_SECONDS:g} s")
    rows = []
    for make in SIDES:
        receiver.reset()
        with make(folder, config(hook(receiver.url), f"{WAIT_SECONDS:g}s", "5s")) as side:
            side.post([WARMING])
            cpu, started = side.cpu_seconds(), time.monotonic()
            accepted = side.post(alerts)
            stats = receiver.wait(groups, 300, count)
            rows.append((accepted, max(stats["arrived"]) - started - WAIT_SECONDS, side.cpu_seconds() - cpu))
    names = (("accepted, s", "goal 3, beyond 1"), ("last message after group_wait, s", "goal 3, beyond 1"),
             ("CPU, s", ""))  # fmt: skip
    for (name, goal), ours, theirs in zip(names, *rows, strict=True):
        show(name, ours, theirs, goal)


def scrape(receiver: Receiver, folder: Path, series: int) -> None:
    """Series that cross in one scrape: how many alerts are never told."""
    heading(f"{series} series cross in one scrape of 10 targets, rules every second, 100 groups, group_wait 2 s")
    wanted = config(hook(receiver.url), "2s", "5s")
    told = []
    for make in SIDES:
        receiver.reset()
        with Crossing(series) as crossing, make(folder, wanted) as side:
            rules = Prometheus(folder, crossing, side)
            with rules:
                rules.await_series()
                crossing.cross()
                started = time.monotonic()
                stats = receiver.wait(0, 5)
                while time.monotonic() - started < 90 and stats["alerts"] < series:
                    time.sleep(1)
                    stats = receiver.stats()
            told.append((series - stats["alerts"], max(stats["arrived"], default=started) - started))
    show("alerts that nobody was told of", told[0][0], told[1][0], "goal 0")
    show("last message after the crossing, s", told[0][1], told[1][1])


def storm(folder: Path, groups: int) -> None:
    """Groups into one Slack channel that takes a message a second: until every problem is told."""
    heading(f"{groups} groups into one Slack channel at Slack's limit, group_interval 10 s")
    receiver, rows = Receiver(rate=1.0), []
    try:
        for make in SIDES:
            receiver.reset()
            with make(folder, config(slack(receiver.url), "1s", "10s")) as side:
                started = time.monotonic()
                side.post([alert(number, groups) for number in range(groups)])
                stats = receiver.wait(0, 400, groups)
                rows.append((stats["arrived"][-1] - started, stats["requests"]))
    finally:
        receiver.stop()
    show("every problem told, s", rows[0][0], rows[1][0], "goal 100, beyond 10")
    show("requests", rows[0][1], rows[1][1], "goal 130")


def hold(receiver: Receiver, folder: Path, count: int, minutes: int) -> None:
    """Alerts that are resent unchanged every minute: what that costs once they are known."""
    heading(f"{count} alerts in 1,000 groups, resent every minute for {minutes} minutes")
    rows = []
    for make in SIDES:
        receiver.reset()
        # A wait in which all of them come in, or some are told five minutes later.
        with make(folder, config(hook(receiver.url), "2m", "5m")) as side:
            begun = datetime.now(UTC).isoformat()
            alerts = [alert(number, 1000, startsAt=begun) for number in range(count)]
            started, minute = time.monotonic(), 0
            while receiver.stats()["alerts"] < count or minute < WARM_MINUTES:
                if minute > 15:
                    raise TimeoutError(f"{receiver.stats()['alerts']} of {count} alerts told after {minute} minutes")
                _resend(side, alerts)
                minute += 1
                time.sleep(max(started + 60 * minute - time.monotonic(), 0))
            rows.append(_held(side, alerts, minutes))
    for name, ours, theirs, goal in zip(
        ("CPU, % of a core", "memory at rest, MiB", "memory at most, MiB", "one resend, s"), *rows,
        ("goal ratio 1", "goal ratio 1", "goal ratio 1", ""), strict=True,
    ):  # fmt: skip
        show(name, ours, theirs, goal)


def _resend(side: Side, alerts: list[dict[str, Any]]) -> float:
    """Post all alerts with an end four minutes from now, as a Prometheus that evaluates every minute does."""
    ends_at = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    for one in alerts:
        one["endsAt"] = ends_at
    return side.post(alerts)


def _held(side: Side, alerts: list[dict[str, Any]], minutes: int) -> tuple[float, float, float, float]:
    """CPU in percent of a core, memory in the middle and at most in MiB, and seconds of a resend."""
    memory: list[float] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(5):
            memory.append(side.memory_mib())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    cpu, started, took = side.cpu_seconds(), time.monotonic(), []
    for minute in range(minutes):
        took.append(_resend(side, alerts))
        time.sleep(max(started + 60 * (minute + 1) - time.monotonic(), 0))
    cpu, seconds = side.cpu_seconds() - cpu, time.monotonic() - started
    stop.set()
    looking.join()
    return 100 * cpu / seconds, statistics.median(memory), max(memory), statistics.median(took)


def main() -> None:
    """Run the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="one,burst,scrape,storm,hold")
    parser.add_argument("--singles", type=int, default=400)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--groups", default="1,100,1000")
    parser.add_argument("--series", type=int, default=15_000)
    parser.add_argument("--held", type=int, default=100_000)
    parser.add_argument("--minutes", type=int, default=5)
    given = parser.parse_args()
    if not Path(ALERTMANAGER).exists():
        sys.exit(f"{ALERTMANAGER} is missing: apt-get install prometheus-alertmanager")
    folder = Path(tempfile.mkdtemp(prefix="aq-notify-"))
    folder.chmod(0o755)
    receiver = Receiver()
    rows: dict[str, Callable[[], None]] = {
        "one": lambda: one(receiver, folder, given.singles),
        "burst": lambda: [burst(receiver, folder, given.alerts, int(one)) for one in given.groups.split(",")] and None,
        "scrape": lambda: scrape(receiver, folder, given.series),
        "storm": lambda: storm(folder, 100),
        "hold": lambda: hold(receiver, folder, given.held, given.minutes),
    }
    try:
        for name in given.rows.split(","):
            try:
                rows[name]()
            except TimeoutError as error:
                print(f"no figures for {name}: {error}", flush=True)
    finally:
        receiver.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
