"""How long from a value that crosses its limit to the message? The portal beside Prometheus with Alertmanager.

    python benchmarks/rules_latency.py [--crossings 200 --seconds 100 --shared]

Both scrape the same endpoints every 5 s and evaluate the same rules every 5 s (no `for`, group_wait 0 s); both post in
Slack's format to the same receiver, each rule to a channel of its own, so that no channel gets more than Slack takes.
The portal is a whole one (`manage.py up`), started empty and given the same three files. Series cross at random
moments; a time is from the moment the endpoint has the value to the arrival of the request. Each group asks for the
series of one target, with --shared for some of every target, as the rules of a fleet do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scrape import PROMETHEUS, ROOT, free_port, running

ALERTMANAGER = "/usr/bin/prometheus-alertmanager"
JOBS = 8
INTERVAL = "5s"
# What is not told so long after the last crossing is lost.
PATIENCE_SECONDS = 15.0
READY_SECONDS = 120.0
# Of tokens per message; the same template on both sides is not needed, the portal's messages name every label.
TEXT = "{{ range .Alerts }}{{ .Labels.tok }} {{ end }}"


class World:
    """Series `load{tok="t<group>x<number>"}` of some jobs, when each crossed and when each side told it."""

    def __init__(self, crossings: int, is_shared: bool) -> None:
        self.values: dict[str, dict[str, int]] = {f"j{job}": {} for job in range(JOBS)}
        for number in range(crossings):
            group, place = number % JOBS, number // JOBS
            job = (group + place) % JOBS if is_shared else group
            self.values[f"j{job}"][f"t{group}x{place}"] = 10
        self.crossed: dict[str, float] = {}  # time.monotonic
        self.told: dict[str, dict[str, float]] = {"ours": {}, "theirs": {}}

    def answer(self, path: str, body: bytes) -> bytes:
        """What the endpoint /m/<job> says now, or the receiver's thanks for a message to …/<side>/<channel>."""
        kind, _, name = path.strip("/").rpartition("/")
        if kind == "m":
            return "".join(f'load{{tok="{token}"}} {value}\n' for token, value in self.values[name].items()).encode()
        now = time.monotonic()
        for token in re.findall(r"t\d+x\d+", body.decode()):
            self.told[name.partition("-")[0]].setdefault(token, now)
        return b"ok"

    def run(self, seconds: float, seed: int) -> None:
        """Let every series cross once, at random moments of so many seconds."""
        chance = random.Random(seed)
        places = [(job, token) for job, tokens in self.values.items() for token in tokens]
        started = time.monotonic()
        for moment, job, token in sorted((chance.uniform(0, seconds), *place) for place in places):
            time.sleep(max(0.0, started + moment - time.monotonic()))
            self.values[job][token] = 95
            self.crossed[token] = time.monotonic()

    def delays(self, side: str) -> list[float]:
        """Seconds from crossing to message, of all that one side told."""
        return [self.told[side][token] - at for token, at in self.crossed.items() if token in self.told[side]]


@contextmanager
def serving(answer: Callable[[str, bytes], bytes]) -> Iterator[int]:
    """An HTTP server for endpoints and messages; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes; together with delayed acknowledgements they would take 40 ms.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            text = answer(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def write_files(folder: Path, port: int, side: str, alertmanager: int, is_shared: bool) -> None:
    """The three files of one side (JSON is YAML); `port` has endpoints and receiver."""
    folder.mkdir()
    asked = 'load{{tok=~"t{job}x.*"}} > 80' if is_shared else 'load{{job="j{job}"}} > 80'
    groups = [
        {"name": f"grp{job}", "rules": [
            {"alert": f"Load{job}", "expr": asked.format(job=job), "labels": {"severity": "critical"},
             "annotations": {"summary": "load {{ $value }}"}}
        ]}
        for job in range(JOBS)
    ]  # fmt: skip
    receivers = [
        {"name": f"c{job}", "slack_configs": [
            {"api_url": f"http://127.0.0.1:{port}/services/T0/B0/{side}-{job}", "channel": f"#c{job}", "text": TEXT}
        ]}
        for job in range(JOBS)
    ]  # fmt: skip
    routes = [{"receiver": f"c{job}", "matchers": [f'alertname="Load{job}"']} for job in range(JOBS)]
    root = {"receiver": "c0", "group_by": ["alertname", "tok"], "group_wait": "0s", "group_interval": "1h"}
    scrapes = [
        {"job_name": f"j{job}", "metrics_path": f"/m/j{job}",
         "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": "x"}}]}
        for job in range(JOBS)
    ]  # fmt: skip
    config = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": scrapes,
    }
    tree = {"route": root | {"repeat_interval": "2h", "routes": routes}, "receivers": receivers}
    for name, content in (("rules", {"groups": groups}), ("alertmanager", tree), ("prometheus", config)):
        (folder / f"{name}.yml").write_text(json.dumps(content))


def wait_ready(url: str) -> None:
    """Wait until an address answers with 200; raises TimeoutError."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  (loopback)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} is not ready after {READY_SECONDS} s")


@contextmanager
def peer(folder: Path, listen: int, alertmanager: int) -> Iterator[None]:
    """Debian's Prometheus and Alertmanager on the files of a folder."""
    flags = (f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am", "--cluster.listen-address=")
    with running(ALERTMANAGER, *flags, f"--web.listen-address=127.0.0.1:{alertmanager}"):
        wait_ready(f"http://127.0.0.1:{alertmanager}/-/ready")
        flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=error")
        with running(PROMETHEUS, *flags, f"--web.listen-address=127.0.0.1:{listen}"):
            wait_ready(f"http://127.0.0.1:{listen}/-/ready")
            yield


@contextmanager
def portal(folder: Path) -> Iterator[None]:
    """A whole portal of its own on the files of a folder."""
    port = free_port()
    env = {**os.environ, "ALPHAQ_DATA_DIR": str(folder / "portal"), "ALPHAQ_PORT": str(port)}
    command = [sys.executable, "manage.py", "up"]
    with (folder / "portal.log").open("w") as log:
        run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_ready(f"http://127.0.0.1:{port}/ready")
            for kind in ("prometheus", "rules", "alertmanager"):
                manage = [sys.executable, "manage.py", f"import_{kind}", str(folder / f"{kind}.yml")]
                subprocess.run(manage, cwd=ROOT, env=env, check=True, stdout=log)
            yield
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(60)


def quantiles(delays: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    cut = statistics.quantiles(delays, n=100, method="inclusive")
    return cut[49], cut[98]


def show(world: World) -> None:
    """What both sides needed, and the ratios."""
    found = {}
    for side in ("ours", "theirs"):
        delays = world.delays(side)
        lost = len(world.crossed) - len(delays)
        found[side] = quantiles(delays)
        worst, best = max(delays), min(delays)
        words = f"p50 {found[side][0]:6.3f} s  p99 {found[side][1]:6.3f} s  min {best:6.3f} s  max {worst:6.3f} s"
        print(f"{side:7s} {words}  lost {lost} of {len(world.crossed)}", flush=True)
    for name, ours, theirs in zip(("p50", "p99"), found["ours"], found["theirs"], strict=True):
        ratio = ours / theirs
        print(f"{name}: ratio {ratio:.3f}, goal 1 {'ok' if ratio <= 1 else 'MISSED'}", flush=True)


def main() -> None:
    """Run both sides at once."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--crossings", type=int, default=200)
    options.add_argument("--seconds", type=float, default=100)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--shared", action="store_true", help="each group asks for series of every target")
    options.add_argument("--keep", action="store_true", help="leave the files of the run where they are")
    given = options.parse_args()
    for path in (PROMETHEUS, ALERTMANAGER):
        if not Path(path).exists():
            sys.exit(f"{path} is missing: apt-get install prometheus prometheus-alertmanager")
    folder = Path(tempfile.mkdtemp(prefix="aq-latency-"))
    folder.chmod(0o711)
    world, listen, alertmanager = World(given.crossings, given.shared), free_port(), free_port()
    try:
        with serving(world.answer) as port:
            for side in ("ours", "theirs"):
                write_files(folder / side, port, side, alertmanager, given.shared)
            with portal(folder / "ours"), peer(folder / "theirs", listen, alertmanager):
                time.sleep(40)  # both know every series, and what follows a start has settled
                load = os.getloadavg()
                world.run(given.seconds, given.seed)
                time.sleep(PATIENCE_SECONDS)
        show(world)
        print("load average " + " ".join(f"{one:.1f}" for one in (*load, *os.getloadavg())), flush=True)
    finally:
        if given.keep:
            print(f"files: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
