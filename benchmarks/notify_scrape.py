"""Targets whose series all cross a limit at one moment, and who scrapes them for benchmarks/notify.py."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from notify_sides import Portal, Side, call, free_port

PROMETHEUS = "/usr/bin/prometheus"
TARGETS = 10


class Crossing:
    """A server of ten targets with `series` series together; at `cross` all go from 10 to 95."""

    def __init__(self, series: int) -> None:
        self.series, self.value = series, 10

    def __enter__(self) -> Crossing:
        crossing = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = crossing.text(int(self.path.rpartition("/")[2]))
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def text(self, target: int) -> bytes:
        """What one target says."""
        numbers = range(target, self.series, TARGETS)
        return "".join(
            f'load{{tok="tok-{number}-",g="g{number // TARGETS % 100:03d}"}} {self.value}\n' for number in numbers
        ).encode()

    def cross(self) -> None:
        """Let all series cross the limit with the next scrape."""
        self.value = 95


class Prometheus:
    """Who scrapes and evaluates: the portal itself, or a Prometheus that posts to the other side."""

    def __init__(self, folder: Path, crossing: Crossing, side: Side) -> None:
        self.side, self.crossing, self.process = side, crossing, None
        self.url = side.url
        place = folder / "prometheus"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        self._write(place)
        if isinstance(side, Portal):
            side.manage("import_prometheus", str(place / "prometheus.yml"))
            side.manage("import_rules", str(place / "rules.yml"))
            return
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _write(self, place: Path) -> None:
        """prometheus.yml and rules.yml; JSON is YAML."""
        rule = {"alert": "Load", "expr": "load > 80", "labels": {"severity": "critical"},
                "annotations": {"summary": "load {{ $value }}"}}  # fmt: skip
        group = {"name": "g", "interval": "1s", "rules": [rule]}
        (place / "rules.yml").write_text(json.dumps({"groups": [group]}))
        jobs = [
            {"job_name": f"t{target}", "metrics_path": f"/m/{target}",
             "static_configs": [{"targets": [f"127.0.0.1:{self.crossing.port}"]}]}
            for target in range(TARGETS)
        ]  # fmt: skip
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": times, "scrape_configs": jobs}
        if not isinstance(self.side, Portal):
            managers = [{"static_configs": [{"targets": [f"127.0.0.1:{self.side.port}"]}]}]
            config |= {"rule_files": [f"{place}/rules.yml"], "alerting": {"alertmanagers": managers}}
        (place / "prometheus.yml").write_text(json.dumps(config))

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def await_series(self, timeout: float = 60) -> None:
        """Wait until every series has been scraped."""
        end = time.monotonic() + timeout
        while self._count() < self.crossing.series:
            if time.monotonic() > end:
                raise TimeoutError(f"{self._count()} of {self.crossing.series} series after {timeout:g} s")
            time.sleep(0.5)

    def _count(self) -> int:
        try:
            answer = json.loads(call(f"{self.url}/api/v1/query?query={quote('count(load)')}"))
        except OSError:
            return 0
        found = answer["data"]["result"]
        return int(found[0]["value"][1]) if found else 0
