"""The whole portal as processes, for tests that need it as its user has it."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(processes: Sequence[psutil.Process]) -> int:
    """kill -9 of all of them at the same moment; returns how many there were."""
    found = 0
    for act in ("suspend", "kill"):
        found = 0
        for one in processes:
            try:
                getattr(one, act)()
                found += 1
            except psutil.NoSuchProcess:
                continue
    return found


class RunningPortal:
    """`manage.py up` on a data folder of its own; reads what it tells its user."""

    def __init__(self, data_dir: Path, port: int | None = None, **env: str) -> None:
        self.data_dir, self.port = data_dir, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.env = {
            **given,
            "ALPHAQ_DATA_DIR": str(data_dir),
            "ALPHAQ_PORT": str(self.port),
            "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings",
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()

    def start(self) -> RunningPortal:
        """Start it; `wait_ready` waits."""
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, words: str, timeout: float = 90) -> str:
        """The first line that holds `words`; AssertionError with all it said when it ends before."""
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"{words!r} not said within {timeout} s; said:\n" + "\n".join(self.said)) from None
            if line is None:
                raise AssertionError(f"it ended before saying {words!r}; said:\n" + "\n".join(self.said))
            self.said.append(line)
            if words in line:
                return line

    def wait_ready(self) -> RunningPortal:
        """Wait until it says that it is ready."""
        self.wait_for("ready: http")
        return self

    def wait_end(self, timeout: float = 60) -> int:
        """The exit status, after all it said was read."""
        status = self.process.wait(timeout)
        while (line := self._lines.get(timeout=10)) is not None:
            self.said.append(line)
        return status

    def password(self) -> str:
        """The first admin's password, as told at the first start."""
        found = re.search(r"Sign in as admin with the password (\S+)", "\n".join(self.said))
        assert found, self.said
        return found.group(1)

    def family(self) -> list[psutil.Process]:
        """Every process of the run."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def find(self, *words: str) -> list[psutil.Process]:
        """Those of the run's processes whose command lines have all these words; many live for a moment only."""
        found = []
        for one in self.family():
            try:
                if set(words) <= set(one.cmdline()):
                    found.append(one)
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop and wait for the end."""
        self.process.send_signal(how)
        return self.wait_end()

    def kill_everything(self) -> None:
        """kill -9 of every process at the same time, as a power cut would."""
        family = self.family()
        kill(family)
        psutil.wait_procs(family, timeout=10)
        self.wait_end()
