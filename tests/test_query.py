"""The door for questions: answers from the store, limits, and what a check says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import connection, transaction

from monitoring import query, store
from monitoring.promql import LimitError, Limits, Matcher, ParseError
from monitoring.store import Scrape

AT = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
AT_MS = query.to_ms(AT)
pytestmark = pytest.mark.django_db


@pytest.fixture
def counters():
    """Ten minutes of two counters at 15 s, one rising by 1 and one by 2 a second."""
    keys = ['requests_total{path="/a"}', 'requests_total{path="/b"}']
    for step in range(41):
        at_ms = AT_MS - (40 - step) * 15_000
        values = np.array([15.0 * step, 30.0 * step])
        store.append([Scrape("target:1", {"job": "web"}, at_ms, keys, values)], now_ms=AT_MS)


def test_an_instant_question_is_answered_from_the_store(counters):
    answer = query.instant("sum by (path) (rate(requests_total[5m]))", AT)
    assert dict(zip([labels.get("path") for labels in answer.labels], answer.values.round(9), strict=True)) == {
        "/a": 1.0, "/b": 2.0,
    }  # fmt: skip


def test_a_range_question_has_a_value_for_each_step(counters):
    answer = query.range_('requests_total{path="/a"}', AT - timedelta(minutes=1), AT, 15)
    assert answer.values.tolist() == [[540.0, 555.0, 570.0, 585.0, 600.0]]


def test_one_slot_reads_a_selector_once(counters):
    select = query.for_slot(AT)
    query.instant("rate(requests_total[5m])", AT, select=select)
    store.append([Scrape("target:1", {"job": "web"}, AT_MS + 1, ["other"], np.ones(1))], now_ms=AT_MS)
    answer = query.instant("requests_total", AT, select=select)
    assert sorted(answer.values) == [600.0, 1200.0]


def test_a_check_shows_where_a_text_is_wrong():
    found = query.check("sum(rate(x[5m])")
    assert not found.ok
    assert isinstance(found.error, ParseError)
    assert found.error.line == 1


def test_a_check_suggests_names_for_unknown_metrics(counters):
    found = query.check("rate(request_total[5m]) > 1")
    assert (found.ok, found.type, found.unknown) == (True, "vector", {"request_total": ("requests_total",)})


def test_labels_and_series_pass_through(counters):
    matchers = [Matcher("=", "job", "web")]
    assert query.label_names() == ["__name__", "job", "path"]
    assert query.label_values("path", matchers, AT - timedelta(hours=1), AT) == ["/a", "/b"]
    assert [labels.get("path") for labels in query.series(matchers, AT - timedelta(hours=1), AT)] == ["/a", "/b"]
    assert query.metric_names() == ["requests_total"]


class SlowBackend:
    """A place for samples that takes half a minute to answer."""

    @staticmethod
    def select(matchers, start_ms, end_ms):
        with connection.cursor() as cursor:
            cursor.execute("select pg_sleep(30)")
        return []


def test_a_slow_statement_ends_as_a_limit_error(monkeypatch):
    monkeypatch.setattr(query, "_backend", lambda: SlowBackend)
    with pytest.raises(LimitError, match="reading took too long"), transaction.atomic():
        query.instant("x", AT, limits=Limits(timeout_seconds=0.05))
    assert _timeout() == "0"


def test_a_slow_read_of_one_rule_leaves_the_transaction_of_its_slot_usable(monkeypatch):
    monkeypatch.setattr(query, "shared_select", lambda _: SlowReader())
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, query_timeout_seconds=0.05))
    with transaction.atomic():
        with pytest.raises(LimitError, match="reading took too long"):
            query.instant("x", AT, select=query.for_slot(AT))
        assert _timeout() == "0"


class SlowReader:
    """A slot's reader that has nothing in memory and whose tables are slow."""

    def from_memory(self, matchers, start_ms, end_ms):
        return None

    def __call__(self, matchers, start_ms, end_ms):
        return SlowBackend.select(matchers, start_ms, end_ms)


def test_the_time_limit_ends_with_the_question(counters):
    query.instant("requests_total", AT)
    with pytest.raises(ParseError):
        query.instant("sum(", AT)
    assert _timeout() == "0"


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        query.instant("x", datetime(2027, 1, 1))


def _timeout():
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('statement_timeout')")
        return cursor.fetchone()[0]


def test_the_limits_of_a_query_come_from_the_settings(monkeypatch):
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, query_max_steps=10))
    with pytest.raises(LimitError, match="max_steps is 10"):
        query.range_("1", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), 60)


@pytest.mark.django_db
@pytest.mark.parametrize("expr", ["a", 'sum(rate(a{job="x"}[5m]))', "a + on (job) b", 'a{job!="x"}', "absent(c)"])
def test_what_was_read_once_answers_as_the_store_does(expr):
    at = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    for step in range(5):
        at_ms = round(at.timestamp() * 1000) - 15_000 * step
        for job in "xy":
            scrape = store.Scrape(job, {"job": job}, at_ms, ["a", "b"], np.array([100.0 - step, 7.0]))
            store.append([scrape], now_ms=at_ms)
    select = query.read_once((Matcher("=~", "__name__", "a|b"),), at - timedelta(minutes=5), at)
    once, asked = query.instant(expr, at, select=select), query.instant(expr, at)
    assert dict(zip(once.labels, once.values.tolist(), strict=True)) == dict(
        zip(asked.labels, asked.values.tolist(), strict=True)
    )
    assert once.labels
