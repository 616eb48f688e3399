"""CPU, memory, load, network and the machine itself, read for real."""

from __future__ import annotations

import math
from types import SimpleNamespace

import psutil
import pytest

from monitoring.collect.samples import Reading, Sample
from monitoring.collect.system import (
    SystemCollector,
    busy_and_total,
    network_samples,
    usage_percent,
    without_small_steps_back,
)

AT = 1_790_000_000_000


@pytest.fixture(scope="module")
def collector() -> SystemCollector:
    return SystemCollector()


@pytest.fixture(scope="module")
def reading(collector: SystemCollector) -> Reading:
    return collector.read(AT)


def one(reading: Reading, name: str) -> float:
    (found,) = [sample.value for sample in reading.samples if sample.name == name]
    return found


def identity(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


@pytest.mark.parametrize(
    "name",
    [
        "host_up",
        "cpu_usage_percent",
        "cpu_seconds_total",
        "memory_usage_bytes",
        "memory_total_bytes",
        "memory_available_bytes",
        "swap_usage_bytes",
        "swap_total_bytes",
        "load_average_1m",
        "load_average_5m",
        "load_average_15m",
        "filesystem_size_bytes",
        "filesystem_avail_bytes",
        "filesystem_files_free",
        "network_receive_bytes_total",
        "network_transmit_drops_total",
        "boot_time_seconds",
        "host_uptime_seconds",
        "host_processes",
        "host_collect_duration_seconds",
    ],
)
def test_the_first_reading_already_has(reading, name):
    assert any(sample.name == name for sample in reading.samples)


def test_the_first_cpu_share_is_a_percentage(reading):
    assert 0 <= one(reading, "cpu_usage_percent") <= 100


def test_cpu_seconds_are_told_by_core_and_mode(reading):
    found = {(s.labels["cpu"], s.labels["mode"]) for s in reading.samples if s.name == "cpu_seconds_total"}
    assert {(str(core), "user") for core in range(psutil.cpu_count())} <= found


def test_memory_usage_is_what_is_not_available(reading):
    total, available = one(reading, "memory_total_bytes"), one(reading, "memory_available_bytes")
    assert one(reading, "memory_usage_bytes") == total - available


def test_no_series_is_told_twice(reading):
    identities = [identity(sample) for sample in reading.samples]
    assert len(identities) == len(set(identities))


def test_every_value_is_a_plain_number(reading):
    assert all(math.isfinite(sample.value) and sample.value >= 0 for sample in reading.samples)


def test_no_counter_goes_back(collector, reading):
    before = {identity(sample): sample.value for sample in reading.samples if sample.name.endswith("_total")}
    after = {identity(sample): sample.value for sample in collector.read(AT + 1000).samples}
    assert all(after[series] >= value for series, value in before.items() if series in after)


def test_a_broken_source_is_counted_and_leaves_the_others(monkeypatch, collector):
    def broken():
        raise OSError("no such file")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    reading = collector.read(AT)
    errors = {s.labels["source"]: s.value for s in reading.samples if s.name == "host_collect_errors_total"}
    assert errors["memory"] == 1
    assert not [s for s in reading.samples if s.name == "memory_usage_bytes"]
    assert one(reading, "host_up") == 1


def test_interfaces_of_containers_are_left_out(monkeypatch):
    count = SimpleNamespace(
        bytes_recv=1, packets_recv=2, errin=3, dropin=4, bytes_sent=5, packets_sent=6, errout=7, dropout=8
    )
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: {"eth0": count, "veth1a2b": count})
    samples = list(network_samples())
    assert {sample.labels["device"] for sample in samples} == {"eth0"}
    assert {sample.name: sample.value for sample in samples}["network_transmit_errors_total"] == 7


def times(**seconds: float) -> SimpleNamespace:
    known = {"user": 0.0, "nice": 0.0, "system": 0.0, "idle": 0.0, "iowait": 0.0, "steal": 0.0, "guest": 0.0} | seconds
    return SimpleNamespace(_asdict=lambda: known)


@pytest.mark.parametrize(
    ("seconds", "busy", "total"),
    [
        ({"user": 2, "idle": 8}, 2, 10),
        ({"user": 2, "idle": 6, "iowait": 2}, 2, 10),
        ({"user": 2, "steal": 3, "idle": 5}, 5, 10),
        ({"user": 2, "guest": 2, "idle": 8}, 2, 10),
    ],
)
def test_busy_time_counts_stolen_but_neither_waiting_nor_guests_twice(seconds, busy, total):
    assert busy_and_total(times(**seconds)) == (busy, total)


@pytest.mark.parametrize(
    ("before", "now", "percent"),
    [((0, 0), (1, 4), 25), ((1, 4), (1, 8), 0), ((1, 4), (5, 8), 100), ((5, 8), (5, 8), None), ((5, 8), (4, 10), 0)],
)
def test_cpu_usage_is_the_busy_share_of_the_time_between(before, now, percent):
    assert usage_percent(before, now) == percent


@pytest.mark.parametrize(("now", "kept"), [(99.0, 100.0), (97.5, 100.0), (96.9, 96.9), (0.0, 0.0), (101.0, 101.0)])
def test_a_small_step_back_of_a_cpu_counter_is_held(now, kept):
    assert without_small_steps_back({"iowait": 100.0}, {"iowait": now}) == {"iowait": kept}
