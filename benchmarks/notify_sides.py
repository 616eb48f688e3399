"""The two sides of benchmarks/notify.py as processes: a whole portal by `manage.py up`, and Debian's Alertmanager.

Both take the same Alertmanager configuration, are posted to by the same client, and say what CPU and memory they used.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
ALERTMANAGER = "/usr/bin/prometheus-alertmanager"
BATCH = 64  # alerts a request, as Prometheus sends them
QUIET = "from alerts.models import RuleGroup; RuleGroup.objects.update(is_enabled=False)"
Config = dict[str, Any]


def call(url: str, value: Any = None) -> bytes:
    """The body of a GET, or of a POST when there is something to send."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  (loopback)
        return bytes(answer.read())


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receiver:
    """The receiving process, with Slack's rate limit when asked for."""

    def __init__(self, rate: float = 0.0) -> None:
        script = Path(__file__).with_name("notify_receiver.py")
        command = [sys.executable, str(script), "--rate", str(rate)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def stats(self) -> dict[str, Any]:
        """When messages arrived, how many requests there were, which alerts they name."""
        return dict(json.loads(call(f"{self.url}/stats")))

    def reset(self) -> None:
        """Forget everything."""
        call(f"{self.url}/reset", {})

    def wait(self, messages: int, timeout: float, alerts: int = 0) -> dict[str, Any]:
        """The statistics once so many messages are there, which name so many alerts."""
        end = time.monotonic() + timeout
        while True:
            stats = self.stats()
            if len(stats["arrived"]) >= messages and stats["alerts"] >= alerts:
                return stats
            if time.monotonic() > end:
                raise TimeoutError(f"{len(stats['arrived'])} messages, {stats['alerts']} alerts after {timeout} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


class Side:
    """One process that takes alerts at `url`; a context manager that ends it."""

    name = ""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def post(self, alerts: list[dict[str, Any]], batch: int = BATCH) -> float:
        """Post alerts over one connection, a request after the other; returns the seconds it took."""
        started = time.monotonic()
        for first in range(0, len(alerts), batch):
            body = json.dumps(alerts[first : first + batch])
            self._client.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
            answer = self._client.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{self.name} answered {answer.status}: {text[:200]!r}")
        seconds = time.monotonic() - started
        if len(alerts) > batch:
            self._client.close()  # a server ends a connection that was idle for long; the next post opens another
        return seconds

    def family(self) -> list[psutil.Process]:
        """Every process of it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time so far of all its processes, living and gone."""
        total = 0.0
        for process in self.family():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def memory_mib(self) -> float:
        """What its processes occupy together; pages they share count once."""
        total = 0
        for process in self.family():
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total / 2**20


def _await(url: str, process: subprocess.Popen[str], name: str) -> None:
    for _ in range(1200):
        try:
            call(url)
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with status {process.returncode}") from None
            time.sleep(0.1)
    raise RuntimeError(f"{name} is not ready after two minutes")


class Alertmanager(Side):
    """Debian's Alertmanager on an empty folder."""

    name = "Alertmanager"

    def __init__(self, folder: Path, config: Config) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "am.yml").write_text(json.dumps(config))  # JSON is YAML
        port = free_port()
        process = subprocess.Popen(
            [ALERTMANAGER, f"--config.file={folder}/am.yml", f"--storage.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        super().__init__(process, port)
        _await(f"{self.url}/-/ready", process, self.name)


class Portal(Side):
    """A whole portal on a data folder of its own: Postgres, Valkey, web, worker, beat.

    The first one makes the tables; the others copy its folder, so that each starts empty.
    """

    name = "portal"

    def __init__(self, folder: Path, config: Config | None = None, **env: str) -> None:
        self.data = folder / "portal"
        shutil.rmtree(self.data, ignore_errors=True)
        prepared = folder / "prepared"
        if config is not None:
            if not prepared.exists():
                with Portal(folder):
                    pass
                self.data.rename(prepared)
            subprocess.run(["cp", "-a", str(prepared), str(self.data)], check=True)
        port = free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")},
            "ALPHAQ_DATA_DIR": str(self.data), "ALPHAQ_PORT": str(port), "ALPHAQ_COLLECT": "0",
            "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings", **env,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=self.env, text=True, start_new_session=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        super().__init__(process, port)
        _await(f"{self.url}/ready", process, self.name)
        if config is not None:
            path = self.data / "alertmanager.json"
            path.write_text(json.dumps(config))
            self.manage("import_alertmanager", str(path))
        else:
            self.manage("shell", "-c", QUIET)  # the portal's own rules are no part of what is measured

    def manage(self, *command: str) -> None:
        """Run one command of the portal."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, env=self.env, text=True, check=False, capture_output=True
        )
        if done.returncode:
            raise RuntimeError(f"manage.py {command[0]}: {done.stderr[-500:]}")
