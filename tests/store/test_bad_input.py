"""Bad input and bad days: each is an error or a count at its place, the rest goes on, nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from hypothesis import example, given
from hypothesis import strategies as st

from monitoring import store, targets
from monitoring.models import Layout
from monitoring.store import Scrape, partitions, room
from tests.store.build import HOUR, NOW, bits, everything, named, put, scrape

pytestmark = pytest.mark.django_db


def test_a_label_set_of_a_megabyte_is_refused_with_a_short_text():
    huge = store.sample_key("m", {"text": "x" * 1_000_000})
    receipt = store.append([Scrape("t", {}, NOW, ["good", huge], np.ones(2))], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"bad_series": 1})
    assert len(receipt.errors["t"]) < 300


def test_a_hundred_thousand_new_series_at_once_are_taken():
    keys = [f'm{{pod="pod-{number}"}}' for number in range(100_000)]
    receipt = put(Scrape("t", {}, NOW, keys, np.arange(100_000.0)))
    assert receipt.samples == 100_000
    [block] = store.select([*named("m"), store.head.Matcher("=~", "pod", "pod-9999.")], NOW, NOW)
    assert sorted(block.values[:, 0].tolist()) == [99990.0 + n for n in range(10)]


@pytest.mark.django_db(transaction=True)
def test_series_that_come_and_go_do_not_grow_the_layout_for_ever():
    random = np.random.default_rng(7)
    for step in range(480):
        names = ["steady", *[f"pod_{step // 40}_{number}" for number in range(5)]]
        there = [name for name in names if random.random() < 0.8]
        put(Scrape("t", {}, NOW + step * 60_000, there, np.ones(len(there))))
    widths = [len(bytes(layout.keys)) // 4 for layout in Layout.objects.order_by("id")]
    assert max(widths) < 35
    assert len(everything()) == 61


@pytest.mark.parametrize(("offset", "reason"), [(HOUR, "too_new"), (-HOUR * 3, "too_old")])
def test_a_clock_that_is_off_costs_only_its_own_samples(offset, reason):
    put(scrape("old", NOW - 10 * HOUR, a=1.0))
    store.compact(NOW)
    receipt = store.append([scrape("bad", NOW + offset, a=1.0), scrape("good", a=2.0)], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {reason: 1})
    assert "bad" in receipt.errors


@pytest.mark.parametrize("offset", [-HOUR, -60_000, 60_000, 600_000])
def test_a_clock_that_is_off_by_what_is_allowed_costs_nothing(offset):
    put(scrape("right", NOW - 10 * HOUR, a=1.0))
    store.compact(NOW)
    receipt = store.append([scrape("off", NOW + offset, a=1.0), scrape("right", a=2.0)], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (2, {})


@pytest.mark.django_db(transaction=True)
def test_a_connection_lost_in_the_middle_of_a_copy_stores_nothing_of_it():
    put(scrape(a=1.0))
    wide = Scrape("wide", {}, NOW, [f"m{number}" for number in range(50_000)], np.ones(50_000))
    put(wide)
    many = [replace(wide, at_ms=NOW + 1 + number) for number in range(60)]
    cut = threading.Thread(target=_cut_copy)
    cut.start()
    with pytest.raises(DatabaseError):
        store.append(many, now_ms=NOW + 1_000)
    cut.join()
    connection.close()
    assert len(everything()["m0"]) == 1
    assert store.append(many[:2], now_ms=NOW + 1_000).samples == 100_000


def _cut_copy():
    """End the connection that copies rows, as soon as there is one."""
    with connection.cursor() as cursor:
        found = []
        while not found:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query like 'copy store_row%' and state = 'active'"
            )
            found = cursor.fetchall()
    connection.close()


def test_a_missing_partition_is_made():
    put(scrape(a=1.0))
    store.pivot(NOW + HOUR)
    for table in ("store_block", "store_chunk"):
        for partition in partitions.existing(table):
            assert partitions.drop(partition)
    put(scrape(at_ms=NOW + HOUR, a=2.0))
    store.compact(NOW + 3 * HOUR)
    assert everything()["a"] == [(NOW + HOUR, bits(2.0))]


def test_a_full_disk_is_an_error_and_the_next_append_works():
    put(scrape(a=1.0))

    def full(execute, sql, params, many, context):
        if "savepoint" in sql.lower():
            raise OperationalError("could not extend file: No space left on device")
        return execute(sql, params, many, context)

    with pytest.raises(DatabaseError, match="No space"), transaction.atomic(), connection.execute_wrapper(full):
        put(scrape(at_ms=NOW + 1000, a=2.0))
    assert put(scrape(at_ms=NOW + 1000, a=3.0)).samples == 1
    assert [bit for _, bit in everything()["a"]] == [bits(1.0), bits(3.0)]


def test_the_last_of_the_disk_is_kept_for_everything_but_samples(monkeypatch):
    monkeypatch.setattr(room, "_place", lambda _: "/data")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=store.LEAST_FREE_BYTES - 1))
    with pytest.raises(store.DiskFull, match="99 MB are free"):
        store.check_room()
    with pytest.raises(store.DiskFull):
        targets.record([], [scrape(a=1.0)], NOW)
    assert put(scrape(a=1.0)).samples == 1, "rules and alerts go on to write"


def test_a_database_on_another_machine_is_not_asked_for_its_disk():
    assert room._place("db.example") is None


def test_shapes_that_do_not_fit_are_refused():
    receipt = store.append([Scrape("t", {}, NOW, ["a", "b"], np.ones(3)), scrape(c=1.0)], now_ms=NOW)
    assert (receipt.samples, receipt.dropped) == (1, {"malformed": 2})


def test_nothing_to_append_is_nothing():
    assert store.append([], now_ms=NOW).samples == 0


def test_a_list_that_its_owner_changes_afterwards_does_no_harm():
    keys = ["a", "b"]
    put(Scrape("t", {}, NOW, keys, np.array([1.0, 2.0])))
    keys[:] = ["b", "a"]
    put(Scrape("t", {}, NOW + 1000, keys, np.array([4.0, 3.0])))
    assert [bit for _, bit in everything()["a"]] == [bits(1.0), bits(3.0)]


@pytest.mark.parametrize(
    "text", ["", "{}", "1abc", 'm{a="1",a="2"}', "m{a=1}", 'm{a="1"} extra', 'm{a="1"', "m\0", "\ud800"]
)
def test_texts_that_are_no_series_are_refused(text):
    with pytest.raises(store.BadKey):
        store.keys.parse_key(text)


def read(text: str) -> object:
    """What a series text says, None when it cannot be read."""
    try:
        return store.keys.parse_key(text)
    except store.BadKey:
        return None


@given(st.text('ab_1="\\,}{ \n', max_size=30) | st.from_regex(r'(a?b="[}",a]*",?){1,3}\}?', fullmatch=True))
@example('a="b"}c="d"}')
@example('a="b","c"="d"}')
@example('a="b",}')
@example('a="b",a="c"}')
def test_a_blank_before_the_labels_changes_nothing_of_what_a_text_says(body: str):
    assert read("m{" + body) == read("m{ " + body)
