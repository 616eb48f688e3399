"""The timer of a host: reads on a grid and hands what it read to the sender.

Knows no broker and no wall clock: both are handed in by the edge that runs it (a worker's bootstep, `manage.py agent`).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator

import structlog

from monitoring.collect.batch import pack
from monitoring.collect.host import HostReader
from monitoring.collect.samples import Sample, plain
from monitoring.collect.sender import Sender

log = structlog.get_logger(__name__)
ClockMs = Callable[[], int]
# A reading this close to its slot carries the slot's time: even steps are what the store packs best.
SNAP_MS = 100


class HostLoop:
    """Collects for one host until it is told to stop; nothing that goes wrong in a reading ends it."""

    def __init__(self, reader: HostReader, sender: Sender, clock_ms: ClockMs) -> None:
        self._reader, self._sender, self._clock_ms = reader, sender, clock_ms
        self._interval_ms = max(1, round(reader.interval_seconds * 1000))
        self._offset_ms = offset_ms(reader.host, self._interval_ms)
        self.missed = self.failed_readings = 0

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
        """Read once as of `at_ms` and hand the batch to the sender."""
        try:
            self._sender.buffer.add(pack(self._reader.read(at_ms, self._own())))
        except Exception:
            # Whatever a driver or a kernel comes up with: the next reading is a new chance, and a host without
            # a collector would only be seen as a host that is down.
            self.failed_readings += 1
            log.exception("host_reading_failed", host=self._reader.host)
        self._sender.notice()

    def _own(self) -> Iterator[Sample]:
        yield plain("host_collect_missed_total", self.missed)
        yield plain("host_collect_failures_total", self.failed_readings)
        yield plain("host_collect_interval_seconds", self._interval_ms / 1000)
        yield plain("host_buffered_batches", len(self._sender.buffer))
        yield plain("host_dropped_batches_total", self._sender.buffer.dropped)
        yield plain("host_failed_sends_total", self._sender.failures)


def offset_ms(host: str, interval_ms: int) -> int:
    """Return the place of a host in the interval: always the same, spread over hosts (Prometheus, scrape offset)."""
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=8).digest(), "big") % interval_ms


def next_slot(after_ms: int, interval_ms: int, offset_ms: int) -> int:
    """Return the first time of the grid after `after_ms`."""
    return after_ms + 1 + (offset_ms - after_ms - 1) % interval_ms
