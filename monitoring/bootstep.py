"""The host collector of a Celery worker: two threads beside the pool; collecting costs no message and no task."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import structlog
from celery import bootsteps
from django.conf import settings

from monitoring.collect.buffer import Buffer, limit_for
from monitoring.collect.host import HostReader
from monitoring.collect.loop import HostLoop
from monitoring.collect.sender import Sender
from monitoring.collect.single import SinglePlace
from monitoring.tasks import Publisher

log = structlog.get_logger(__name__)
# A reading that hangs in a driver must not hold up the end of the worker; the thread is a daemon and dies with it.
STOP_SECONDS = 2


def clock_ms() -> int:
    """Return the time of this machine's clock in epoch milliseconds."""
    return round(time.time() * 1000)


class HostCollector(bootsteps.StartStopStep):
    """Collects from the machine of this worker as long as the worker runs; `ALPHAQ_COLLECT=0` leaves it out."""

    # After the pool: its processes are forked before the thread exists and holds any lock.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = os.environ.get("ALPHAQ_COLLECT", "1").strip().lower() not in ("0", "false", "no", "off")
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
