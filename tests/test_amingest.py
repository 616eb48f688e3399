"""Posted alerts: what is taken, merged, ended and routed, and that a resend costs no row."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction

from alerts import amingest, amlease, dispatch
from alerts.engine.fingerprint import fingerprint
from alerts.models import Alert, Event, Group, GroupAlert, Posting
from monitoring.promql import Labels
from tests import build
from tests.build import T0
from tests.test_bulk import AWKWARD

pytestmark = pytest.mark.django_db


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def post(name="HostDown", *, now=0.0, starts=None, ends=None, **fields):
    labels = {"alertname": name, **fields.pop("labels", {})}
    item = {"labels": labels, **fields}
    for key, value in (("startsAt", starts), ("endsAt", ends)):
        if value is not None:
            item[key] = at(value).isoformat()
    return amingest.ingest([item], at(now))


def test_a_posted_alert_fires_and_joins_its_group():
    build.route()
    outcome = post(labels={"host": "gpu-1"}, annotations={"summary": "gone"}, generatorURL="http://prom/graph")
    row = Alert.objects.get()
    assert (outcome.new, outcome.problems) == (1, [])
    assert (row.state, row.source, row.rule, row.name) == ("firing", "api", None, "HostDown")
    assert (row.labels, row.annotations) == ({"alertname": "HostDown", "host": "gpu-1"}, {"summary": "gone"})
    assert row.fingerprint == fingerprint(Labels.of(row.labels))
    assert row.groups.get().labels == {"alertname": "HostDown"}
    assert list(row.events.values_list("kind", flat=True)) == ["firing"]


def test_each_column_of_a_new_row_is_what_a_blank_alert_and_the_post_say(monkeypatch):
    """The database writes it; a column that it does not know would be empty there and not here."""
    routed = []
    monkeypatch.setattr(dispatch, "route", lambda alerts, _: routed.extend(alerts))
    ends = [{}, {"endsAt": at(9).isoformat()}]
    items = [
        {"labels": {"alertname": text or "empty", "n": str(number), "severity": "x" * 60}, "annotations": {"a": text},
         "generatorURL": text, "startsAt": at(-number).isoformat()} | ends[number % 2]
        for number, text in enumerate([*AWKWARD, "n" * 300])
    ]  # fmt: skip
    items.append({"labels": {"alertname": "Over"}, "startsAt": at(-9).isoformat(), "endsAt": at(-1).isoformat()})
    assert amingest.ingest(items, at(0)).new == len(items) == len(routed)
    for row in routed:
        stored = Alert.objects.get(pk=row.pk)
        names = [field.attname for field in Alert._meta.concrete_fields]
        assert {name: getattr(row, name) for name in names} == {name: getattr(stored, name) for name in names}
    told = set(Event.objects.values_list("alert__name", "kind", "at", "reason"))
    assert told == {(row.name, "firing", at(0), "Posted to the API.") for row in routed if row.name != "Over"} | {
        ("Over", "resolved", at(-1), "Its sender says that it is over.")
    }


def test_without_times_it_starts_now_and_ends_after_the_resolve_timeout():  # AI-2
    post(now=5)
    row = Alert.objects.get()
    assert (row.fired_at, row.ends_at, row.is_timeout) == (at(5), at(305), True)


def test_an_end_without_a_start_is_the_start_too():  # AI-2
    post(now=10, ends=4)
    row = Alert.objects.get()
    assert (row.fired_at, row.resolved_at, row.state) == (at(4), at(4), "resolved")


def test_the_resolve_timeout_comes_from_its_row():
    row = amlease.settings(T0)
    row.resolve_timeout_seconds = 20
    row.save()
    post()
    assert Alert.objects.get().ends_at == at(20)


def test_it_ends_by_itself_with_a_line_in_its_history():  # AI-3
    post(ends=60)
    assert amlease.settle(at(59)) == 0
    assert amlease.settle(at(60)) == 1
    row = Alert.objects.get()
    assert (row.state, row.resolved_at) == ("resolved", at(60))
    assert row.events.filter(kind=Event.Kind.RESOLVED).get().reason == "The end that its sender named has come."


def test_a_resolve_is_told_once():
    build.route()
    post(now=0)
    outcome = post(now=10, ends=9, starts=0)
    assert (outcome.changed, outcome.is_routed) == (1, True)
    assert not post(now=70, ends=9, starts=0).is_routed
    assert Event.objects.filter(kind=Event.Kind.RESOLVED).count() == 1


def test_AL_3_a_resolve_of_an_alert_nobody_knows_joins_its_group():
    build.route()
    post(now=10, starts=0, ends=9)
    assert GroupAlert.objects.get().alert.state == "resolved"


def test_one_that_fires_again_is_a_new_row_in_the_same_group():
    build.route()
    post(now=0)
    post(now=10, starts=0, ends=9)
    post(now=20, starts=20)
    old, new = Alert.objects.order_by("id")
    assert (old.state, new.state, new.fired_at) == ("resolved", "firing", at(20))
    assert Group.objects.count() == 1
    assert GroupAlert.objects.count() == 2


def test_one_that_ended_by_itself_and_is_posted_again_is_a_new_row():
    post(now=0, ends=5)
    post(now=9, ends=30)
    assert list(Alert.objects.order_by("id").values_list("state", "resolved_at")) == [
        ("resolved", at(5)), ("firing", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "start", "end"),
    [
        pytest.param((0, 60), (10, 50), 0, 60, id="inside: earliest start, later end"),
        pytest.param((0, 60), (30, 90), 0, 90, id="overlapping: earliest start, later end"),
        pytest.param((20, 60), (0, 90), 0, 90, id="around: replaced"),
    ],
)
def test_overlapping_posts_are_merged(first, second, start, end):  # AI-7
    post(now=25, starts=first[0], ends=first[1])
    post(now=26, starts=second[0], ends=second[1])
    row = Alert.objects.get()
    last = amlease.ends_of([row.pk], at(26)).get(row.pk, row.ends_at)
    assert (row.fired_at, last) == (at(start), at(end))


def test_a_later_post_replaces_annotations_and_tells_nobody():  # AI-6
    build.route()
    post(now=0, starts=0, annotations={"summary": "one"})
    outcome = post(now=10, starts=0, annotations={"summary": "two"})
    assert (outcome.changed, outcome.new) == (1, 0)
    assert Alert.objects.get().annotations == {"summary": "two"}
    assert Event.objects.count() == 1


def test_a_resend_writes_one_row_a_request_and_touches_no_alert(django_assert_num_queries):
    items = [
        {"labels": {"alertname": "X", "n": str(n)}, "startsAt": at(0).isoformat(), "endsAt": at(240).isoformat()}
        for n in range(50)
    ]
    amingest.ingest(items, at(0))
    amingest.ingest([{**item, "endsAt": at(300).isoformat()} for item in items], at(60))
    before = list(Alert.objects.order_by("id").values())
    with django_assert_num_queries(1):
        outcome = amingest.ingest([{**item, "endsAt": at(360).isoformat()} for item in items], at(120))
    assert (outcome.renewed, outcome.is_routed) == (50, False)
    assert list(Alert.objects.order_by("id").values()) == before
    assert Posting.objects.count() == 2


def test_resent_alerts_go_on_until_the_last_end_that_was_named():
    post(now=0, starts=0, ends=100)
    post(now=50, starts=0, ends=150)
    assert amlease.settle(at(149)) == 0
    assert amlease.settle(at(150)) == 1
    assert Alert.objects.get().resolved_at == at(150)


def test_only_those_end_that_were_not_resent():
    for name in ("Kept", "Dropped"):
        post(name, now=0, starts=0, ends=100)
        post(name, now=50, starts=0, ends=150)
    for now in (100, 140):
        post("Kept", now=now, starts=0, ends=now + 100)
    assert amlease.settle(at(200)) == 1
    assert dict(Alert.objects.values_list("name", "state")) == {"Kept": "firing", "Dropped": "resolved"}
    assert amlease.settle(at(239)) == 0
    assert amlease.settle(at(240)) == 1


def test_it_is_renewed_whatever_the_order_of_its_labels_and_a_later_start():
    post(now=0, starts=0, ends=100, labels={"a": "1", "b": "2"}, annotations={"x": "1", "y": "2"})
    outcome = post(now=50, starts=20, ends=150, labels={"b": "2", "a": "1"}, annotations={"y": "2", "x": "1"})
    assert (outcome.renewed, outcome.changed) == (1, 0)
    assert amlease.settle(at(120)) == 0
    assert Alert.objects.get().fired_at == at(0)


@pytest.mark.parametrize(
    "other",
    [
        {"starts": -10}, {"starts": 70, "ends": 200}, {"annotations": {"summary": "b"}}, {"annotations": {}},
        {"generatorURL": "http://b"}, {"ends": None}, {"labels": {"host": "b"}}, {"labels": {}},
        {"labels": {}, "annotations": {"host": "a", "summary": "a"}},
    ],
)  # fmt: skip
def test_what_differs_in_anything_but_a_later_end_is_looked_at(other):
    first = {"starts": 0, "ends": 100, "labels": {"host": "a"}, "annotations": {"summary": "a"}}
    post(now=0, **first, generatorURL="http://a")
    outcome = post(now=50, **{"generatorURL": "http://a", **first, "ends": 150, **other})
    assert (outcome.renewed, outcome.changed + outcome.new) == (0, 1)


def test_a_resolve_and_a_resend_of_the_same_content_in_one_request_are_both_taken():
    item = {"labels": {"alertname": "X"}, "startsAt": at(0).isoformat()}
    amingest.ingest([{**item, "endsAt": at(100).isoformat()}], at(0))
    outcome = amingest.ingest([{**item, "endsAt": at(end).isoformat()} for end in (150, 40)], at(50))
    assert (outcome.renewed, outcome.changed) == (1, 1)


def test_what_was_posted_before_a_resolve_keeps_nothing_alive():
    post(now=0, starts=0, ends=100)
    post(now=50, starts=0, ends=1000)
    post(now=60, starts=0, ends=59)
    post(now=70, starts=70, ends=80)
    amlease.settle(at(81))
    assert not Alert.objects.filter(state="firing").exists()


def test_one_that_was_resolved_by_hand_is_not_renewed():
    post(now=0, starts=0, ends=100)
    post(now=10, starts=0, ends=110)
    Alert.objects.update(state="resolved", resolved_at=at(20), updated_at=at(20))  # by hand, in another process
    assert post(now=30, starts=0, ends=130).new == 1


def test_an_acknowledged_alert_outlives_the_postings_from_before():
    post(now=0, starts=0, ends=100)
    post(now=50, starts=0, ends=150)
    Alert.objects.update(acknowledged_at=at(60), updated_at=at(60))
    assert amlease.settle(at(160)) == 0  # as if it had come in then: resolve_timeout from the change
    assert amlease.settle(at(400)) == 1


def test_postings_are_put_together():
    for now in range(0, 1200, 60):
        post(now=now, starts=0, ends=now + 240)
        amlease.settle(at(now))
    assert Posting.objects.count() <= 6
    assert Alert.objects.get().state == "firing"


def test_valid_alerts_of_a_request_are_taken_and_the_others_named():  # AI-4
    outcome = amingest.ingest(
        [
            {"labels": {"alertname": "Good"}},
            {"labels": {}},
            {"labels": {"alertname": ""}},
            {"labels": {"bad-name": "x", "alertname": "B"}},
            {"labels": {"alertname": "C"}, "startsAt": at(5).isoformat(), "endsAt": at(0).isoformat()},
            {"labels": {"alertname": "D\x00"}},
        ],
        at(0),
    )
    assert list(Alert.objects.values_list("name", flat=True)) == ["Good"]
    assert outcome.problems[:2] == ["at least one label pair required"] * 2
    assert "invalid label set" in outcome.problems[2]
    assert outcome.problems[3] == "start time must be before end time"
    assert "NUL" in outcome.problems[4]


@pytest.mark.parametrize(
    "item",
    [
        "text",
        {"annotations": {"a": "b"}},
        {"labels": {"a": 1}},
        {"labels": ["a"]},
        {"labels": {"a": "b"}, "annotations": {"a": None}},
        {"labels": {"a": "b"}, "startsAt": "yesterday"},
        {"labels": {"a": "b"}, "endsAt": 12},
        {"labels": {"a": "b"}, "generatorURL": 1},
    ],
)
def test_what_has_not_the_shape_of_an_alert_refuses_the_request(item):
    with pytest.raises(amingest.SchemaError):
        amingest.ingest([{"labels": {"alertname": "Good"}}, item], at(0))
    assert not Alert.objects.exists()


def test_the_same_alert_twice_in_a_request_is_one():
    amingest.ingest([{"labels": {"alertname": "X"}, "annotations": {"n": n}} for n in "12"], at(0))
    assert Alert.objects.get().annotations == {"n": "2"}


def test_long_values_and_any_unicode_are_kept():
    labels = {"alertname": "A" * 5000, "host": "Zagreb ☔ \n\t\"'", "severity": "s" * 300}
    assert amingest.ingest([{"labels": labels, "generatorURL": "http://x/" + "y" * 9000}], at(0)).new == 1
    assert Alert.objects.get().labels == labels


def test_go_s_zero_time_counts_as_none():
    zero = "0001-01-01T00:00:00Z"
    amingest.ingest([{"labels": {"alertname": "X"}, "startsAt": zero, "endsAt": zero}], at(7))
    row = Alert.objects.get()
    assert (row.fired_at, row.is_timeout) == (at(7), True)


def commits_at_once():
    """Whether what this transaction writes is on disk when its commit is answered."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        return cursor.fetchone()[0] == "on"


@pytest.mark.django_db(transaction=True)
def test_only_a_mere_resend_may_be_lost_with_a_crash_of_postgres(monkeypatch):
    one, other = ({"labels": {"alertname": name}, "startsAt": at(0).isoformat()} for name in ("A", "B"))
    durable, store = [], amingest._store
    monkeypatch.setattr(amingest, "_store", lambda *given: durable.append(commits_at_once()) or store(*given))
    amingest.ingest([one], at(0))
    with transaction.atomic():
        amingest.ingest([one], at(60))
        assert not commits_at_once()
    amingest.ingest([one, other], at(120))
    Alert.objects.filter(name="A").update(state="resolved", resolved_at=at(130), updated_at=at(130))
    assert amingest.ingest([one, other], at(180)).new == 1
    assert durable == [True] * 3
    assert commits_at_once(), "the next request of this connection is not to inherit it"
