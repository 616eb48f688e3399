"""Sending in a thread of its own: a broker behind a broken network lets a call hang for seconds, and the readings
of a host must go on meanwhile.
"""

from __future__ import annotations

import threading
from typing import Protocol

import structlog

from monitoring.collect.batch import Message
from monitoring.collect.buffer import Buffer

log = structlog.get_logger(__name__)
# Between two tries while the broker is away; hosts do not all find it again in the same second.
RETRY_SECONDS = 2.0


class BrokerAway(Exception):
    """The broker did not take the messages; they are to be sent again later."""


class Publisher(Protocol):
    """The way to the portal."""

    def publish_batch(self, messages: list[Message]) -> None:
        """Send the messages; raises BrokerAway."""

    def close(self) -> None:
        """Let go of the connection."""


class Sender:
    """Sends what waits in a buffer, oldest first; what cannot be sent goes back and is tried again."""

    def __init__(self, buffer: Buffer, publisher: Publisher, retry_seconds: float = RETRY_SECONDS) -> None:
        self.buffer = buffer
        self.failures = 0
        self._publisher = publisher
        self._retry_seconds = retry_seconds
        self._is_away = False
        self._news, self._stop = threading.Event(), threading.Event()

    def notice(self) -> None:
        """Say that there is something new in the buffer."""
        self._news.set()

    def end(self) -> None:
        """Let `run` return, after one try to send what still waits if the broker was there until now."""
        self._stop.set()
        self._news.set()

    def run(self) -> None:
        """Send until told to end."""
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            if not self.send_waiting() and not self._stop.wait(self._retry_seconds):
                self._news.set()
        if not self._is_away:
            self.send_waiting()
        self._publisher.close()

    def send_waiting(self) -> bool:
        """Return whether the buffer could be emptied; never raises."""
        while messages := self.buffer.take():
            try:
                self._publisher.publish_batch(messages)
            except BrokerAway as error:
                self._keep(messages)
                if not self._is_away:
                    log.warning("broker_away", error=str(error), kept=len(self.buffer))
                self._is_away = True
                return False
            except Exception:
                # Not the broker being away but messages that cannot be sent: they leave with their age.
                self._keep(messages)
                log.exception("batches_not_sent")
                return False
            if self._is_away:
                log.info("broker_back", dropped=self.buffer.dropped)
            self._is_away = False
        return True

    def _keep(self, messages: list[Message]) -> None:
        self.failures += 1
        self.buffer.put_back(messages)
