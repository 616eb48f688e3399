"""The timer of a host: its grid, its buffer, and what it survives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from monitoring.collect.batch import Batch, stamp, unpack
from monitoring.collect.buffer import Buffer, limit_for
from monitoring.collect.loop import BrokerAway, HostLoop, next_slot, offset_ms

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


class Broker:
    """Takes messages, or is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.sent: list[list[int]] = []

    def __call__(self, messages):
        if self.is_away:
            raise BrokerAway("connection refused")
        self.sent.append([unpack(stamp(message, AT, None)).batch.at_ms for message in messages])

    @property
    def times(self) -> list[int]:
        return [at_ms for times in self.sent for at_ms in times]


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


def run(clock: Clock, reader: Reader, broker: Broker, **kwargs) -> HostLoop:
    loop = HostLoop(reader, broker, clock)
    loop.run(clock, **kwargs)
    return loop


def test_the_first_reading_is_at_once_and_the_next_ones_on_the_grid():
    reader, broker = Reader(), Broker()
    run(Clock(4), reader, broker)
    assert reader.times[0] == AT
    assert [at_ms % INTERVAL_MS for at_ms in reader.times[1:]] == [offset_ms("ana", INTERVAL_MS)] * 3
    assert np.diff(reader.times[1:]).tolist() == [INTERVAL_MS] * 2
    assert INTERVAL_MS / 2 <= reader.times[1] - AT <= 1.5 * INTERVAL_MS


def test_each_reading_is_sent():
    reader, broker = Reader(), Broker()
    run(Clock(3), reader, broker)
    assert broker.times == reader.times


def test_a_reading_a_little_late_carries_the_time_of_its_slot():
    reader = Reader()
    run(Clock(3, late_ms=80), reader, Broker())
    assert reader.times[2] % INTERVAL_MS == offset_ms("ana", INTERVAL_MS)


def test_a_machine_that_slept_counts_missed_slots_and_reads_as_of_now():
    reader, clock = Reader(), Clock(3, late_ms=10 * INTERVAL_MS + 1000)
    loop = run(clock, reader, Broker())
    assert loop.missed == 20
    assert reader.times[1] % INTERVAL_MS == (offset_ms("ana", INTERVAL_MS) + 1000) % INTERVAL_MS


def test_a_clock_set_back_by_an_hour_does_not_stop_the_readings_for_an_hour():
    clock = Clock(4, late_ms=-3_600_000)
    run(clock, Reader(), Broker())
    assert max(clock.waited) <= 1.5 * INTERVAL_MS / 1000


def test_a_slot_in_which_another_collector_has_the_host_is_left_out():
    reader, answers = Reader(), iter([False, True, False])
    run(Clock(3), reader, Broker(), may_collect=lambda: next(answers))
    assert len(reader.times) == 1


def test_an_outage_of_the_broker_is_bridged_in_order():
    reader, broker = Reader(), Broker()
    loop = HostLoop(reader, broker, lambda: AT)
    broker.is_away = True
    for step in range(3):
        loop.tick(AT + step * INTERVAL_MS)
    assert not broker.sent
    broker.is_away = False
    loop.tick(AT + 3 * INTERVAL_MS)
    assert broker.sent == [[AT + step * INTERVAL_MS for step in range(4)]]
    assert len(loop.buffer) == 0


def test_a_long_outage_drops_the_oldest_and_says_so():
    reader, broker = Reader(), Broker()
    loop = HostLoop(reader, broker, lambda: AT)
    broker.is_away = True
    limit = limit_for(15)
    for step in range(limit + 5):
        loop.tick(AT + step * INTERVAL_MS)
    broker.is_away = False
    loop.tick(AT + (limit + 5) * INTERVAL_MS)
    assert reader.own["host_dropped_batches_total"] == 5
    assert reader.own["host_failed_sends_total"] == limit + 5
    assert broker.times[0] == AT + 6 * INTERVAL_MS


@pytest.mark.parametrize("error", [RuntimeError("driver"), KeyError("x"), MemoryError()])
def test_a_reading_that_fails_is_counted_and_the_next_one_comes(error):
    reader, broker = Reader(), Broker()
    loop = HostLoop(reader, broker, lambda: AT)
    reader.error = error
    loop.tick(AT)
    reader.error = None
    loop.tick(AT + INTERVAL_MS)
    assert broker.times == [AT + INTERVAL_MS]
    assert reader.own["host_collect_failures_total"] == 1


def test_a_message_that_cannot_be_sent_does_not_end_the_loop():
    def publish(messages):
        raise TypeError("not JSON")

    loop = HostLoop(Reader(), publish, lambda: AT)
    loop.tick(AT)
    assert loop.failed_sends == 1


def test_the_driver_is_let_go_at_the_end():
    reader = Reader()
    run(Clock(1), reader, Broker())
    assert reader.is_closed


def test_a_stop_ends_the_wait():
    stop, ticked = threading.Event(), threading.Event()
    reader = Reader()
    loop = HostLoop(reader, lambda messages: ticked.set(), lambda: AT)
    thread = threading.Thread(target=loop.run, args=(stop,))
    thread.start()
    assert ticked.wait(10)
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


def test_a_buffer_keeps_the_newest_in_order():
    buffer = Buffer(3)
    for number in range(5):
        buffer.add({"n": number})
    assert [message["n"] for message in buffer.oldest(10)] == [2, 3, 4]
    assert buffer.dropped == 2


def test_a_buffer_forgets_what_was_sent():
    buffer = Buffer(5)
    for number in range(4):
        buffer.add({"n": number})
    sent = buffer.oldest(3)
    buffer.forget(len(sent))
    assert [message["n"] for message in buffer.oldest()] == [3]


def test_a_buffer_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Buffer(0)


@pytest.mark.parametrize(("interval", "limit"), [(15, 60), (1, 900), (3600, 1)])
def test_the_buffer_covers_a_quarter_of_an_hour(interval, limit):
    assert limit_for(interval) == limit
