"""Where series come from, what was refused, and the store's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import store
from monitoring.models import Refusal
from monitoring.store import Scrape, refusals
from tests.store.build import HOUR, NOW, everything, put, scrape

pytestmark = pytest.mark.django_db
DAY = 24 * HOUR


def counts(found):
    return [(each.name, each.series, each.new) for each in found]


def test_series_are_counted_by_metric_source_and_label():
    keys = ['m{pod="a"}', 'm{pod="b"}', "n"]
    put(Scrape("one", {"job": "x"}, NOW, keys, np.ones(3)), Scrape("two", {"job": "y"}, NOW, keys[:1], np.ones(1)))
    found = store.cardinality(NOW - DAY, 10)
    assert (found.series, found.new, found.metrics) == (4, 4, 2)
    assert counts(found.by_metric) == [("m", 3, 3), ("n", 1, 1)]
    assert counts(found.by_source) == [("one", 3, 3), ("two", 1, 1)]
    assert [(each.name, each.values, each.series) for each in found.by_label] == [("job", 2, 4), ("pod", 2, 3)]


def test_new_is_what_nobody_had_sent_before():
    put(scrape("one", NOW - 2 * DAY, a=1.0, b=1.0))
    put(scrape("one", a=1.0, b=1.0, c=1.0))
    found = store.cardinality(NOW - DAY, 10)
    assert (found.series, found.new) == (3, 1)
    assert counts(found.by_metric) == [("a", 1, 0), ("b", 1, 0), ("c", 1, 1)]


def test_what_nobody_sends_any_more_does_not_count():
    put(scrape("one", NOW - 3 * DAY, a=1.0))
    put(scrape("two", b=1.0))
    assert counts(store.cardinality(NOW - DAY, 10).by_source) == [("two", 1, 1)]


def test_only_the_largest_are_named_and_all_are_counted():
    put(scrape(**{f"m{number}": 1.0 for number in range(30)}))
    found = store.cardinality(NOW - DAY, 5)
    assert (len(found.by_metric), found.metrics, found.series) == (5, 30, 30)


def test_an_empty_store_has_none():
    assert store.cardinality(NOW - DAY, 5) == store.Cardinality()


@pytest.mark.django_db(transaction=True)
def test_what_is_refused_is_kept_by_source_and_reason():
    for second in range(3):
        store.append([scrape("bad", NOW + HOUR, a=1.0), scrape("good", NOW + second, a=1.0)], now_ms=NOW + second)
    [row] = Refusal.objects.all()
    assert (row.source, row.reason, row.samples) == ("bad", "too_new", 3)
    assert (row.first_ms, row.last_ms) == (NOW, NOW + 2)
    assert "ahead of the portal's clock" in row.text


@pytest.mark.django_db(transaction=True)
def test_refusals_nobody_repeats_are_forgotten_after_a_week():
    store.append([scrape("bad", NOW + HOUR, a=1.0)], now_ms=NOW)
    assert refusals.forget(NOW + 6 * DAY) == 0
    assert refusals.forget(NOW + 8 * DAY) == 1


def test_the_stores_own_numbers_are_series_like_any_other():
    put(scrape(a=1.0, b=2.0))
    receipt = store.record(store.status(NOW, top=0), NOW + 500)
    assert receipt.dropped == {}
    found = everything()
    [(at_ms, bits)] = found['alphaq_store_series{instance="store", job="alphaq-portal"}']
    assert (at_ms, np.array([bits], np.uint64).view(float)[0]) == (NOW, 2.0)
    assert any('tier="chunk"' in name for name in found)


def test_an_empty_store_gives_the_same_numbers_as_a_full_one():
    names = [(each.name, dict(each.labels)) for each in store.gauges(store.status(NOW, top=0))]
    put(scrape(a=1.0))
    assert names == [(each.name, dict(each.labels)) for each in store.gauges(store.status(NOW, top=0))]


def test_the_write_rate_is_that_of_the_last_minute():
    for second in range(0, 300, 15):
        put(scrape(at_ms=NOW + second * 1000, a=1.0, b=1.0, c=1.0))
    assert store.samples_per_second(NOW + 300_000) == pytest.approx(3 / 15)
    assert store.samples_per_second(NOW + HOUR) == 0


def test_the_need_of_space_is_told_once_there_is_a_merged_day():
    for start in range(NOW, NOW + 26 * HOUR, HOUR):
        put(*[scrape(at_ms=start + step * 60_000, a=float(step), b=1.0) for step in range(60)])
    assert store.status(NOW).bytes_at(15) == 0
    now = NOW + 29 * HOUR
    store.compact(now)
    store.merge(now)
    found = store.status(now)
    assert found.day_bytes > 0
    assert found.bytes_at(15) >= 15 * found.day_bytes
    assert found.oldest_ms == NOW
