"""What a central worker does beside its tasks: listen to Slack by Socket Mode."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import bootsteps

from alerts import interactions
from alerts.models import SlackApp
from alerts.slack_socket import Listener
from monitoring import heartbeats

log = structlog.get_logger(__name__)
QUEUE = "deliver"
STOP_SECONDS = 4
AGAIN_SECONDS = 5


class SlackListener(bootsteps.StartStopStep):
    """Listens as long as the worker runs; `ALPHAQ_SLACK_SOCKET=0` leaves it out.

    Only in workers that deliver: those of mere hosts have no database.
    """

    # After the pool: its processes are forked before the thread exists and holds any lock.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = os.environ.get("ALPHAQ_SLACK_SOCKET", "1").strip().lower() not in ("0", "false", "no", "off")
        self._stop = threading.Event()
        self._listener = Listener(_take, _tell)
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        """Start the thread if this worker delivers."""
        if QUEUE not in worker.app.amqp.queues.consume_from:
            return
        self._stop.clear()
        self._thread = threading.Thread(
            target=listen_until, args=(self._stop, self._listener), name="slack-listener", daemon=True
        )
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Tell the thread to hang up and wait for it a moment."""
        self._stop.set()
        self._listener.wake()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None

    terminate = stop


def listen_until(stop: threading.Event, listener: Listener) -> None:
    """Listen until `stop` is set; a listener that breaks is told of and begun anew."""
    while not stop.is_set():
        try:
            listener.run(stop)
        except Exception:
            log.exception("slack_listener_broke", again_in_seconds=AGAIN_SECONDS)
            stop.wait(AGAIN_SECONDS)


def _take(payload: Mapping[str, Any], app: SlackApp) -> Mapping[str, Any] | None:
    return interactions.take(payload, datetime.now(UTC), app)


def _tell(name: str) -> None:
    heartbeats.beat("slack-socket", name, time.time())
