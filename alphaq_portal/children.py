"""Child processes that never outlive us: start, watch, stop, and reap what a killed parent left behind."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
_PR_SET_PDEATHSIG = 1
LOG_LINES_KEPT = 40
SERVICES, SERVICE_PATIENCE_SECONDS = ("postgres", "valkey"), 20


def _die_with_parent(death_signal: int) -> Callable[[], None]:
    """A preexec function: the kernel sends `death_signal` to the child when the thread that forked it ends."""
    parent = os.getpid()

    def set_signal() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            if os.getppid() != parent:  # the parent died between fork and prctl
                os._exit(1)

    return set_signal


class Child:
    """One supervised process in a session of its own; its last lines are kept for the error that names it."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10,
        env: Mapping[str, str] | None = None,
        owner: tuple[int, int] | None = None,
        cwd: Path | None = None,
        say: Callable[[str, str], None] | None = None,
        keep: Sequence[int] = (),
    ) -> None:
        """Start it; `keep` are open files that it inherits under the same numbers."""
        self.name, self.stop_signal, self.grace_seconds = name, stop_signal, grace_seconds
        self.last_lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._say = say
        self.process = subprocess.Popen(
            list(argv),
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
            preexec_fn=_die_with_parent(stop_signal),
            user=owner[0] if owner else None,
            group=owner[1] if owner else None,
            extra_groups=[] if owner else None,
        )
        self._pump_thread = threading.Thread(target=self._pump, name=f"log-{name}", daemon=True)
        self._pump_thread.start()

    def _pump(self) -> None:
        assert self.process.stdout is not None  # noqa: S101  (Popen was given a pipe)
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            self.last_lines.append(line)
            if self._say:
                self._say(self.name, line)

    @property
    def exit_code(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.process.poll()

    def ask_to_stop(self) -> None:
        """Send the stop signal; return at once."""
        if self.exit_code is None:
            self.process.send_signal(self.stop_signal)

    def wait_stopped(self) -> None:
        """Wait out the grace time, then kill the whole session."""
        try:
            self.process.wait(self.grace_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._pump_thread.join(1)

    def tail(self, lines: int = 12) -> str:
        """The last log lines, for an error message."""
        self._pump_thread.join(0.5 if self.exit_code is not None else 0)
        return "\n".join(f"    {line}" for line in list(self.last_lines)[-lines:]) or "    (it wrote nothing)"


def stop_all(children: Sequence[Child]) -> None:
    """Stop all at the same time and wait for each."""
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait_stopped()


def remember(book: Path, children: Sequence[Child]) -> None:
    """Write down pid and start time of each child, so that the next start can find what a hard kill left."""
    rows = []
    for child in children:
        try:
            rows.append((child.name, child.process.pid, psutil.Process(child.process.pid).create_time()))
        except psutil.NoSuchProcess:
            continue
    temporary = book.with_suffix(".tmp")
    with contextlib.suppress(OSError):  # on a full disk the supervisor goes on; an old book is better than none
        temporary.write_text(json.dumps(rows))
        temporary.rename(book)


def reap_leftovers(book: Path, say: Callable[[str], None], patience_seconds: float = 2) -> None:
    """Stop children of an earlier run, matched by pid and start time so that a reused pid is never hit.

    Postgres and Valkey may take their time, they write what they hold. The others have lost both with the run that was
    killed: what they still do is done again by those who come, so they are killed when patience ends.
    """
    try:
        rows = json.loads(book.read_text())
    except (OSError, ValueError):
        return
    services: list[psutil.Process] = []
    others: list[psutil.Process] = []
    for name, pid, born in rows:
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - born) >= 1:
                continue
            family = [process, *process.children(recursive=True)]
            # SIGINT is Postgres' fast shutdown; TERM would wait for clients that are gone for good.
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        except psutil.NoSuchProcess:
            continue
        say(f"stopping {name} ({pid}), left over from a run that was killed")
        (services if name in SERVICES else others).extend(family)
    _end(others, patience_seconds)
    _end(services, SERVICE_PATIENCE_SECONDS)
    book.unlink(missing_ok=True)


def _end(processes: Sequence[psutil.Process], patience_seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=patience_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
