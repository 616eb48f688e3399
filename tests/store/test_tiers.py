"""Samples on their way downstream: rows, blocks, chunks read the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import store
from monitoring.models import Block, Chunk, Row
from monitoring.promql import STALE_NAN
from monitoring.store import Scrape, compact, pivot
from tests.store.build import HOUR, NOW, SPECIAL, bits, everything, named, put, scrape

pytestmark = pytest.mark.django_db


def fill(hours=2.0, step_ms=15_000, sources=2, series=7, seed=1):
    """Random walks, constants and special values, with gaps and series that come and go."""
    random = np.random.default_rng(seed)
    keys = [f'metric_{number % 3}{{n="{number}"}}' for number in range(series)]
    scrapes = []
    for source in range(sources):
        walk = np.zeros(series)
        for at_ms in range(NOW, NOW + int(hours * HOUR), step_ms):
            if random.random() < 0.02:
                continue
            walk += random.integers(0, 5, series)
            values = walk.copy()
            values[0] = 7.0
            values[1] = random.choice(SPECIAL)
            there = random.random(series) > 0.05
            kept = [key for key, is_there in zip(keys, there, strict=True) if is_there]
            scrapes.append(Scrape(f"s{source}", {"source": str(source)}, at_ms, kept, values[there]))
    for start in range(0, len(scrapes), 100):
        store.append(scrapes[start : start + 100], now_ms=NOW + int(hours * HOUR))


def test_a_pivot_turns_rows_into_blocks_and_changes_no_answer():
    fill(hours=0.5)
    before = everything()
    assert pivot(NOW + HOUR // 2 + 60_000) > 0
    assert (Row.objects.count(), Block.objects.count() >= 12) == (0, True)
    assert everything() == before


def test_a_pivot_leaves_the_open_slot_alone():
    put(scrape(a=1.0), scrape(at_ms=NOW + 300_000, a=2.0))
    assert pivot(NOW + 340_000) == 1
    assert Row.objects.count() == 1
    assert len(everything()["a"]) == 2


def test_compaction_changes_no_bit():
    fill(hours=4.5)
    before = everything()
    done = compact(NOW + int(4.5 * HOUR))
    assert (done.is_done, done.windows) == (True, 4)
    assert Chunk.objects.exists()
    assert everything() == before


def test_a_part_of_the_time_is_read_from_chunks_and_rows_alike():
    fill(hours=3)
    compact(NOW + 3 * HOUR)
    start, end = NOW + HOUR + 7_000, NOW + int(2.5 * HOUR) + 3_000
    part = everything(start, end)
    whole = {key: [each for each in line if start <= each[0] <= end] for key, line in everything().items()}
    assert part == {key: line for key, line in whole.items() if any(bit != bits(STALE_NAN) for _, bit in line)}


def test_compaction_goes_on_where_it_stopped():
    fill(hours=2, sources=3)
    before = everything()
    assert compact(NOW + 3 * HOUR, max_windows=1).windows == 1
    assert everything() == before
    assert compact(NOW + 3 * HOUR).windows == 2
    assert compact(NOW + 3 * HOUR).windows == 0
    assert everything() == before


def test_a_sample_below_the_floor_is_refused_and_counted():
    fill(hours=2)
    compact(NOW + 3 * HOUR)
    receipt = store.append([scrape(at_ms=NOW + 1000, a=1.0)], now_ms=NOW + 3 * HOUR)
    assert (receipt.samples, receipt.dropped) == (0, {"too_old": 1})


def test_a_late_sample_above_the_floor_is_sorted_in():
    put(scrape(a=1.0), scrape(at_ms=NOW + 60_000, a=3.0))
    pivot(NOW + HOUR)
    put(scrape(at_ms=NOW + 30_000, a=2.0), now_ms=NOW + HOUR)
    [block] = store.select(named("a"), NOW, NOW + HOUR)
    assert block.values.tolist() == [[1.0, 2.0, 3.0]]
    compact(NOW + 3 * HOUR)
    [block] = store.select(named("a"), NOW, NOW + HOUR)
    assert block.values.tolist() == [[1.0, 2.0, 3.0]]


def test_the_first_of_two_samples_at_one_time_stays_after_a_pivot():
    put(scrape(a=1.0))
    pivot(NOW + HOUR)
    receipt = put(scrape(a=9.0), now_ms=NOW + HOUR)
    assert (receipt.samples, receipt.dropped) == (0, {"duplicate_time": 1})
    assert everything()["a"] == [(NOW, bits(1.0))]
    compact(NOW + 3 * HOUR)
    assert everything()["a"] == [(NOW, bits(1.0))]


@pytest.mark.parametrize("is_turned", [False, True])
def test_parts_of_a_partial_source_at_one_time_add_up(is_turned):
    put(scrape(partial=True, a=1.0, b=2.0))
    if is_turned:
        pivot(NOW + HOUR)
    put(scrape(partial=True, b=9.0, c=3.0), now_ms=NOW + HOUR)
    expected = {"a": [(NOW, bits(1.0))], "b": [(NOW, bits(2.0))], "c": [(NOW, bits(3.0))]}
    assert everything() == expected
    compact(NOW + 3 * HOUR)
    assert everything() == expected


def test_a_source_that_was_down_all_the_time_stays_stale():
    put(scrape(a=1.0))
    for step in range(1, 600):
        put(scrape(at_ms=NOW + step * 15_000))
    before = everything()
    compact(NOW + 3 * HOUR)
    assert everything() == before
    assert before["a"][1:] == [(NOW + step * 15_000, bits(STALE_NAN)) for step in range(1, 600)]


def test_a_partial_source_keeps_its_holes_without_markers():
    for step in range(500):
        values = {"a": float(step)} if step % 2 else {"b": STALE_NAN if step == 250 else 1.0}
        put(scrape(at_ms=NOW + step * 15_000, partial=True, **values))
    before = everything()
    compact(NOW + 5 * HOUR)
    assert everything() == before
    assert len(before["a"]) == len(before["b"]) == 250
    assert before["b"][125] == (NOW + 250 * 15_000, bits(STALE_NAN))


def test_chunks_are_small():
    keys = [f'c{{n="{number}"}}' for number in range(50)]
    walk = np.zeros(50)
    random = np.random.default_rng(0)
    for step in range(480):
        walk += random.integers(0, 3, 50)
        store.append([Scrape("t", {}, NOW + step * 15_000, keys, walk)], now_ms=NOW + step * 15_000)
    compact(NOW + 3 * HOUR)
    size = sum(len(bytes(chunk.d)) for chunk in Chunk.objects.all())
    assert size / (480 * 50) < 1.0


@pytest.mark.django_db(transaction=True)
def test_a_refused_scrape_with_new_series_leaves_no_half_known_layout():
    put(scrape(a=1.0))
    pivot(NOW + HOUR)
    put(scrape(a=9.0, new=9.0), now_ms=NOW + HOUR)
    put(scrape(at_ms=NOW + 1000, a=2.0, new=3.0), now_ms=NOW + HOUR)
    assert everything() == {
        "a": [(NOW, bits(1.0)), (NOW + 1000, bits(2.0))],
        "new": [(NOW, bits(STALE_NAN)), (NOW + 1000, bits(3.0))],
    }
