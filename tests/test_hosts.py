"""Batches into the store, hosts into their rows, silence into `host_up` 0."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from monitoring import hosts, metrics, store
from monitoring.collect.batch import Batch, Message, pack, stamp
from monitoring.models import Host
from monitoring.promql import Matcher

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
AT_MS = round(AT.timestamp() * 1000)
STALE_BITS = 0x7FF0000000000002  # the NaN that Prometheus writes when a series ends
pytestmark = pytest.mark.django_db


def message(host: str = "ana", at_ms: int = AT_MS, skew_ms: int | None = 0, facts=None, **series: float) -> Message:
    """One batch, sent at the time of its reading by a clock `skew_ms` ahead of the broker's (None: no broker clock)."""
    series = series or {"host_up": 1.0}
    values = np.array(list(series.values()), dtype=np.float64)
    batch = Batch(host, at_ms, 15.0, "0.1.0", list(series), values, facts)
    return stamp(pack(batch), at_ms, None if skew_ms is None else at_ms - skew_ms)


def stored(name: str, start: datetime = AT - timedelta(hours=2), end: datetime = AT + timedelta(hours=2)):
    """{host: [(ms, value)]} of a metric, without stale markers."""
    found: dict[str, list[tuple[int, float]]] = {}
    span = round(start.timestamp() * 1000), round(end.timestamp() * 1000)
    for block in store.select([Matcher("=", "__name__", name)], *span):
        for labels, line in zip(block.labels, block.values, strict=True):
            pairs = zip(block.ts.tolist(), line.tolist(), strict=True)
            found.setdefault(dict(labels)["host"], []).extend(pair for pair in pairs if pair[1] == pair[1])
    return {host: sorted(pairs) for host, pairs in found.items()}


def count(counter, **labels: str) -> float:
    return (counter.labels(**labels) if labels else counter)._value.get()


def test_a_batch_is_stored_under_the_name_of_its_host():
    taken = hosts.take([message(host_up=1, cpu_usage_percent=12.5)], AT)
    assert (taken.batches, taken.samples) == (1, 3)
    [block] = store.select([Matcher("=", "__name__", "cpu_usage_percent")], AT_MS, AT_MS)
    assert dict(block.labels[0]) == {
        "__name__": "cpu_usage_percent", "host": "ana", "instance": "ana", "job": "host"
    }  # fmt: skip
    assert block.values.tolist() == [[12.5]]


def test_a_host_appears_with_its_first_batch():
    hosts.take([message(facts={"cores": 8})], AT)
    host = Host.objects.get()
    assert (host.name, host.facts, host.agent_version, host.interval_seconds) == ("ana", {"cores": 8}, "0.1.0", 15)
    assert host.first_seen == host.last_seen == AT
    assert host.expected


def test_a_later_batch_moves_last_seen_and_nothing_else():
    hosts.take([message(facts={"cores": 8})], AT)
    Host.objects.update(expected=False)
    later = AT + timedelta(seconds=15)
    hosts.take([message(at_ms=AT_MS + 15_000)], later)
    host = Host.objects.get()
    assert (host.first_seen, host.last_seen) == (AT, later)
    assert (host.facts, host.expected) == ({"cores": 8}, False)


def test_an_older_batch_does_not_turn_last_seen_back():
    hosts.take([message(at_ms=AT_MS)], AT)
    hosts.take([message(at_ms=AT_MS - 60_000)], AT)
    assert Host.objects.get().last_seen == AT
    assert len(stored("host_up")["ana"]) == 2


def test_a_batch_taken_twice_is_stored_once():
    for _ in range(2):
        hosts.take([message(host_up=1)], AT)
    assert stored("host_up") == {"ana": [(AT_MS, 1)]}
    assert Host.objects.count() == 1


def test_a_batch_twice_in_one_message_is_stored_once():
    hosts.take([message(host_up=1), message(host_up=1)], AT)
    assert stored("host_up") == {"ana": [(AT_MS, 1)]}


def test_a_buffer_of_several_batches_and_hosts_is_stored_in_one_go():
    messages = [message(host, AT_MS - step * 15_000) for step in range(5) for host in ("ana", "bob")]
    taken = hosts.take(messages, AT)
    assert taken.batches == 10
    assert {host: len(pairs) for host, pairs in stored("host_up").items()} == {"ana": 5, "bob": 5}
    assert set(Host.objects.values_list("name", "last_seen")) == {("ana", AT), ("bob", AT)}


def test_the_newest_facts_of_a_buffer_count():
    hosts.take([message(at_ms=AT_MS, facts={"cores": 8}), message(at_ms=AT_MS - 15_000, facts={"cores": 4})], AT)
    assert Host.objects.get().facts == {"cores": 8}


def test_a_bad_batch_is_refused_and_the_good_one_stored():
    before = count(metrics.REFUSED, reason="version")
    taken = hosts.take([message("bob") | {"v": 99}, message("ana")], AT)
    assert (taken.batches, dict(taken.refused)) == (1, {"version": 1})
    assert list(Host.objects.values_list("name", flat=True)) == ["ana"]
    assert count(metrics.REFUSED, reason="version") == before + 1


def test_a_refused_batch_is_logged_with_its_reason(caplog):
    hosts.take([message("bob") | {"v": 99}], AT)
    assert "batch_refused" in caplog.text
    assert "99" in caplog.text


def test_an_unreadable_series_costs_only_itself():
    good, bad = "host_up", 'x{broken="'
    values = np.array([1.0, 2.0])
    taken = hosts.take([stamp(pack(Batch("ana", AT_MS, 15.0, "0.1.0", [good, bad], values)), AT_MS, None)], AT)
    assert stored("host_up") == {"ana": [(AT_MS, 1)]}
    assert sum(taken.dropped.values()) == 1


def test_a_series_that_carries_its_own_host_label_keeps_it_aside():
    values = np.array([1.0])
    batch = Batch("ana", AT_MS, 15.0, "0.1.0", ['pod_up{host="inner"}'], values)
    hosts.take([stamp(pack(batch), AT_MS, None)], AT)
    [block] = store.select([Matcher("=", "__name__", "pod_up")], AT_MS, AT_MS)
    assert dict(block.labels[0])["host"] == "ana"
    assert dict(block.labels[0])["exported_host"] == "inner"


def test_a_small_clock_skew_is_measured_and_left_alone():
    hosts.take([message(skew_ms=1500)], AT)
    assert Host.objects.get().clock_skew_seconds == 1.5
    assert stored("host_clock_skew_seconds") == {"ana": [(AT_MS, 1.5)]}


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000])
def test_a_wrong_clock_does_not_move_the_samples(ahead_ms):
    hosts.take([message(at_ms=AT_MS + ahead_ms, skew_ms=ahead_ms)], AT)
    assert stored("host_up") == {"ana": [(AT_MS, 1)]}
    host = Host.objects.get()
    assert (host.last_seen, host.clock_skew_seconds) == (AT, ahead_ms / 1000)


def test_a_batch_that_waited_in_the_queue_is_no_wrong_clock():
    hosts.take([message(at_ms=AT_MS - 600_000)], AT)
    assert stored("host_up") == {"ana": [(AT_MS - 600_000, 1)]}
    assert Host.objects.get().clock_skew_seconds == 0


def test_without_a_broker_clock_only_a_clock_ahead_is_known():
    hosts.take([message("late", AT_MS - 600_000, skew_ms=None), message("fast", AT_MS + 600_000, skew_ms=None)], AT)
    skews = dict(Host.objects.values_list("name", "clock_skew_seconds"))
    assert skews == {"late": None, "fast": 600}


def test_samples_from_the_future_are_refused():
    future = message(at_ms=AT_MS + 120_000) | {"sent_ms": AT_MS, "broker_ms": AT_MS}
    assert dict(hosts.take([future], AT).refused) == {"future": 1}
    assert not Host.objects.exists()


@pytest.mark.parametrize(("skew", "correction"), [(None, 0), (4999, 0), (-5000, 0), (5400, 5000), (-7600, -8000)])
def test_a_correction_is_whole_seconds_beyond_what_is_tolerated(skew, correction):
    assert hosts.correction_ms(skew) == correction


@pytest.mark.parametrize(
    ("interval", "silent_for", "is_silent"),
    [(15, 60, False), (15, 61, True), (1, 59, False), (1, 61, True), (60, 179, False), (60, 181, True)],
)
def test_a_host_is_silent_after_three_intervals_and_a_minute_at_least(interval, silent_for, is_silent):
    host = Host(interval_seconds=interval, last_seen=AT)
    assert host.is_silent(AT + timedelta(seconds=silent_for)) is is_silent


def test_a_silent_host_is_written_down_as_not_up():
    hosts.take([message("ana"), message("bob")], AT)
    later = AT + timedelta(seconds=90)
    hosts.take([message("bob", AT_MS + 90_000)], later)
    assert hosts.mark_silent(later) == ["ana"]
    assert stored("host_up")["ana"] == [(AT_MS, 1), (AT_MS + 90_000, 0)]


def test_two_who_notice_a_silence_write_it_once():
    hosts.take([message()], AT)
    for seconds in (90, 95, 99):
        hosts.mark_silent(AT + timedelta(seconds=seconds))
    assert stored("host_up")["ana"] == [(AT_MS, 1), (AT_MS + 90_000, 0)]


def test_the_other_series_of_a_silent_host_become_stale():
    hosts.take([message(host_up=1, cpu_usage_percent=50)], AT)
    hosts.mark_silent(AT + timedelta(seconds=90))
    [block] = store.select([Matcher("=", "__name__", "cpu_usage_percent")], AT_MS, AT_MS + 100_000)
    assert block.ts.tolist() == [AT_MS, AT_MS + 90_000]
    assert block.values[0].view(np.uint64).tolist()[1] == STALE_BITS


def test_silence_while_the_portal_did_not_listen_is_no_silence():
    hosts.take([message()], AT)
    back = AT + timedelta(minutes=10)
    assert hosts.mark_silent(back + timedelta(seconds=60), since=back) == []
    assert hosts.mark_silent(back + timedelta(seconds=61), since=back) == ["ana"]


def test_silence_is_not_judged_before_the_queue_is_heard():
    hosts.take([message()], AT)
    at = AT + timedelta(minutes=10)
    assert hosts.mark_silent(at, until=AT + timedelta(seconds=30)) == []
    assert hosts.mark_silent(at, until=AT + timedelta(seconds=90)) == ["ana"]


@pytest.mark.parametrize(
    ("since", "last", "expected"),
    [(None, None, 0), (-600, -15, -600), (-600, -90, -600), (-600, -91, 0), (None, -15, 0)],
)
def test_the_portal_listens_since_its_last_gap(since, last, expected):
    times = [None if seconds is None else AT + timedelta(seconds=seconds) for seconds in (since, last)]
    assert hosts.listening_since(AT, *times) == AT + timedelta(seconds=expected)


def test_a_host_that_nobody_expects_is_left_in_peace():
    hosts.take([message()], AT)
    Host.objects.update(expected=False)
    assert hosts.mark_silent(AT + timedelta(hours=1)) == []


def test_a_host_that_comes_back_is_up_again():
    hosts.take([message()], AT)
    hosts.mark_silent(AT + timedelta(seconds=90))
    back = AT + timedelta(seconds=105)
    hosts.take([message(at_ms=AT_MS + 105_000)], back)
    assert stored("host_up")["ana"][-1] == (AT_MS + 105_000, 1)
    assert hosts.mark_silent(back) == []


@pytest.mark.parametrize(("second", "changes"), [("a1", 0), ("b2", 1), (None, 0)])
def test_a_name_that_comes_from_another_machine_is_noticed(second, changes, caplog):
    before = count(metrics.MACHINE_CHANGES)
    hosts.take([message(facts={"machine": "a1"})], AT)
    hosts.take([message(at_ms=AT_MS + 15_000, facts={"machine": second})], AT)
    assert count(metrics.MACHINE_CHANGES) == before + changes
    assert caplog.text.count("host_is_another_machine") == changes


def test_nothing_in_nothing_out():
    assert hosts.take([], AT) == hosts.Taken()


def test_taking_counts_what_it_took():
    before = count(metrics.SAMPLES)
    hosts.take([message(a=1, b=2)], AT)
    assert count(metrics.SAMPLES) == before + 3


@pytest.mark.django_db(transaction=True)
def test_workers_that_take_the_same_new_hosts_at_once_lose_nothing():
    errors: list[DatabaseError] = []
    names = ["ana", "bob", "cyd"]

    def work(part: int) -> None:
        # Each worker meets the hosts in another order, as messages of a drained queue come.
        turned = names[part % 3 :] + names[: part % 3]
        try:
            for step in range(part, 24, 4):
                hosts.take([message(host, AT_MS - step * 15_000, host_up=1, load=step) for host in turned], AT)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert errors == []
    expected = sorted((AT_MS - step * 15_000, float(step)) for step in range(24))
    assert stored("load") == dict.fromkeys(names, expected)
    assert set(Host.objects.values_list("name", "last_seen")) == {(name, AT) for name in names}


def test_one_batch_needs_few_queries(django_assert_max_num_queries):
    hosts.take([message(a=1, b=2)], AT)
    with django_assert_max_num_queries(12):
        hosts.take([message(at_ms=AT_MS + 15_000, a=1, b=2)], AT)


def test_the_database_refuses_a_host_seen_backwards():
    with pytest.raises(IntegrityError), transaction.atomic():
        Host.objects.create(name="ana", first_seen=AT, last_seen=AT - timedelta(seconds=1))
