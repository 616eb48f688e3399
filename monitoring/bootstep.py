"""What a Celery worker does beside its tasks: collect from its machine, scrape its share of the targets.

Threads next to the pool; neither costs a message or a task.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import bootsteps
from django.conf import settings

from monitoring.collect.buffer import Buffer, limit_for
from monitoring.collect.host import HostReader
from monitoring.collect.loop import HostLoop
from monitoring.collect.sender import Sender
from monitoring.collect.single import SinglePlace
from monitoring.prober import ProbeLoop
from monitoring.scraper import TICK_LOCK, ScrapeLoop
from monitoring.tasks import INGEST_QUEUE, Publisher

log = structlog.get_logger(__name__)
# A reading that hangs in a driver must not hold up the end of the worker; the thread is a daemon and dies with it.
STOP_SECONDS = 2
#: Longer than a write takes and short enough for the worker to wait before it makes a process.
FORK_PATIENCE_SECONDS = 2
AGAIN_SECONDS = 5


def clock_ms() -> int:
    """Return the time of this machine's clock in epoch milliseconds."""
    return round(time.time() * 1000)


def clock() -> datetime:
    """Return the time of this machine's clock as an aware UTC datetime."""
    return datetime.now(UTC)


class HostCollector(bootsteps.StartStopStep):
    """Collects from the machine of this worker as long as the worker runs; `ALPHAQ_COLLECT=0` leaves it out."""

    # After the pool: its processes are forked before the thread exists and holds any lock.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = settings.ENV.collects
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        """Start the thread; its first reading happens at once."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(worker.app,), name="host-collector", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Tell the thread to end and wait for it a moment."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * STOP_SECONDS)
            self._thread = None

    # A worker that is told to stop at once calls terminate instead of stop.
    terminate = stop

    def _run(self, app: Any) -> None:
        collect_until(self._stop, app)


def collect_until(stop: threading.Event, app: Any) -> None:
    """Collect from this machine and send through `app` until `stop` is set."""
    env = settings.ENV
    place = SinglePlace(env.host_name, app.conf.broker_url or "")
    sender = Sender(Buffer(limit_for(env.collect_interval_seconds)), Publisher(app))
    loop = HostLoop(HostReader(env.host_name, env.collect_interval_seconds, settings.VERSION), sender, clock_ms)
    sending = threading.Thread(target=sender.run, name="host-sender", daemon=True)
    sending.start()
    log.info("host_collector_started", host=env.host_name, interval_seconds=env.collect_interval_seconds)
    try:
        loop.run(stop, place.take)
    finally:
        sender.end()
        sending.join(STOP_SECONDS)
        place.leave()


class TargetScraper(bootsteps.StartStopStep):
    """Scrapes and probes its share as long as the worker runs; `ALPHAQ_SCRAPE=0` leaves it out.

    Only in workers that take in samples: those of mere hosts have no database.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = settings.ENV.scrapes
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, worker: Any) -> None:
        """Start the threads if this worker takes from the ingest queue."""
        if INGEST_QUEUE not in worker.app.amqp.queues.consume_from:
            return
        pause = _ForkPause()
        os.register_at_fork(before=pause.begin, after_in_parent=pause.end, after_in_child=pause.end)
        self._stop.clear()
        name = f"{worker.hostname}:{os.getpid()}"
        self._threads = [
            threading.Thread(target=run, args=(self._stop, name), name=run.__name__, daemon=True)
            for run in (scrape_until, probe_until)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        """Tell the threads to give back what is theirs and wait for them a moment."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * STOP_SECONDS)
        self._threads = []

    terminate = stop


def scrape_until(stop: threading.Event, name: str) -> None:
    """Scrape until `stop` is set; a loop that breaks is told of and begun anew."""
    while not stop.is_set():
        try:
            ScrapeLoop(name, clock_ms).run(stop)
        except Exception:
            log.exception("scraper_broke", scraper=name, again_in_seconds=AGAIN_SECONDS)
            stop.wait(AGAIN_SECONDS)


def probe_until(stop: threading.Event, name: str) -> None:
    """Probe until `stop` is set; a loop that breaks is told of and begun anew."""
    while not stop.is_set():
        try:
            ProbeLoop(name, clock).run(stop)
        except Exception:
            log.exception("prober_broke", prober=name, again_in_seconds=AGAIN_SECONDS)
            stop.wait(AGAIN_SECONDS)


class _ForkPause:
    """Lets the worker make processes only while the scraper writes nothing: a child would inherit its held locks."""

    def __init__(self) -> None:
        self._is_paused = False

    def begin(self) -> None:
        self._is_paused = TICK_LOCK.acquire(timeout=FORK_PATIENCE_SECONDS)

    def end(self) -> None:
        if self._is_paused:
            self._is_paused = False
            TICK_LOCK.release()
