"""The long-lived prober of a process: claims probes that are due, asks, writes what came back once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Event, Lock

import structlog
from django.db import Error as DatabaseError
from django.db import connection

from monitoring import probes
from monitoring.collect.probe import Verdict, ask
from monitoring.probes import Outcome, Task
from monitoring.scraper import TICK_LOCK
from monitoring.threads import DaemonThreads

log = structlog.get_logger(__name__)
TICK_SECONDS = 1.0
#: New probes are seen, and removed ones ended, this often.
SWEEP_SECONDS = 2.0
MAX_THREADS = 64
#: Kept while the database is away; the oldest go first.
MAX_PENDING = 10_000


@dataclass
class Tally:
    """What a prober has done since its start, for logs and tests."""

    asked: int = 0
    failed: int = 0
    lost: int = 0


class ProbeLoop:
    """Asks its share of all probes from `run` to the end of it."""

    def __init__(self, name: str, clock: Callable[[], datetime]) -> None:
        self.name, self.tally = name, Tally()
        self._clock = clock
        self._threads = DaemonThreads("probe", MAX_THREADS)
        self._done: SimpleQueue[Outcome] = SimpleQueue()
        self._pending: list[Outcome] = []
        self._running = 0
        self._lock = Lock()
        self._swept = float("-inf")

    def run(self, stop: Event) -> None:
        """Ask until `stop` is set; what still runs then is not told of, its next time is planned already."""
        log.info("prober_started", prober=self.name)
        try:
            while not stop.is_set():
                began = time.monotonic()
                self._tick()
                stop.wait(max(0.0, TICK_SECONDS - (time.monotonic() - began)))
        finally:
            self._tick(is_last=True)
            connection.close()
            log.info("prober_stopped", prober=self.name, asked=self.tally.asked)

    def _tick(self, *, is_last: bool = False) -> None:
        """Write what has come back and start what is due; a database that is away is asked again."""
        try:
            with TICK_LOCK:
                self.flush()
                tasks = [] if is_last else self._claim()
        except DatabaseError as error:
            log.warning("prober_database_error", prober=self.name, error=str(error), waiting=len(self._pending))
            connection.close()
            self.tally.lost += max(0, len(self._pending) - MAX_PENDING)
            self._pending = self._pending[-MAX_PENDING:]
            return
        for task in tasks:
            self._threads.run(lambda task=task: self._ask(task))  # type: ignore[misc]

    def _claim(self) -> list[Task]:
        now = self._clock()
        if time.monotonic() - self._swept >= SWEEP_SECONDS:
            probes.sweep(now)
            self._swept = time.monotonic()
        with self._lock:
            free = MAX_THREADS - self._running
        tasks = probes.claim(now, free) if free > 0 else []
        with self._lock:
            self._running += len(tasks)
        return tasks

    def flush(self) -> None:
        """Write all answers that are in; raises what the database raises and keeps them for the next time."""
        while True:
            try:
                self._pending.append(self._done.get_nowait())
            except Empty:
                break
        if self._pending:
            probes.record(self._pending, self._clock())
            self.tally.asked += len(self._pending)
            self.tally.failed += sum(not outcome.verdict.is_ok for outcome in self._pending)
            self._pending = []

    def _ask(self, task: Task) -> None:
        try:
            verdict = ask(task.question)
        except Exception:
            log.exception("probe_broke", url=task.question.url)
            verdict = Verdict(False, 0, 0.0, "the portal could not read the answer; its log says why")
        self._done.put(Outcome(task, verdict))
        with self._lock:
            self._running -= 1
