"""A glance at a due group: what it takes for calm is what the full tick finds nothing to do about."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from alerts import calm, dispatch, flush, policy
from alerts.models import (
    Alert,
    Event,
    Flap,
    Group,
    GroupAlert,
    InhibitRule,
    Integration,
    Notification,
    NotifyLog,
    TimeInterval,
)
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
NIGHT = [{"times": [{"start_time": "00:00", "end_time": "24:00"}]}]


def seconds(n):
    return T0 + timedelta(seconds=n)


@pytest.fixture
def root():
    """A route whose one group has two alerts that have been told."""
    times = {"group_wait_seconds": 10, "group_interval_seconds": 60, "repeat_interval_seconds": 600}
    route = build.route(build.route(), receiver=build.receiver("a"), matchers=['alertname="A"'], **times)
    build.integration(route.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook/x")
    rule = build.rule("A")
    rows = [build.alert("A", T0, labels={"tok": tok, "severity": "warning"}, rule=rule) for tok in "12"]
    dispatch.route(rows, T0)
    dispatch.flush_due(seconds(10))
    build.arrive(seconds(10))
    return route


def first():
    return Alert.objects.order_by("id").first()


def state():
    """Everything that a tick may write."""
    tables = (Group, GroupAlert, NotifyLog, Notification, Event, Flap)
    return {table.__name__: [{**row, "id": None} for row in table.objects.order_by("id").values()] for table in tables}


class _UndoError(Exception):
    pass


def ticked(at, monkeypatch, *, glances):
    """What the rows are after a tick, which is then undone."""
    found = {}
    with monkeypatch.context() as patch:
        if not glances:
            patch.setattr(flush.calm_groups, "words", lambda *_: {})
        try:
            with transaction.atomic():
                found = {"made": len(dispatch.flush_due(at)), **state()}
                raise _UndoError
        except _UndoError:
            return found


def words(at):
    return calm.words(list(Group.objects.filter(next_flush_at__lte=at)), policy.routing(), at)


def inhibited_by(target, *, fires=True):
    InhibitRule.objects.create(
        name="all", source_matchers=['alertname="Down"'], target_matchers=[target], equal=[], is_enabled=True
    )
    if fires:
        build.alert("Down", T0)


def add_interval(root, spec):
    root.mute_intervals.add(TimeInterval.objects.create(name="always", spec=spec))


CALM = {
    "nothing happened": lambda root: None,
    "a silence of another alert": lambda root: build.silence('alertname="B"'),
    "a silence that has ended": lambda root: build.silence('alertname="A"', ends_at=seconds(20)),
    "an inhibition of others": lambda root: inhibited_by('alertname="B"'),
    "an inhibition whose source does not fire": lambda root: inhibited_by('alertname="A"', fires=False),
    "another rule is worse": lambda root: build.alert(
        "A", T0, labels={"severity": "critical"}, severity="critical", rule=build.rule("Worse")
    ),
    "an alert beside the group": lambda root: build.alert("B", T0),
}
BUSY = {
    "one resolved": lambda root: build.resolve(first(), seconds(30)),
    "one is new": lambda root: dispatch.route([build.alert("A", T0, labels={"tok": "3"})], T0),
    "silenced": lambda root: build.silence('alertname="A"'),
    "one silenced by a label that the group does not name": lambda root: build.silence('tok="2"'),
    "inhibited": lambda root: inhibited_by('tok="2"'),
    "muted by time": lambda root: add_interval(root, NIGHT),
    "the rule fires worse for one": lambda root: build.alert(
        "A", T0, labels={"tok": "1", "severity": "critical"}, severity="critical", rule=first().rule
    ),
    "acknowledged": lambda root: Alert.objects.update(acknowledged_at=seconds(20)),
    "one snoozed": lambda root: Alert.objects.filter(pk=first().pk).update(snoozed_until=seconds(900)),
    "a way out that knows nothing": lambda root: build.integration(
        root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook/y"
    ),
    "nobody is told": lambda root: Integration.objects.update(is_enabled=False),
    "a message still waits": lambda root: Notification.objects.update(state="queued"),
    "flapping": lambda root: Flap.objects.create(
        fingerprint=first().fingerprint, name="A", began_at=T0, changes=9, last_change_at=T0
    ),
    "an escalation may begin": lambda root: build.policy("p", (5, root.receiver), takes_matching=True),
    "an earlier life of an alert": lambda root: dispatch.route(
        [build.resolve(build.alert("A", T0, labels=first().labels, source="api"), seconds(20))], T0
    ),
}


@pytest.mark.parametrize("what", CALM)
def test_a_group_is_calm_while_nothing_of_it_changes(root, monkeypatch, what):
    CALM[what](root)
    own = Group.objects.get(labels={"alertname": "A"})
    assert [*words(seconds(70))] == [own.pk]
    assert ticked(seconds(70), monkeypatch, glances=True) == ticked(seconds(70), monkeypatch, glances=False)


@pytest.mark.parametrize("what", BUSY)
def test_whatever_may_matter_has_the_group_read_in_full(root, monkeypatch, what):
    BUSY[what](root)
    assert words(seconds(70)) == {}
    assert ticked(seconds(70), monkeypatch, glances=True) == ticked(seconds(70), monkeypatch, glances=False)


def test_a_group_that_is_due_to_be_repeated_is_not_calm(root):
    for n in range(70, 610, 60):
        assert len(words(seconds(n))) == 1
        assert dispatch.flush_due(seconds(n)) == []
    assert words(seconds(610)) == {}
    assert len(dispatch.flush_due(seconds(610))) == 1


def test_a_calm_tick_says_what_it_found_and_plans_the_next(root):
    dispatch.flush_due(seconds(70))
    row = Group.objects.get()
    assert row.next_flush_at == seconds(130) and row.last_flush_at == seconds(70)
    assert row.last_reason.endswith(": nothing changed since the last message")


def test_a_calm_tick_asks_as_little_however_many_alerts_there_are(root, django_assert_max_num_queries):
    more = [build.alert("A", T0, labels={"tok": f"x{n}"}) for n in range(50)]
    dispatch.route(more, seconds(20))
    dispatch.flush_due(seconds(70))
    build.arrive(seconds(70))
    with django_assert_max_num_queries(24) as asked:
        assert dispatch.flush_due(seconds(130)) == []
    assert not [query for query in asked.captured_queries if '"alerts_alert"."annotations"' in query["sql"]]


def test_an_overdue_posted_alert_is_not_calm(root):
    Alert.objects.filter(pk=first().pk).update(source="api", ends_at=seconds(69))
    assert words(seconds(70)) == {}
    assert timezone.is_aware(first().ends_at)
