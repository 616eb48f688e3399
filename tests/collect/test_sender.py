"""The bridge over an outage of the broker: what is kept, in which order, and for how long."""

from __future__ import annotations

import threading

import pytest

from monitoring.collect.buffer import CHUNK, Buffer, limit_for
from monitoring.collect.sender import BrokerAway, Sender


class Broker:
    """Takes messages, raises `error` instead, or hangs until `answer` is set."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.answer = threading.Event()
        self.answer.set()
        self.asked, self.took = threading.Event(), threading.Event()
        self.sent: list[list[int]] = []
        self.is_closed = False

    def publish_batch(self, messages):
        self.asked.set()
        self.answer.wait(30)
        if self.error:
            raise self.error
        self.sent.append([message["n"] for message in messages])
        self.took.set()

    def close(self):
        self.is_closed = True


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def sender(broker):
    return Sender(Buffer(5), broker, retry_seconds=0.01)


def add(sender: Sender, *numbers: int) -> None:
    for number in numbers:
        sender.buffer.add({"n": number})


def test_what_waits_is_sent_in_order_and_in_one_piece(sender, broker):
    add(sender, 1, 2, 3)
    assert sender.send_waiting()
    assert broker.sent == [[1, 2, 3]]
    assert len(sender.buffer) == 0


def test_an_outage_is_bridged_in_order(sender, broker):
    broker.error = BrokerAway("connection refused")
    for number in (1, 2, 3):
        add(sender, number)
        assert not sender.send_waiting()
    broker.error = None
    add(sender, 4)
    sender.send_waiting()
    assert broker.sent == [[1, 2, 3, 4]]
    assert sender.failures == 3


def test_a_long_outage_drops_the_oldest_and_counts_them(sender, broker):
    broker.error = BrokerAway("connection refused")
    for number in range(8):
        add(sender, number)
        sender.send_waiting()
    broker.error = None
    sender.send_waiting()
    assert broker.sent == [[3, 4, 5, 6, 7]]
    assert sender.buffer.dropped == 3


def test_an_outage_is_logged_once_and_its_end_too(sender, broker, caplog):
    caplog.set_level("INFO")
    broker.error = BrokerAway("connection refused")
    for number in range(3):
        add(sender, number)
        sender.send_waiting()
    broker.error = None
    sender.send_waiting()
    assert caplog.text.count("broker_away") == 1
    assert caplog.text.count("broker_back") == 1


def test_messages_that_cannot_be_sent_neither_raise_nor_stay_for_ever(sender, broker):
    broker.error = TypeError("not JSON")
    add(sender, 1)
    assert not sender.send_waiting()
    broker.error = None
    add(sender, 2, 3, 4, 5, 6)
    sender.send_waiting()
    assert broker.sent == [[2, 3, 4, 5, 6]]


def test_a_large_buffer_goes_in_pieces(broker):
    sender = Sender(Buffer(1000), broker)
    add(sender, *range(CHUNK + 1))
    sender.send_waiting()
    assert [len(numbers) for numbers in broker.sent] == [CHUNK, 1]


@pytest.fixture
def running(sender, broker):
    thread = threading.Thread(target=sender.run)
    thread.start()
    yield thread
    broker.answer.set()
    sender.end()
    thread.join(10)


def test_a_hanging_broker_does_not_hold_up_who_adds(sender, broker, running):
    broker.answer.clear()
    add(sender, 1)
    sender.notice()
    assert broker.asked.wait(10)
    add(sender, 2, 3)
    broker.answer.set()
    sender.notice()
    assert broker.took.wait(10)
    sender.end()
    running.join(10)
    assert [number for numbers in broker.sent for number in numbers] == [1, 2, 3]


def test_what_overflows_while_a_call_hangs_is_dropped_from_the_old_end(sender, broker, running):
    broker.answer.clear()
    add(sender, 1, 2)
    sender.notice()
    assert broker.asked.wait(10)
    add(sender, 3, 4, 5, 6)
    broker.error = BrokerAway("timed out")
    broker.answer.set()
    sender.end()
    running.join(10)
    assert [message["n"] for message in sender.buffer.take()] == [2, 3, 4, 5, 6]


def test_the_last_batch_is_sent_at_the_end_and_the_connection_closed(sender, broker, running):
    add(sender, 1)
    sender.end()
    running.join(10)
    assert broker.sent == [[1]]
    assert broker.is_closed


def test_the_sender_tries_again_by_itself(sender, broker, running):
    broker.error = BrokerAway("connection refused")
    add(sender, 1)
    sender.notice()
    assert broker.asked.wait(10)
    broker.error = None
    assert broker.took.wait(10)


def test_a_buffer_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Buffer(0)


@pytest.mark.parametrize(("interval", "limit"), [(15, 60), (1, 900), (3600, 1)])
def test_the_buffer_covers_a_quarter_of_an_hour(interval, limit):
    assert limit_for(interval) == limit
