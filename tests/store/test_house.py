"""Keeping house: merging days, dropping what has moved on, retention, and forgetting keys."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from monitoring import store
from monitoring.models import Day, PlannedDrop, Retention, SeriesKey, Source
from monitoring.store import Scrape, compact, keep_house, merge, partitions, retention
from tests.store.build import HOUR, NOW, SPECIAL, everything, named, put, scrape

pytestmark = pytest.mark.django_db
DAY = 24 * HOUR
MIDNIGHT = NOW // DAY * DAY


def fill_days(hours=50, step_ms=300_000, sources=2, start=MIDNIGHT):
    random = np.random.default_rng(5)
    keys = [f'metric{{n="{number}"}}' for number in range(6)]
    scrapes = []
    for source in range(sources):
        for step, at_ms in enumerate(range(start, start + int(hours * HOUR), step_ms)):
            values = np.array([step, 7.0, random.choice(SPECIAL), random.random(), step // 50, -step * 0.25])
            there = random.random(6) > 0.1
            kept = [key for key, is_there in zip(keys, there, strict=True) if is_there]
            scrapes.append(Scrape(f"s{source}", {"source": str(source)}, at_ms, kept, values[there]))
    for first in range(0, len(scrapes), 200):
        store.append(scrapes[first : first + 200], now_ms=start + int(hours * HOUR))


def tables(name):
    return [partition.low for partition in partitions.existing(name)]


def test_a_merge_changes_no_bit_and_the_chunks_go_after_a_grace():
    fill_days()
    before = everything()
    compact(MIDNIGHT + 51 * HOUR)
    done = merge(MIDNIGHT + 51 * HOUR)
    assert (done.days, done.sources, done.is_done) == (2, 4, True)
    assert Day.objects.count() == 4 * 7
    assert everything() == before
    assert retention.run_planned_drops(MIDNIGHT + 51 * HOUR) == 0
    assert retention.run_planned_drops(MIDNIGHT + 52 * HOUR) == 2
    assert everything() == before


def test_a_merge_goes_on_where_it_stopped():
    fill_days(hours=25, sources=3)
    before = everything()
    compact(MIDNIGHT + 27 * HOUR)
    assert not merge(MIDNIGHT + 27 * HOUR, max_sources=2).is_done
    assert everything() == before
    assert merge(MIDNIGHT + 27 * HOUR).sources == 1
    assert everything() == before


def test_a_day_is_not_merged_before_all_of_it_is_compacted():
    fill_days(hours=25)
    compact(MIDNIGHT + 27 * HOUR, max_windows=3)
    assert merge(MIDNIGHT + 27 * HOUR).days == 0


def test_keeping_house_leaves_every_answer_as_it_was():
    fill_days(hours=30)
    before = everything()
    for minutes in range(0, 180, 20):
        report = keep_house(MIDNIGHT + 30 * HOUR + minutes * 60_000)
        assert everything() == before
    assert report.is_done
    assert tables("store_chunk")[0] > MIDNIGHT // store.records.WINDOW_MS
    # Partitions outlive the tests that made them; those of other tests lie years away.
    near = [window for window in tables("store_block") if abs(window - MIDNIGHT // store.records.WINDOW_MS) < 500]
    assert len(near) <= 5
    assert not PlannedDrop.objects.exists()


def test_retention_drops_whole_days_and_their_keys(settings):
    fill_days(hours=30)
    put(scrape("late", MIDNIGHT + 30 * HOUR, other=1.0))
    keep_house(MIDNIGHT + 32 * HOUR)
    later = MIDNIGHT + (settings.ENV.retention_days + 3) * DAY
    put(scrape("late", later, other=2.0))
    report = keep_house(later + HOUR)
    assert report.dropped.partitions > 0
    assert report.purged.keys == 6
    assert list(Source.objects.values_list("name", flat=True)) == ["late"]
    assert list(everything()) == ["other"]
    assert store.metric_names() == ["other"]


def test_a_purged_key_can_come_back(settings):
    put(scrape(a=1.0))
    later = NOW + (settings.ENV.retention_days + 3) * DAY
    keep_house(NOW + 5 * HOUR)
    put(scrape("other", later, b=1.0))
    keep_house(later + HOUR)
    assert list(SeriesKey.objects.values_list("name", flat=True)) == ["b"]
    put(scrape(at_ms=later, a=3.0))
    assert len(everything()["a"]) == 1


def test_retention_by_size_drops_the_oldest():
    fill_days(hours=74)
    now = MIDNIGHT + 76 * HOUR
    compact(now)
    merge(now)
    store.retain(now, days=30, max_bytes=1)
    assert min([*tables("store_day"), 1 << 60]) * store.records.WINDOW_MS >= MIDNIGHT + 2 * DAY


def test_dropping_before_a_time_is_exact_to_the_window():
    fill_days(hours=8)
    compact(MIDNIGHT + 9 * HOUR)
    store.drop_before(MIDNIGHT + 4 * HOUR + 60_000)
    times = [at_ms for line in everything().values() for at_ms, _ in line]
    assert min(times) == MIDNIGHT + 4 * HOUR


def test_a_partition_in_use_is_not_waited_for():
    fill_days(hours=2)
    store.pivot(MIDNIGHT + 3 * HOUR)
    partition = partitions.existing("store_block")[0]
    assert partitions.drop(partition)
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s)", [partition.name])
        assert cursor.fetchone() == (None,)


def test_the_status_names_sizes_lags_and_the_largest_metrics():
    put(Scrape("a", {"job": "x"}, NOW, ['m{p="1"}', 'm{p="2"}', "n"], np.ones(3)), scrape("b", n=1.0))
    found = store.status(NOW + 60_000)
    assert (found.sources, found.keys, found.cardinality.series) == (2, 3, 4)
    assert [(each.name, each.series) for each in found.cardinality.by_metric] == [("m", 2), ("n", 2)]
    assert [(each.name, each.series) for each in found.cardinality.by_source] == [("a", 3), ("b", 1)]
    assert {each.name: each.values for each in found.cardinality.by_label}["p"] == 2
    assert found.pivot_lag_seconds == 60
    assert found.bytes > 0


def test_ids_restored_from_another_cluster_are_made_old():
    put(scrape(a=1.0))
    with connection.cursor() as cursor:
        cursor.execute("update store_key set created = '99999999999'")
    assert retention.forget_restored_ids() == 1
    assert len(store.select(named("a"), NOW, NOW)) == 1


def test_some_series_are_kept_longer_and_some_shorter_than_the_rest(settings):
    Retention.objects.create(selector='{__name__=~"model_.*"}', days=400)
    Retention.objects.create(selector='debug{source="s1"}', days=2)
    for hour in range(48):
        names = ["debug", "model_accuracy", "rest"]
        at_ms = MIDNIGHT + hour * HOUR
        put(*[Scrape(f"s{n}", {"source": f"s{n}"}, at_ms, names, np.full(3, 1.0 + hour)) for n in range(2)])
    full = everything()
    keep_house(MIDNIGHT + 51 * HOUR)
    assert everything() == full
    keep_house(MIDNIGHT + 5 * DAY)
    assert everything() == {name: line for name, line in full.items() if name != 'debug{source="s1"}'}
    keep_house(MIDNIGHT + (settings.ENV.retention_days + 3) * DAY)
    assert everything() == {name: line for name, line in full.items() if name.startswith("model_")}
    keep_house(MIDNIGHT + 403 * DAY)
    assert everything() == {}


def test_a_retention_rule_must_be_a_selector():
    with pytest.raises(ValidationError):
        Retention(selector="sum(x", days=3).full_clean()
    Retention(selector='{job="x"}', days=3).full_clean()
