"""Memory profiles of blocks and functions."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from monitoring.instrument import profile_memory

MIB = 2**20


@pytest.fixture
def reports():
    return []


def test_a_block_tells_its_peak_and_what_is_held_at_its_end(reports):
    with profile_memory("batch", report=reports.append) as profile:
        freed = bytearray(8 * MIB)
        del freed
        held = bytearray(2 * MIB)
    assert reports == [profile.result]
    assert 8 * MIB <= profile.result.peak_bytes < 9 * MIB
    assert 2 * MIB <= profile.result.held_bytes < 3 * MIB
    assert len(held) == 2 * MIB


def test_the_line_that_holds_most_comes_first(reports):
    with profile_memory(report=reports.append):
        small, large = bytearray(MIB), bytearray(5 * MIB)
    first = reports[0].lines[0]
    assert first.file == __file__
    assert first.held_bytes >= len(small) + len(large)


def test_what_a_decorated_function_returns_belongs_to_its_profile(reports):
    @profile_memory(report=reports.append)
    def batch(size):
        return bytearray(size)

    assert len(batch(3 * MIB)) == 3 * MIB
    assert reports[0].name.endswith("batch")
    assert reports[0].held_bytes >= 3 * MIB


def test_a_decorated_coroutine_is_profiled(reports):
    @profile_memory("async", report=reports.append)
    async def batch():
        await asyncio.sleep(0)
        return bytearray(MIB)

    asyncio.run(batch())
    assert reports[0].peak_bytes >= MIB


def test_a_generator_is_refused_because_nothing_would_be_seen():
    with pytest.raises(TypeError, match="generator"):

        @profile_memory()
        def batch():
            yield 1


def test_a_block_that_raises_is_reported_all_the_same(reports):
    with pytest.raises(KeyError), profile_memory(report=reports.append):
        raise KeyError
    assert len(reports) == 1


def test_an_inner_profile_does_not_hide_the_peak_of_the_outer_one(reports):
    with profile_memory("outer", report=reports.append):
        before = bytearray(20 * MIB)
        del before
        with profile_memory("inner", report=reports.append):
            inner = bytearray(MIB)
    by_name = {report.name: report for report in reports}
    assert by_name["outer"].peak_bytes >= 20 * MIB
    assert by_name["inner"].peak_bytes < 10 * MIB
    assert len(inner) == MIB


def test_nothing_is_traced_after_the_last_profile(reports):
    with profile_memory(report=reports.append):
        assert tracemalloc.is_tracing()
    assert not tracemalloc.is_tracing()


def test_a_trace_that_was_on_already_is_left_on(reports):
    tracemalloc.start()
    try:
        with profile_memory(report=reports.append):
            pass
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_a_profile_reads_as_a_table(reports):
    with profile_memory("batch", report=reports.append):
        held = bytearray(2 * MIB)
    head, first, *_ = str(reports[0]).splitlines()
    assert head.startswith("batch: peak 2.0 MiB, held 2.0 MiB at the end")
    assert "2.0 MiB" in first
    assert "test_instrument_memory.py:" in first
    assert held
