"""Threads for requests that may hang: made when needed, never waited for at the end of the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Semaphore, Thread


@dataclass(slots=True)
class DaemonThreads:
    """Daemon threads that run jobs: one more whenever none is idle, up to a limit. A job must not raise."""

    name: str
    limit: int
    count: int = 0
    _jobs: SimpleQueue[Callable[[], None]] = field(default_factory=SimpleQueue)
    _idle: Semaphore = field(default_factory=lambda: Semaphore(0))

    def run(self, job: Callable[[], None]) -> None:
        """Run a job at once, or as soon as a thread is free when there are as many as may be."""
        self._jobs.put(job)
        if not self._idle.acquire(blocking=False) and self.count < self.limit:
            self.count += 1
            Thread(target=self._work, name=f"{self.name}-{self.count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job
            self._idle.release()
