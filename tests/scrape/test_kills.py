"""Any process of a scraping portal killed at any moment: what was stored once is there for good, bit for bit.

Two scrapers, a housekeeper, and Postgres with all its processes die at random while targets are asked every second.
The suite kills a few; `STORE_KILLS=50 pytest tests/scrape/test_kills.py` all of the goal.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from alphaq_portal.children import Child, stop_all
from alphaq_portal.embedded import Postgres, private_dir
from tests.scrape.server import Handler, TargetServer, target

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("STORE_KILLS", "3"))
TARGETS = 4
PATIENCE_SECONDS = 300


class Portal:
    """A Postgres of its own and the processes that scrape into it; each can be killed and is started again."""

    def __init__(self, folder: Path) -> None:
        private_dir(folder / "run")
        self.server = Postgres(folder, folder / "run")
        self.child: Child = self.server.start(say=lambda _: None)
        self.env = {
            **os.environ, "DATABASE_URL": self.server.url(), "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings",
            "ALPHAQ_DATA_DIR": str(folder), "REDIS_URL": "redis://127.0.0.1:9/0",
        }  # fmt: skip
        self.manage("migrate", "-v0", "--skip-checks")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def manage(self, *words: str) -> None:
        subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, check=True, capture_output=True)

    def start(self) -> None:
        """Start whatever does not run."""
        commands = {
            "one": ["manage.py", "scrape", "--name", "one"],
            "two": ["manage.py", "scrape", "--name", "two"],
            "house": ["-m", "tests.store.writer", "turn"],
        }
        for name, command in commands.items():
            child = self.running.get(name)
            if child is None or child.poll() is not None:
                self.running[name] = subprocess.Popen(
                    [sys.executable, *command], cwd=ROOT, env=self.env, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
        if self.child.process.poll() is not None:
            self.child = self.server.start(say=lambda _: None)

    def kill(self, name: str) -> None:
        """kill -9: a process by name, one of Postgres' backends, or the server with all its processes."""
        if name in self.running:
            self.running[name].kill()
            self.running[name].wait()
            return
        server = psutil.Process(self.child.process.pid)
        workers = server.children(recursive=True)
        victims = [server, *workers] if name == "server" else _backends(workers)[:1]
        for victim in victims:
            try:
                victim.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        if name == "server":
            self.child.process.wait()

    def samples(self, metric: str = "counter") -> set[str]:
        """Every stored sample as a line of labels, time and bits; tried again while the server recovers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        command = [sys.executable, "-m", "tests.store.writer", "read", metric]
        while True:
            done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True)
            lines = done.stdout.splitlines()
            if done.returncode == 0 and lines[-1:] == ["end"]:
                return set(lines[:-1])
            if time.monotonic() > deadline:
                raise AssertionError(done.stderr[-2000:])
            self.start()
            time.sleep(0.5)

    def stop(self) -> None:
        for child in self.running.values():
            child.kill()
            child.wait()
        stop_all([self.child])


def _backends(workers: list[psutil.Process]) -> list[psutil.Process]:
    """Processes that serve a connection, which is what Postgres writes behind its name."""
    found = []
    for worker in workers:
        try:
            if "[local]" in " ".join(worker.cmdline()):
                found.append(worker)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture
def portal() -> Iterator[Portal]:
    folder = Path(tempfile.mkdtemp(prefix="aq-kills-"))
    folder.chmod(0o711)
    made = Portal(folder)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def counting() -> Any:
    """An answer that no other request gets: a sample that comes back is that very sample."""
    numbers = itertools.count(1)

    def answer(request: Handler) -> None:
        request.send(f"counter {next(numbers)}\n")

    return answer


def test_no_sample_that_was_stored_is_lost_whoever_dies(portal: Portal) -> None:
    random = np.random.default_rng(int(os.environ.get("STORE_KILL_SEED", "5")))
    with target(counting()) as server:
        for number in range(TARGETS):
            portal.manage(
                "add_target", "app", f"{_address(server)}/{number}", "--instance", str(number), "--interval", "1s"
            )
        portal.start()
        seen: set[str] = set()
        while not seen:
            portal.start()
            seen = portal.samples()
        for number in range(KILLS):
            portal.kill(str(random.choice(["one", "two", "house", "backend", "server"])))
            time.sleep(float(random.random()))
            portal.start()
            time.sleep(float(random.random()) * 2)
            if number % 10 == 9:
                now = portal.samples()
                assert seen - now == set(), f"lost after {number + 1} kills"
                seen |= now
        last = portal.samples()
        assert seen - last == set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not portal.samples() - last and time.monotonic() < deadline:
            time.sleep(1)
        assert portal.samples() > last, "scraping goes on"
        sys.stderr.write(f"{KILLS} kills, {len(last):,} samples, none lost\n")


def _address(server: TargetServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"
