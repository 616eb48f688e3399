"""The walk from a value to a message: it stops at the first stage that said no, and says why."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from alerts import alert_rows, dispatch, evaluate, prepared, records, why
from alerts.engine.fingerprint import fingerprint
from alerts.engine.stages import Verdict
from alerts.models import Alert, Integration, Notification, Rule, RuleGroup, Threshold
from monitoring.promql import Labels
from tests import build
from tests.test_evaluate import cpu_rule, measure, run, slots

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


@pytest.fixture
def past(monkeypatch: pytest.MonkeyPatch):
    """History rows get the time they are made at; the tests' moments lie before that, so it is moved back."""

    def move() -> None:
        early = datetime(2020, 1, 1, tzinfo=evaluate.datetime.now().astimezone().tzinfo)
        for model in (Rule, Threshold, RuleGroup):
            model.history.update(history_date=early)

    return move


def identity(host: str, severity: str = "warning") -> Labels:
    return Labels.of({"alertname": "HostCPUHigh", "host": host, "severity": severity})


def walk(rule: Rule, host: str, when: datetime, at: datetime | None = None, severity: str = "warning") -> why.Walk:
    return why.walk(why.Case(rule, identity(host, severity), when, at or when))


def last(found: why.Walk) -> tuple[str, Verdict]:
    return found.stages[-1].name, found.stages[-1].verdict


def test_a_value_below_its_limit_stops_at_the_limit_and_names_the_row(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=42)
    run(rule, at)
    found = walk(rule, "ana", at)
    assert last(found) == ("Limit", Verdict.STOP)
    row = Threshold.objects.get(rule=rule, severity="warning")
    assert "42 is not above 80" in found.stages[-1].words.replace("%", "")
    assert ("Row", str(row.pk)) in found.stages[-1].facts


def test_a_series_without_a_sample_stops_at_the_query(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=42)
    run(rule, at)
    found = walk(rule, "ben", at)
    assert last(found) == ("Query", Verdict.STOP)
    assert "had no value" in found.stages[-1].words


def test_a_series_that_the_record_does_not_name_is_asked_again_from_the_samples(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, far=3, **{f"h{number}": 79.0 for number in range(20)})
    run(rule, at)
    found = walk(rule, "far", at)
    assert last(found) == ("Limit", Verdict.STOP)
    assert "by the samples stored now" in found.stages[-2].words


def test_the_limit_of_that_time_counts_and_not_the_one_of_now(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=42)
    run(rule, at)
    Threshold.objects.filter(rule=rule).update(value=10)
    assert "not above 80" in walk(rule, "ana", at).stages[-1].words.replace("%", "")


def test_a_rule_that_matches_nothing_says_so(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    run(rule, at)
    assert "matched nothing" in walk(rule, "ana", at).stages[-1].words


def test_a_rule_that_failed_shows_its_error(past):
    rule = build.rule(expr="cpu_usage_percent * on() group_left() cpu_usage_percent")
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=1, ben=2)
    run(rule, at)
    found = walk(rule, "ana", at)
    assert last(found) == ("Query", Verdict.STOP)
    assert "duplicate series" in found.stages[-1].words


def test_an_evaluator_that_stood_still_is_the_first_red_step(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=99)
    found = walk(rule, "ana", at)
    assert last(found) == ("Evaluation", Verdict.STOP)
    measure(at + timedelta(seconds=1), ben=1)
    run(rule, at)
    later = walk(rule, "ben", at + timedelta(minutes=10))
    assert last(later) == ("Evaluation", Verdict.STOP)
    assert "stood still" in later.stages[-1].words


def test_a_switched_off_group_and_a_disabled_rule_say_so(past):
    rule = cpu_rule()
    rule.group.is_enabled = False
    rule.group.save()
    past()
    (at,) = slots(rule, 1)
    assert "switched off" in walk(rule, "ana", at).stages[-1].words
    rule.life = Rule.Life.DISABLED
    rule.save()
    past()
    assert "disabled" in walk(rule, "ana", at).stages[-1].words


def test_a_moment_of_before_the_records_says_how_long_they_are_kept(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    found = walk(rule, "ana", at, at + records.KEPT + timedelta(hours=1))
    assert "two days" in found.stages[-1].words


def test_a_pending_alert_waits_and_says_how_long(past):
    rule = cpu_rule(hold_seconds=60)
    past()
    first, second = slots(rule, 2)
    for at in (first, second):
        measure(at, ana=85)
        run(rule, at)
    found = walk(rule, "ana", second)
    assert last(found) == ("State", Verdict.WAIT)
    assert "15s of 1m" in found.stages[-1].words


def test_a_shadow_rule_tells_nobody(past):
    rule = cpu_rule(life=Rule.Life.SHADOW)
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    assert last(walk(rule, "ana", at)) == ("Rule's life", Verdict.STOP)


@pytest.fixture
def told():
    """A root route of 30 s with a webhook behind it."""
    root = build.route()
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook/x")


def fire(rule: Rule, host: str = "ana", value: float = 85) -> datetime:
    (at,) = slots(rule, 1)
    measure(at, **{host: value})
    run(rule, at)
    return at


def test_a_group_that_waits_for_others_says_until_when(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule)
    (way,) = walk(rule, "ana", at).ways
    assert (way.stages[-1].name, way.stages[-1].verdict) == ("Group", Verdict.WAIT)
    assert "group_wait" in way.stages[-1].words


def test_a_message_that_arrived_walks_to_the_end(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule)
    dispatch.flush_due(at + timedelta(seconds=30))
    build.arrive(at + timedelta(seconds=30))
    (way,) = walk(rule, "ana", at + timedelta(seconds=40)).ways
    assert [stage.verdict for stage in way.stages] == [Verdict.OK] * 4
    assert way.stages[-1].name == "Delivery"


def test_a_message_without_a_way_out_stops_at_the_delivery(past):
    build.route()
    rule = cpu_rule()
    past()
    at = fire(rule)
    dispatch.flush_due(at + timedelta(seconds=30))
    (way,) = walk(rule, "ana", at + timedelta(seconds=40)).ways
    assert (way.stages[-1].name, way.stages[-1].verdict) == ("Delivery", Verdict.STOP)
    assert "no way out" in way.stages[-1].words


def test_a_dead_letter_shows_the_answer(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule)
    dispatch.flush_due(at + timedelta(seconds=30))
    Notification.objects.update(state=Notification.State.DEAD, last_error="no_service")
    (way,) = walk(rule, "ana", at + timedelta(seconds=40)).ways
    assert way.stages[-1].verdict == Verdict.STOP
    assert "no_service" in way.stages[-1].words


def test_a_silence_of_that_time_is_named_although_it_is_over_now(told, past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    build.silence("host=ana", starts_at=at - timedelta(minutes=1), ends_at=at + timedelta(minutes=5))
    fire(rule)
    dispatch.flush_due(at + timedelta(seconds=30))
    (way,) = walk(rule, "ana", at + timedelta(seconds=40), at + timedelta(hours=1)).ways
    assert (way.stages[-1].name, way.stages[-1].verdict) == ("Muting", Verdict.STOP)
    assert "Silenced by ana: planned work" in way.stages[-1].words


def test_the_lower_severity_says_that_the_higher_one_fires(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule, value=99)
    dispatch.flush_due(at + timedelta(seconds=30))
    (way,) = walk(rule, "ana", at + timedelta(seconds=40)).ways
    assert (way.stages[-1].name, way.stages[-1].verdict) == ("Muting", Verdict.STOP)
    assert "already fires as critical" in way.stages[-1].words


def test_a_rule_whose_severities_do_not_mute_each_other_is_not_said_to_be_muted(told, past):
    rule = cpu_rule(mutes_lower=False)
    past()
    at = fire(rule, value=99)
    dispatch.flush_due(at + timedelta(seconds=30))
    build.arrive(at + timedelta(seconds=30))
    for asked_at in (at + timedelta(seconds=40), at + timedelta(hours=1)):
        (way,) = walk(rule, "ana", at + timedelta(seconds=40), asked_at).ways
        assert (way.stages[0].name, way.stages[0].verdict) == ("Muting", Verdict.OK)


def test_an_alert_told_under_external_labels_is_found_by_its_identity(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule)
    row = Alert.objects.get(severity="warning")
    row.identity, row.labels = row.labels, {**row.labels, "cluster": "eu"}
    row.fingerprint = fingerprint(Labels.of(row.labels))
    row.save()
    found = why.walk(why.Case(rule, Labels.of(row.labels), at, at))
    assert [stage.name for stage in found.stages][:4] == ["Evaluation", "Query", "Limit", "State"]


def test_a_posted_alert_needs_no_rule(told):
    row = build.alert("Posted", source=Alert.Source.API)
    dispatch.route([row], build.T0)
    found = why.walk(why.Case(None, Labels.of(row.labels), build.T0, build.T0))
    assert [stage.name for stage in found.stages] == ["State", "Rule's life", "Route"]
    assert found.ways[0].stages[-1].verdict == Verdict.WAIT


def test_routes_that_were_edited_since_are_a_caveat(told, past):
    rule = cpu_rule()
    past()
    at = fire(rule)
    assert "routes" in walk(rule, "ana", at).caveats[0]


def test_the_series_to_choose_from_are_those_that_were_active_and_those_near_a_limit(past):
    rule = cpu_rule()
    past()
    (at,) = slots(rule, 1)
    measure(at, ana=85, ben=79)
    run(rule, at)
    assert why.series_of(rule, at)[0] == identity("ana")
    assert identity("ben") in why.series_of(rule, at)
