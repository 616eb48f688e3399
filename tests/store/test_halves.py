"""Blocks of five minutes become half hours: fewer rows to read, the same samples, in the same order of age."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import store
from monitoring.models import Block
from monitoring.promql import Matcher
from monitoring.store import Scrape, halves
from tests.store.build import HOUR, NOW, SPECIAL, bits, everything, named, put, scrape
from tests.store.test_tiers import fill

pytestmark = pytest.mark.django_db
MINUTE = 60_000


def pivoted(hours=2.0, **options):
    """Samples from NOW on, all of them in blocks of five minutes."""
    fill(hours=hours, **options)
    store.pivot(NOW + int(hours * HOUR) + MINUTE)


def test_blocks_of_a_finished_half_hour_become_one_a_layout_and_change_no_answer():
    pivoted()
    before = everything()
    layouts = Block.objects.values("source_id", "layout_id").distinct().count()
    assert store.join_halves(NOW + 2 * HOUR + 10 * MINUTE) > 30
    assert Block.objects.count() <= 4 * layouts
    assert everything() == before


def test_a_half_hour_that_rules_still_look_back_at_stays_as_it_is():
    pivoted(hours=0.5)
    assert store.join_halves(NOW + HOUR // 2 + 9 * MINUTE) == 0
    assert store.join_halves(NOW + HOUR // 2 + 10 * MINUTE) > 0


def test_a_joined_half_hour_is_left_alone():
    pivoted()
    at_ms = NOW + 3 * HOUR
    assert store.join_halves(at_ms) > 0
    assert store.join_halves(at_ms) == 0


def test_late_samples_join_their_half_hour():
    put(scrape(a=1.0), scrape(at_ms=NOW + 10 * MINUTE, a=2.0), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    store.join_halves(NOW + HOUR)
    put(scrape(at_ms=NOW + 5 * MINUTE, a=3.0), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    assert store.join_halves(NOW + HOUR) == 2
    assert [block.n for block in Block.objects.all()] == [3]
    assert [value for _, value in everything()["a"]] == [bits(1.0), bits(3.0), bits(2.0)]


def test_special_bits_survive():
    for place, value in enumerate(SPECIAL):
        put(scrape(at_ms=NOW + place * MINUTE, a=value, b=1.0), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    store.join_halves(NOW + HOUR)
    assert [value for _, value in everything()["a"]] == [bits(value) for value in SPECIAL]


def test_a_source_that_was_down_all_half_hour_stays_without_values():
    for minute in range(0, 30, 5):
        put(Scrape("t", {}, NOW + minute * MINUTE, (), np.empty(0)), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    assert store.join_halves(NOW + HOUR) == 6
    assert everything() == {}


def test_large_blocks_stay_as_they_are(monkeypatch):
    pivoted(hours=0.5)
    monkeypatch.setattr(halves, "MAX_BYTES", 100)
    assert store.join_halves(NOW + HOUR) == 0


def test_what_is_compacted_already_is_not_touched():
    pivoted()
    store.compact(NOW + 3 * HOUR)
    assert store.join_halves(NOW + 3 * HOUR) == 0


def test_a_window_of_half_hours_compacts_to_the_same_samples():
    pivoted()
    before = everything()
    store.join_halves(NOW + 2 * HOUR + 10 * MINUTE)
    assert store.compact(NOW + 3 * HOUR).windows == 2
    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_a_joined_block_is_as_old_as_the_newest_of_its_parts_so_that_nobody_reads_it_again():
    put(scrape(a=1.0), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    put(scrape(at_ms=NOW + 5 * MINUTE, a=2.0), now_ms=NOW + HOUR)
    store.pivot(NOW + HOUR)
    [(newest,)] = store.wire.execute("select max(created::text::bigint) from store_block")
    store.join_halves(NOW + HOUR)
    assert store.wire.execute("select created::text::bigint from store_block") == [(newest,)]


def test_rows_of_several_sizes_are_read_as_runs():
    kind = store.wire.Fields("iq", 1)
    data = b"".join(kind.pack((number, 1), b"x" * (8 if number < 3 else 16)) for number in range(7))
    assert [len(rows) for rows in kind.runs(data, 5)] == [3, 4]
    assert kind.runs(data, 1) == []
    assert kind.table(data) is None


def test_every_selection_of_joined_blocks_is_read_right():
    pivoted(series=9)
    asked = [*named("metric_1"), Matcher("=~", "n", "4|7")]
    before = store.select(asked, NOW, NOW + 2 * HOUR)
    store.join_halves(NOW + 2 * HOUR)
    after = store.select(asked, NOW, NOW + 2 * HOUR)
    assert [block.values.tobytes() for block in after] == [block.values.tobytes() for block in before]
