"""The timer of a host: reads on a grid, sends, keeps what could not be sent.

Knows no broker and no wall clock: both are handed in by the edge that runs it (a worker's bootstep, `manage.py agent`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import structlog

from monitoring.collect.batch import Message, pack
from monitoring.collect.buffer import Buffer, limit_for
from monitoring.collect.host import HostReader
from monitoring.collect.samples import Sample, plain

log = structlog.get_logger(__name__)
Publish = Callable[[list[Message]], None]
ClockMs = Callable[[], int]
# A reading this close to its slot carries the slot's time: even steps are what the store packs best.
SNAP_MS = 100


class BrokerAway(Exception):
    """The broker did not take the messages; they are to be sent again later."""


class HostLoop:
    """Collects and sends for one host until it is told to stop; nothing that goes wrong in a reading ends it."""

    def __init__(self, reader: HostReader, publish: Publish, clock_ms: ClockMs) -> None:
        self._reader, self._publish, self._clock_ms = reader, publish, clock_ms
        self._interval_ms = max(1, round(reader.interval_seconds * 1000))
        self._offset_ms = offset_ms(reader.host, self._interval_ms)
        self.buffer = Buffer(limit_for(reader.interval_seconds))
        self.missed = self.failed_sends = self.failed_readings = 0
        self._is_broker_away = False

    def run(self, stop: threading.Event, may_collect: Callable[[], bool] = lambda: True) -> None:
        """Read at once, then on the grid, until `stop` is set; a slot in which `may_collect` says no is left out."""
        planned_ms = now_ms = self._clock_ms()
        next_ms = next_slot(now_ms + self._interval_ms // 2, self._interval_ms, self._offset_ms)
        while True:
            if may_collect():
                self.tick(planned_ms if abs(now_ms - planned_ms) <= SNAP_MS else now_ms)
            now_ms = self._clock_ms()
            if next_ms <= now_ms or next_ms - now_ms > 2 * self._interval_ms:
                # The reading took too long, the machine slept, or somebody set the clock.
                next_ms = next_slot(now_ms, self._interval_ms, self._offset_ms)
            self.missed += max(0, round((next_ms - planned_ms) / self._interval_ms) - 1)
            planned_ms, next_ms = next_ms, next_ms + self._interval_ms
            if stop.wait((planned_ms - now_ms) / 1000):
                break
            now_ms = self._clock_ms()
        self._reader.close()

    def tick(self, at_ms: int) -> None:
        """Read once as of `at_ms` and send everything that waits, oldest first."""
        try:
            self.buffer.add(pack(self._reader.read(at_ms, self._own())))
        except Exception:
            # Whatever a driver or a kernel comes up with: the next reading is a new chance, and a host without
            # a collector would only be seen as a host that is down.
            self.failed_readings += 1
            log.exception("host_reading_failed", host=self._reader.host)
        try:
            self._send()
        except Exception:
            # Not the broker being away but a message that cannot be sent: it leaves with its age.
            self.failed_sends += 1
            log.exception("host_sending_failed", host=self._reader.host)

    def _send(self) -> None:
        while messages := self.buffer.oldest():
            try:
                self._publish(messages)
            except BrokerAway as error:
                self.failed_sends += 1
                self._tell_broker(is_away=True, error=str(error))
                return
            self.buffer.forget(len(messages))
            self._tell_broker(is_away=False)

    def _tell_broker(self, is_away: bool, error: str = "") -> None:
        if is_away and not self._is_broker_away:
            log.warning("broker_away", host=self._reader.host, error=error, kept=len(self.buffer))
        elif self._is_broker_away and not is_away:
            log.info("broker_back", host=self._reader.host, dropped=self.buffer.dropped)
        self._is_broker_away = is_away

    def _own(self) -> Iterator[Sample]:
        yield plain("host_collect_missed_total", self.missed)
        yield plain("host_collect_failures_total", self.failed_readings)
        yield plain("host_collect_interval_seconds", self._interval_ms / 1000)
        yield plain("host_buffered_batches", len(self.buffer))
        yield plain("host_dropped_batches_total", self.buffer.dropped)
        yield plain("host_failed_sends_total", self.failed_sends)


def offset_ms(host: str, interval_ms: int) -> int:
    """Return the place of a host in the interval: always the same, spread over hosts (Prometheus, scrape offset)."""
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=8).digest(), "big") % interval_ms


def next_slot(after_ms: int, interval_ms: int, offset_ms: int) -> int:
    """Return the first time of the grid after `after_ms`."""
    return after_ms + 1 + (offset_ms - after_ms - 1) % interval_ms
