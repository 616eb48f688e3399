"""The head: recent samples from memory give the same answers as the tables."""

from __future__ import annotations

import numpy as np
import pytest
from django.db import connection, transaction

from monitoring import store
from monitoring.store import Scrape, head
from tests.store.build import HOUR, NOW, SPECIAL, everything, named, put, samples, scrape

MINUTE = 60_000


@pytest.fixture
def fresh_head(monkeypatch):
    monkeypatch.setattr(head, "HEAD", head.Head())


def ask(at_ms, name="a", back_ms=5 * MINUTE):
    return samples(store.shared_select(at_ms)(named(name), at_ms - back_ms, at_ms))


def served(at_ms, name="a"):
    """The answer, and that it needed no table of samples."""
    ask(at_ms, name)
    reader = store.shared_select(at_ms)
    reader(named("nothing"), at_ms, at_ms)  # refreshes index and head
    with connection.execute_wrapper(_no_statement):
        return samples(reader(named(name), at_ms - 5 * MINUTE, at_ms))


def _no_statement(execute, sql, params, many, context):
    raise AssertionError(f"a statement: {sql}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("fresh_head")
class TestHead:
    def test_recent_samples_need_no_statement(self):
        for step in range(20):
            put(scrape(at_ms=NOW + step * 15_000, a=float(step)))
        found = served(NOW + 5 * MINUTE)
        assert [at_ms for at_ms, _ in found["a"]] == [NOW + step * 15_000 for step in range(20)]

    def test_answers_equal_those_of_the_tables_while_layouts_change(self):
        random = np.random.default_rng(3)
        for step in range(60):
            at_ms = NOW + step * 10_000
            there = [name for name in "abcdef"[: 2 + step // 12] if random.random() < 0.8]
            values = random.choice(SPECIAL, len(there))
            put(Scrape("s", {"host": "x"}, at_ms, there, values), Scrape("t", {}, at_ms + 3, ["a"], np.ones(1)))
            if step % 7 == 0:
                store.pivot(at_ms)
            if step % 3 == 0:
                for name in "acf":
                    start = at_ms - 5 * MINUTE
                    assert ask(at_ms, name) == samples(store.select(named(name), start, at_ms))

    def test_a_late_commit_is_seen(self):
        put(scrape(a=1.0), scrape(at_ms=NOW + MINUTE, a=3.0))
        assert len(ask(NOW + MINUTE)["a"]) == 2
        put(scrape(at_ms=NOW + 30_000, a=2.0), now_ms=NOW + MINUTE)
        assert [at_ms - NOW for at_ms, _ in ask(NOW + MINUTE)["a"]] == [0, 30_000, MINUTE]

    def test_a_row_that_was_turned_before_it_was_seen_is_read_from_its_block(self):
        put(scrape(a=1.0))
        ask(NOW)
        put(scrape(at_ms=NOW + MINUTE, a=2.0))
        store.pivot_before(NOW + 2 * MINUTE)
        assert len(ask(NOW + 2 * MINUTE)["a"]) == 2

    def test_rows_of_an_open_transaction_are_not_kept(self):
        put(scrape(a=1.0))
        ask(NOW)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            put(scrape(at_ms=NOW + MINUTE, a=2.0))
            assert len(ask(NOW + MINUTE)["a"]) == 2
            raise ZeroDivisionError
        assert len(ask(NOW + MINUTE)["a"]) == 1

    def test_old_times_are_asked_of_the_tables(self):
        put(scrape(a=1.0), scrape(at_ms=NOW + HOUR, a=2.0))
        ask(NOW + HOUR)
        assert len(ask(NOW)["a"]) == 1
        assert len(ask(NOW + HOUR, back_ms=HOUR)["a"]) == 2

    def test_a_time_far_ahead_does_not_empty_the_head(self):
        put(scrape(a=1.0))
        ask(NOW)
        assert ask(NOW + 24 * HOUR) == {}
        assert len(served(NOW + MINUTE)["a"]) == 1

    def test_the_head_keeps_an_hour_for_rules_that_look_back_as_far(self):
        for step in range(65):
            put(scrape(at_ms=NOW + step * MINUTE, a=float(step)))
            ask(NOW + step * MINUTE)
        at_ms = NOW + 64 * MINUTE
        reader = store.shared_select(at_ms)
        reader(named("nothing"), at_ms, at_ms)
        found = reader.from_memory(named("a"), at_ms - 60 * MINUTE, at_ms)
        assert samples(found) == samples(store.select(named("a"), at_ms - 60 * MINUTE, at_ms))

    def test_the_head_forgets_what_is_old(self):
        for step in range(100):
            put(scrape(at_ms=NOW + step * MINUTE, a=float(step)))
            ask(NOW + step * MINUTE)
        [segment] = next(iter(head.HEAD.sources.values()))
        assert segment.end - segment.start == head.KEEP_MS // MINUTE + 1

    def test_the_head_keeps_less_than_an_hour_when_that_is_too_much_memory(self, monkeypatch):
        monkeypatch.setattr(head, "BUDGET_BYTES", 16 * 20)
        for step in range(60):
            put(scrape(at_ms=NOW + step * MINUTE, a=float(step)))
            ask(NOW + step * MINUTE)
        [segment] = next(iter(head.HEAD.sources.values()))
        assert 8 <= segment.end - segment.start <= 22

    def test_sources_of_the_same_times_come_as_one_block(self):
        for step in range(5):
            at_ms = NOW + step * 15_000
            put(*[scrape(f"host:{number}", at_ms, {"host": str(number)}, a=1.0) for number in range(10)])
        blocks = store.shared_select(NOW + MINUTE)(named("a"), NOW, NOW + MINUTE)
        again = store.shared_select(NOW + MINUTE)(named("a"), NOW, NOW + MINUTE)
        assert [block.values.shape for block in blocks] == [(10, 5)]
        assert blocks[0].labels is again[0].labels

    def test_emptied_tables_empty_the_head(self):
        put(scrape(a=1.0))
        ask(NOW)
        with connection.cursor() as cursor:
            cursor.execute("truncate store_source, store_key, store_layout, store_source_layout")
            cursor.execute("truncate store_state, store_row")
        assert ask(NOW) == {}
        put(scrape("other", a=5.0))
        assert len(ask(NOW)["a"]) == 1


@pytest.mark.django_db
def test_inside_one_transaction_the_tables_answer(fresh_head):
    put(scrape(a=1.0))
    assert ask(NOW) == everything()
