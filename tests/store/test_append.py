"""Appending scrapes and reading them back while they are rows."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import transaction

from monitoring import store
from monitoring.promql import STALE_NAN, Labels, Matcher
from monitoring.store import Scrape

NOW = 1_800_000_000_000
pytestmark = pytest.mark.django_db


def scrape(source="host:ana", at_ms=NOW, labels=None, partial=False, **values):
    keys, numbers = list(values), np.array(list(values.values()), float)
    return Scrape(source, labels or {}, at_ms, keys, numbers, partial)


def samples(blocks):
    """{label text: [(time, bits)]} without stale markers that only fill a hole."""
    found = {}
    for block in blocks:
        for labels, line in zip(block.labels, block.values, strict=True):
            bits = np.ascontiguousarray(line).view(np.uint64).tolist()
            found.setdefault(str(labels), []).extend(zip(block.ts.tolist(), bits, strict=True))
    return {key: sorted(value) for key, value in found.items()}


def bits(value):
    return int(np.array([value], float).view(np.uint64)[0])


def named(name):
    return [Matcher("=", "__name__", name)]


def test_a_sample_comes_back_with_its_labels():
    key = 'cpu_seconds_total{mode="user",cpu="0"}'
    receipt = store.append([Scrape("host:ana", {"host": "ana"}, NOW, [key], np.array([1.5]))], now_ms=NOW)
    [block] = store.select(named("cpu_seconds_total"), NOW - 1000, NOW)
    assert receipt.samples == 1
    assert block.labels == (Labels.of({"__name__": "cpu_seconds_total", "cpu": "0", "host": "ana", "mode": "user"}),)
    assert block.ts.tolist() == [NOW]
    assert block.values.tolist() == [[1.5]]


def test_special_values_come_back_bit_for_bit():
    special = np.array([0x7FF0000000000002, 0x7FF8000000000001, 0xFFF8000000000123, 0x8000000000000000, 1,
                        0x7FF0000000000000, 0xFFF0000000000000], np.uint64)  # fmt: skip
    for step, value in enumerate(special.view(float)):
        store.append([scrape(at_ms=NOW + step, a=value, b=1.0)], now_ms=NOW)
    found = samples(store.select(named("a"), NOW, NOW + 100))
    assert [bit for _, bit in found["a"]] == special.tolist()


def test_a_series_left_out_is_stale():
    store.append([scrape(a=1.0, b=2.0), scrape(at_ms=NOW + 1000, a=3.0)], now_ms=NOW)
    found = samples(store.select(named("b"), NOW, NOW + 1000))
    assert found == {"b": [(NOW, bits(2.0)), (NOW + 1000, bits(STALE_NAN))]}


def test_a_partial_scrape_says_nothing_of_other_series():
    store.append([scrape(a=1.0, b=2.0, partial=True), scrape(at_ms=NOW + 1000, a=3.0, partial=True)], now_ms=NOW)
    assert samples(store.select(named("b"), NOW, NOW + 1000)) == {"b": [(NOW, bits(2.0))]}
    assert len(samples(store.select(named("a"), NOW, NOW + 1000))["a"]) == 2


def test_a_source_that_is_down_is_all_stale():
    store.append([scrape(a=1.0, b=2.0), scrape(at_ms=NOW + 1000)], now_ms=NOW)
    found = samples(store.select([Matcher("=~", "__name__", "a|b")], NOW, NOW + 1000))
    assert [series[-1] for series in found.values()] == [(NOW + 1000, bits(STALE_NAN))] * 2


def test_source_labels_win_and_the_samples_own_are_exported():
    store.append([Scrape("t", {"job": "x"}, NOW, ['m{job="own"}'], np.array([1.0]))], now_ms=NOW)
    [block] = store.select([Matcher("=", "job", "x"), Matcher("=", "exported_job", "own")], NOW, NOW)
    assert block.labels[0].as_dict() == {"__name__": "m", "exported_job": "own", "job": "x"}
    assert store.select([Matcher("=", "job", "own")], NOW, NOW) == []


def test_the_order_of_labels_makes_no_other_series():
    store.append([Scrape("t", {}, NOW, ['m{a="1",b="2"}'], np.array([1.0]))], now_ms=NOW)
    store.append([Scrape("t", {}, NOW + 1, ['m{b="2", a="1"}'], np.array([2.0]))], now_ms=NOW)
    assert store.select(named("m"), NOW, NOW + 1)[0].values.tolist() == [[1.0, 2.0]]


def test_the_same_time_twice_is_counted_and_changes_nothing():
    store.append([scrape(a=1.0)], now_ms=NOW)
    receipt = store.append([scrape(a=9.0), scrape(source="host:bob", a=5.0)], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"duplicate_time": 1})
    assert "host:ana" in receipt.errors
    assert sorted(block.values[0, 0] for block in store.select(named("a"), NOW, NOW)) == [1.0, 5.0]


def test_out_of_order_scrapes_are_sorted():
    for offset in (2000, 0, 1000):
        store.append([scrape(at_ms=NOW + offset, a=float(offset))], now_ms=NOW)
    [block] = store.select(named("a"), NOW, NOW + 5000)
    assert block.values.tolist() == [[0.0, 1000.0, 2000.0]]


def test_a_clock_that_is_ahead_is_refused_and_told():
    receipt = store.append([scrape(at_ms=NOW + 3_600_000, a=1.0)], now_ms=NOW)
    assert receipt.dropped == {"too_new": 1}
    assert "3600 s ahead" in receipt.errors["host:ana"]


def test_an_unreadable_series_costs_only_itself():
    keys = ["good", 'bad{a="1"', "also good", "x" * 1_000_000]
    receipt = store.append([Scrape("t", {}, NOW, keys, np.arange(4.0))], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"bad_series": 3})
    assert store.metric_names() == ["good"]


def test_a_series_twice_in_a_scrape_counts_once():
    receipt = store.append([Scrape("t", {}, NOW, ["m", "m{}"], np.array([1.0, 2.0]))], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"duplicate_series": 1})


def test_too_many_series_are_refused_with_the_limit(settings):
    settings.STORE_MAX_SERIES_PER_SOURCE = 2
    receipt = store.append([scrape(a=1.0, b=1.0, c=1.0), scrape(source="ok", a=1.0)], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"series_limit": 3})


def test_flapping_series_need_no_new_layout(django_assert_max_num_queries):
    for step in range(10):
        values = {"a": 1.0, "b": 1.0} if step % 2 else {"a": 1.0}
        store.append([scrape(at_ms=NOW + step, **values)], now_ms=NOW)
    from monitoring.models import Layout

    assert Layout.objects.count() == 2


def test_a_rolled_back_append_leaves_no_ids_behind():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        store.append([scrape(a=1.0)], now_ms=NOW)
        raise ZeroDivisionError
    store.append([scrape(a=2.0)], now_ms=NOW)
    assert samples(store.select(named("a"), NOW, NOW)) == {"a": [(NOW, bits(2.0))]}


def test_label_names_and_values_follow_the_matchers():
    store.append([Scrape("t", {"job": "x"}, NOW, ['m{a="1"}', 'm{a="2"}', 'n{b="3"}'], np.ones(3))], now_ms=NOW)
    assert store.label_names() == ["__name__", "a", "b", "job"]
    assert store.label_names(named("n")) == ["__name__", "b", "job"]
    assert store.label_values("a") == ["1", "2"]
    assert store.label_values("a", [Matcher("=~", "a", "2|3")]) == ["2"]


def test_series_are_listed_by_time():
    store.append([scrape(a=1.0)], now_ms=NOW)
    assert [str(labels) for labels in store.series(named("a"), NOW, NOW)] == ["a"]
    assert store.series(named("a"), NOW - 9_000_000, NOW - 5_000_000) == []


def test_keys_are_written_with_escapes_and_read_back():
    labels = {"path": 'C:\\new "x"\nline', "empty": ""}
    store.append([Scrape("t", {}, NOW, [store.sample_key("m", labels)], np.ones(1))], now_ms=NOW)
    assert store.label_values("path") == ['C:\\new "x"\nline']
    assert store.label_values("empty") == []


def test_names_outside_the_old_alphabet_are_quoted():
    key = store.sample_key("http.server.duration", {"a-b": "1"})
    assert key == '{"http.server.duration","a-b"="1"}'
    store.append([Scrape("t", {}, NOW, [key], np.ones(1))], now_ms=NOW)
    assert store.metric_names() == ["http.server.duration"]
