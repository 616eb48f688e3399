"""The wire format: exact both ways, and strict at the door."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.collect.batch import MAX_FACTS_BYTES, MAX_KEYS_BYTES, MAX_SERIES, Batch, BatchError, pack, stamp, unpack

AT = 1_790_000_000_000
STALE_BITS = 0x7FF0000000000002


def batch(**changes) -> Batch:
    keys = changes.pop("keys", ["host_up", 'cpu_seconds_total{cpu="0",mode="user"}'])
    values = np.asarray(changes.pop("values", [1.0, 2.5]), dtype=np.float64)
    return Batch(**{"host": "ana", "at_ms": AT, "interval_seconds": 15.0, "agent_version": "0.1.0", **changes},
                 keys=keys, values=values)  # fmt: skip


def message(**changes) -> dict:
    return stamp(pack(batch(facts={"cores": 2})), AT + 5, AT + 7) | changes


def travelled(original: Batch) -> Batch:
    return unpack(json.loads(json.dumps(stamp(pack(original), AT, None)))).batch


def test_a_batch_arrives_as_it_left():
    arrived = travelled(batch(facts={"cores": 2, "gpus": [{"name": "H200"}]}))
    assert (arrived.host, arrived.at_ms, arrived.interval_seconds, arrived.agent_version) == ("ana", AT, 15.0, "0.1.0")
    assert arrived.keys == ["host_up", 'cpu_seconds_total{cpu="0",mode="user"}']
    assert arrived.facts == {"cores": 2, "gpus": [{"name": "H200"}]}


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_values_arrive_bit_for_bit(bits):
    values = np.array(bits, dtype=np.uint64).view(np.float64)
    arrived = travelled(batch(keys=[f"m{i}" for i in range(len(bits))], values=values))
    assert arrived.values.view(np.uint64).tolist() == bits


def test_the_stale_marker_survives():
    stale = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
    values = np.array([1.0, stale])
    values.view(np.uint64)[1] = STALE_BITS
    assert travelled(batch(values=values)).values.view(np.uint64)[1] == STALE_BITS


@settings(deadline=None)
@given(st.lists(st.text(min_size=1).filter(lambda text: "\n" not in text), max_size=20))
def test_series_texts_arrive_as_they_left(keys):
    assert travelled(batch(keys=keys, values=[0.0] * len(keys))).keys == keys


def test_a_batch_without_facts_has_none():
    assert travelled(batch()).facts is None


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


LONG = zlib.compress(b"m\n" * (MAX_KEYS_BYTES // 2 + 10))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 2}, "version"),
        ({"v": None}, "version"),
        ({"host": ""}, "host"),
        ({"host": "a\nb"}, "host"),
        ({"host": "x" * 254}, "host"),
        ({"host": 7}, "shape"),
        ({"agent": "\x00"}, "host"),
        ({"at_ms": 1_790_000_000}, "time"),
        ({"at_ms": True}, "time"),
        ({"at_ms": 1.79e12}, "time"),
        ({"sent_ms": None}, "time"),
        ({"broker_ms": "now"}, "time"),
        ({"interval_seconds": 0}, "time"),
        ({"interval_seconds": float("nan")}, "time"),
        ({"count": MAX_SERIES + 1}, "size"),
        ({"count": -1}, "size"),
        ({"count": 3}, "keys"),
        ({"keys": "%%%"}, "keys"),
        ({"keys": "ä"}, "keys"),
        ({"keys": packed(b"not zlib")}, "keys"),
        ({"keys": packed(zlib.compress(b"a\nb")[:-6])}, "keys"),
        ({"keys": packed(zlib.compress(b"\xff\xfe\nb"))}, "keys"),
        ({"keys": packed(zlib.compress(b"a\n"))}, "keys"),
        ({"keys": packed(LONG)}, "size"),
        ({"keys": None}, "shape"),
        ({"values": packed(b"\0" * 15)}, "values"),
        ({"values": "?"}, "values"),
        ({"facts": [1]}, "facts"),
        ({"facts": {"a": float("inf")}}, "facts"),
        ({"facts": {"a": "\0"}}, "facts"),
        ({"facts": {"a": "x" * MAX_FACTS_BYTES}}, "facts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_batch_is_refused_with_a_reason(changes, reason):
    with pytest.raises(BatchError) as caught:
        unpack(message(**changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize("thing", [None, [], "batch", 7])
def test_a_thing_that_is_no_mapping_is_refused(thing):
    with pytest.raises(BatchError):
        unpack(thing)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(message())), st.none() | st.integers() | st.text() | st.floats()))
def test_no_message_raises_anything_but_a_refusal(changes):
    try:
        unpack(message(**changes))
    except BatchError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("sent", "broker", "now", "skew"),
    [
        (AT + 9000, AT, AT + 500_000, 9000),
        (AT - 9000, AT, AT, -9000),
        (AT + 9000, None, AT, 9000),
        (AT - 9000, None, AT, None),
    ],
)
def test_a_clock_is_compared_with_the_brokers_or_only_found_ahead(sent, broker, now, skew):
    assert unpack(stamp(pack(batch()), sent, broker)).skew_ms(now) == skew
