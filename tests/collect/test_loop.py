"""The timer of a host: its grid, and what it survives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from monitoring.collect.batch import Batch, stamp, unpack
from monitoring.collect.buffer import Buffer
from monitoring.collect.loop import HostLoop, next_slot, offset_ms

AT = 1_790_000_000_000
INTERVAL_MS = 15_000


class Reader:
    """Gives batches without a machine; `error` is raised instead."""

    host, interval_seconds = "ana", 15.0
    error: Exception | None = None

    def __init__(self) -> None:
        self.times: list[int] = []
        self.own: dict[str, float] = {}
        self.is_closed = False

    def read(self, at_ms, own=()):
        self.times.append(at_ms)
        if self.error:
            raise self.error
        self.own = {sample.name: sample.value for sample in own}
        return Batch("ana", at_ms, 15.0, "0.1.0", ["host_up"], np.ones(1))

    def close(self):
        self.is_closed = True


class Reported:
    """A sender that only keeps what it is given."""

    def __init__(self) -> None:
        self.buffer, self.failures, self.noticed = Buffer(1000), 0, threading.Event()

    def notice(self):
        self.noticed.set()

    @property
    def times(self) -> list[int]:
        return [unpack(stamp(message, AT, None)).batch.at_ms for message in self.buffer.take()]


class Clock:
    """A stop event whose waiting moves the clock: each wait ends `late_ms` late, the last one says stop."""

    def __init__(self, waits: int, late_ms: int = 0) -> None:
        self.now_ms, self.left, self.late_ms = AT, waits, late_ms
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.now_ms += round(seconds * 1000) + self.late_ms
        self.left -= 1
        return self.left <= 0

    def __call__(self) -> int:
        return self.now_ms


def run(clock: Clock, reader: Reader, sender: Reported | None = None, **kwargs) -> HostLoop:
    loop = HostLoop(reader, sender or Reported(), clock)
    loop.run(clock, **kwargs)
    return loop


def test_the_first_reading_is_at_once_and_the_next_ones_on_the_grid():
    reader = Reader()
    run(Clock(4), reader)
    assert reader.times[0] == AT
    assert [at_ms % INTERVAL_MS for at_ms in reader.times[1:]] == [offset_ms("ana", INTERVAL_MS)] * 3
    assert np.diff(reader.times[1:]).tolist() == [INTERVAL_MS] * 2
    assert INTERVAL_MS / 2 <= reader.times[1] - AT <= 1.5 * INTERVAL_MS


def test_each_reading_is_handed_to_the_sender():
    reader, sender = Reader(), Reported()
    run(Clock(3), reader, sender)
    assert sender.times == reader.times
    assert sender.noticed.is_set()


def test_a_reading_a_little_late_carries_the_time_of_its_slot():
    reader = Reader()
    run(Clock(3, late_ms=80), reader)
    assert reader.times[2] % INTERVAL_MS == offset_ms("ana", INTERVAL_MS)


def test_a_machine_that_slept_counts_missed_slots_and_reads_as_of_now():
    reader, clock = Reader(), Clock(3, late_ms=10 * INTERVAL_MS + 1000)
    loop = run(clock, reader)
    assert loop.missed == 20
    assert reader.times[1] % INTERVAL_MS == (offset_ms("ana", INTERVAL_MS) + 1000) % INTERVAL_MS


def test_a_clock_set_back_by_an_hour_does_not_stop_the_readings_for_an_hour():
    clock = Clock(4, late_ms=-3_600_000)
    run(clock, Reader())
    assert max(clock.waited) <= 1.5 * INTERVAL_MS / 1000


def test_a_slot_in_which_another_collector_has_the_host_is_left_out():
    reader, answers = Reader(), iter([False, True, False])
    run(Clock(3), reader, may_collect=lambda: next(answers))
    assert len(reader.times) == 1


@pytest.mark.parametrize("error", [RuntimeError("driver"), KeyError("x"), MemoryError()])
def test_a_reading_that_fails_is_counted_and_the_next_one_comes(error):
    reader, sender = Reader(), Reported()
    loop = HostLoop(reader, sender, lambda: AT)
    reader.error = error
    loop.tick(AT)
    reader.error = None
    loop.tick(AT + INTERVAL_MS)
    assert sender.times == [AT + INTERVAL_MS]
    assert reader.own["host_collect_failures_total"] == 1


def test_a_reading_tells_how_the_sending_goes():
    reader, sender = Reader(), Reported()
    sender.failures, sender.buffer.dropped = 7, 3
    loop = HostLoop(reader, sender, lambda: AT)
    loop.tick(AT)
    loop.tick(AT + INTERVAL_MS)
    told = {name: reader.own[name] for name in reader.own if "send" in name or "batches" in name}
    assert told == {"host_failed_sends_total": 7, "host_dropped_batches_total": 3, "host_buffered_batches": 1}


def test_the_driver_is_let_go_at_the_end():
    reader = Reader()
    run(Clock(1), reader)
    assert reader.is_closed


def test_a_stop_ends_the_wait():
    stop, sender = threading.Event(), Reported()
    thread = threading.Thread(target=HostLoop(Reader(), sender, lambda: AT).run, args=(stop,))
    thread.start()
    assert sender.noticed.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(("after", "slot"), [(0, 3), (2, 3), (3, 13), (4, 13), (12, 13), (13, 23)])
def test_a_slot_is_the_next_time_of_the_grid(after, slot):
    assert next_slot(after, 10, 3) == slot


def test_hosts_are_spread_over_the_interval():
    offsets = [offset_ms(f"host-{number}", 15_000) for number in range(1000)]
    thirds = [sum(third * 5000 <= offset < (third + 1) * 5000 for offset in offsets) for third in range(3)]
    assert all(250 < count < 420 for count in thirds)
