"""Evaluation of rule groups on the real store: slots, thresholds, states in rows, what is written back."""

from __future__ import annotations

import dataclasses
import threading
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.db import connection, transaction

from alerts import alert_rows, dispatch, evaluate, prepared
from alerts.models import Alert, Event, Group, GroupClock, Rule, RuleStatus, Threshold
from monitoring import query, store
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
INTERVAL = 15


@pytest.fixture(autouse=True)
def _forget():
    """Each test has its own rows; memories of another test's groups must not meet reused ids."""
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def measure(at: datetime, metric: str = "cpu_usage_percent", **by_host: float) -> None:
    """Store one sample per host."""
    store.append(
        [
            store.Scrape(
                f"host:{host}", {"host": host}, evaluate.to_ms(at), [store.sample_key(metric, {})], np.array([value])
            )
            for host, value in by_host.items()
        ],
        now_ms=evaluate.to_ms(at),
    )


def cpu_rule(hold_seconds: float = 0, **fields) -> Rule:
    rule = build.rule(hold_seconds=hold_seconds, **fields)
    build.threshold(rule, 80, "warning")
    build.threshold(rule, 95, "critical")
    return rule


def run(rule: Rule, at: datetime) -> evaluate.Outcome:
    """Evaluate the group's slot at or after `at`."""
    evaluate.due(at)
    outcome = evaluate.evaluate(rule.group_id, at)
    assert outcome is not None
    return outcome


def slots(rule: Rule, count: int) -> list[datetime]:
    """Planned times of the rule's group from T0 on."""
    first = prepared.latest_slot(rule.group, T0) + timedelta(seconds=INTERVAL)
    return [first + timedelta(seconds=INTERVAL * number) for number in range(count)]


def firing() -> set[tuple[str, str]]:
    """(host, severity) of what fires."""
    rows = Alert.objects.filter(state=Alert.State.FIRING)
    return {(row.labels["host"], row.severity) for row in rows}


def test_each_severity_fires_for_the_series_beyond_its_limit():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=99, ben=85, cleo=20)
    run(rule, at)
    assert firing() == {("ana", "warning"), ("ana", "critical"), ("ben", "warning")}


def test_an_override_row_changes_the_limit_of_its_series_at_the_next_evaluation():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=85, ben=85)
    run(rule, first)
    build.threshold(rule, 90, "warning", selector='{host="ben"}', reason="batch host")
    measure(second, ana=85, ben=85)
    run(rule, second)
    assert firing() == {("ana", "warning")}


def test_the_alert_carries_value_limit_and_row():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    alert = Alert.objects.get()
    row = rule.thresholds.get(severity="warning")
    assert (alert.value, alert.limit_value, alert.threshold_id) == (85, 80, row.pk)


def test_annotations_know_value_threshold_and_labels():
    rule = cpu_rule(annotations={"summary": "{{ $labels.host }}: {{ $value }} over {{ $threshold }} ({{ $severity }})"})
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    assert Alert.objects.get().annotations["summary"] == "ana: 85 over 80 (warning)"


def test_PA_10_a_resolved_alert_tells_its_last_true_value():
    rule = cpu_rule(annotations={"summary": "{{ $labels.host }} at {{ $value }}"})
    for at, value in zip(slots(rule, 3), (85, 91, 20), strict=True):
        measure(at, ana=value)
        run(rule, at)
    assert Alert.objects.get().annotations["summary"] == "ana at 91"


def test_PA_4_pending_becomes_firing_when_the_hold_time_is_over():
    rule = cpu_rule(hold_seconds=30)
    states = []
    for at in slots(rule, 3):
        measure(at, ana=85)
        run(rule, at)
        states.append(Alert.objects.get().state)
    assert states == ["pending", "pending", "firing"]


def test_PA_7_a_pending_alert_that_ends_leaves_an_event_and_no_row():
    rule = cpu_rule(hold_seconds=60)
    for at, value in zip(slots(rule, 2), (85, 20), strict=True):
        measure(at, ana=value)
        run(rule, at)
    assert not Alert.objects.exists()
    dropped = Event.objects.get(kind="dropped")
    assert dropped.rule == rule
    assert "ana" in dropped.reason


def test_PA_9_an_alert_resolves_when_the_value_is_back():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    measure(second, ana=20)
    run(rule, second)
    alert = Alert.objects.get()
    assert (alert.state, alert.resolved_at, alert.resolve_reason) == ("resolved", second, "recovered")


def test_a_second_episode_is_a_row_of_its_own():
    rule = cpu_rule()
    for at, value in zip(slots(rule, 3), (85, 20, 85), strict=True):
        measure(at, ana=value)
        run(rule, at)
    assert list(Alert.objects.order_by("id").values_list("state", flat=True)) == ["resolved", "firing"]


def test_PS_1_alerts_are_written_back_as_series():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    result = query.instant('ALERTS{alertstate="firing", alertname="HostCPUHigh"}', at)
    assert [labels.get("host") for labels in result.labels] == ["ana"]
    since = query.instant("ALERTS_FOR_STATE", at)
    assert since.values.tolist() == [at.timestamp()]
    assert query.instant("ALERTS_VALUE", at).values.tolist() == [85]


def test_PS_2_the_series_of_an_alert_end_with_it():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    measure(second, ana=20)
    run(rule, second)
    assert not query.instant("ALERTS", second).labels


def test_PR_4_a_later_rule_sees_what_an_earlier_one_recorded_in_the_same_slot():
    group = build.rule_group()
    build.rule("host:cpu:double", "cpu_usage_percent * 2", group=group, kind=Rule.Kind.RECORD, position=0)
    rule = build.rule("Doubled", "host:cpu:double > 100", group=group, position=1)
    (at,) = slots(rule, 1)
    measure(at, ana=60)
    run(rule, at)
    assert Alert.objects.get().value == 120
    assert query.instant("host:cpu:double", at).values.tolist() == [120]


def test_a_rule_without_thresholds_is_a_plain_condition():
    rule = build.rule("Plain", "cpu_usage_percent > 80", labels={"severity": "page"})
    (at,) = slots(rule, 1)
    measure(at, ana=85, ben=20)
    run(rule, at)
    alert = Alert.objects.get()
    assert (alert.labels["host"], alert.severity) == ("ana", "page")


def test_PA_13_a_query_error_freezes_the_state_and_is_told():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    Rule.objects.filter(pk=rule.pk).update(expr="cpu_usage_percent + on() cpu_usage_percent", updated_at=second)
    measure(second, ana=20, ben=20)
    outcome = run(rule, second)
    assert outcome.errors == 1
    assert firing() == {("ana", "warning")}
    assert "many" in RuleStatus.objects.get(rule=rule).last_error


def test_PR_4_a_failing_rule_does_not_stop_the_next():
    group = build.rule_group()
    build.rule("Broken", "cpu_usage_percent + on() cpu_usage_percent > 0", group=group, position=0)
    rule = build.rule("Plain", "cpu_usage_percent > 80", group=group, position=1)
    (at,) = slots(rule, 1)
    measure(at, ana=85, ben=85)
    run(rule, at)
    assert {alert.name for alert in Alert.objects.all()} == {"Plain"}


def test_PA_12_a_rule_over_its_limit_loses_its_state():
    rule = cpu_rule(group=build.rule_group(limit=1))
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    assert Alert.objects.count() == 1
    measure(second, ana=85, ben=85)
    run(rule, second)
    assert not Alert.objects.filter(rule=rule).exists()
    assert "exceeded limit of 1 with 2 alerts" in RuleStatus.objects.get(rule=rule).last_error


def test_PA_12_what_fired_ends_when_nobody_has_spoken_for_four_periods():
    rule = cpu_rule(group=build.rule_group(limit=1))
    first, second, third = slots(rule, 3)
    measure(first, ana=85)
    run(rule, first)
    measure(second, ana=85, ben=85)
    run(rule, second)
    left = Alert.objects.get()
    assert (left.state, left.source) == ("firing", Alert.Source.API)
    assert left.ends_at == first + timedelta(minutes=4)
    measure(third, ana=85, ben=20)
    run(rule, third)
    assert Alert.objects.get(rule=rule).fired_at == third


def test_PA_12_what_was_pending_is_forgotten():
    rule = cpu_rule(hold_seconds=600, group=build.rule_group(limit=1))
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    measure(second, ana=85, ben=85)
    run(rule, second)
    assert not Alert.objects.exists()


def test_a_series_that_vanishes_is_no_data_and_not_recovered():
    rule = cpu_rule()
    first = slots(rule, 1)[0]
    measure(first, ana=85)
    run(rule, first)
    later = first + timedelta(minutes=6)
    run(rule, later)
    alert = Alert.objects.get()
    assert alert.state == "firing"
    assert alert.no_data_since is not None
    assert Event.objects.filter(alert=alert, kind="no_data").count() == 1


def test_a_rule_that_matches_nothing_is_flagged():
    rule = cpu_rule(expr="no_such_metric")
    (at,) = slots(rule, 1)
    run(rule, at)
    assert RuleStatus.objects.get(rule=rule).matches_nothing_since == at


def test_PR_6_missed_slots_are_skipped_and_counted():
    rule = cpu_rule()
    times = slots(rule, 5)
    run(rule, times[0])
    outcome = run(rule, times[4])
    assert outcome.slot == times[4]
    assert outcome.missed_slots == 3
    assert GroupClock.objects.get().missed_slots == 3


def test_PR_3_the_evaluation_carries_the_planned_time():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    outcome = run(rule, at + timedelta(seconds=7))
    assert outcome.slot == at
    assert Alert.objects.get().fired_at == at


def test_a_slot_is_evaluated_once():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    run(rule, at)
    assert evaluate.evaluate(rule.group_id, at) is None
    assert evaluate.due(at) == evaluate.Due([], [])


def test_a_shadow_rule_is_evaluated_and_never_told():
    build.route()
    rule = cpu_rule(life=Rule.Life.SHADOW)
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    assert Alert.objects.get().is_shadow
    assert not Group.objects.exists()


@pytest.mark.parametrize("life", [Rule.Life.DRAFT, Rule.Life.DISABLED])
def test_a_draft_or_disabled_rule_is_not_evaluated(life: Rule.Life):
    rule = cpu_rule(life=life)
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    assert run(rule, at).rules == 0


def test_what_fires_joins_a_group_in_the_same_transaction():
    build.route()
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    run(rule, at)
    assert [group.alerts.count() for group in Group.objects.all()] == [1]


def test_an_expired_threshold_stops_counting_and_leaves_an_event():
    rule = build.rule()
    first, second = slots(rule, 2)
    build.threshold(rule, 80, expires_at=second)
    measure(first, ana=85)
    run(rule, first)
    measure(second, ana=85)
    run(rule, second)
    assert not firing()
    assert Event.objects.filter(rule=rule, kind="expired").count() == 1


def test_a_firing_alert_stays_until_the_recovery_value():
    rule = build.rule()
    build.threshold(rule, 80, recover_value=70)
    states = []
    for at, value in zip(slots(rule, 4), (85, 75, 69, 75), strict=True):
        measure(at, ana=value)
        run(rule, at)
        states.append(len(firing()))
    assert states == [1, 1, 0, 0]


def test_an_evaluation_that_changes_nothing_writes_no_alert_row(django_assert_max_num_queries):
    rule = cpu_rule()
    times = slots(rule, 3)
    for at in times[:2]:
        measure(at, ana=85)
        run(rule, at)
    before = Alert.objects.get().updated_at
    measure(times[2], ana=86)
    # Half of them are the store's: in a transaction that never commits it learns its keys anew each time.
    with django_assert_max_num_queries(40):
        run(rule, times[2])
    assert Alert.objects.get().updated_at == before


def test_a_process_that_remembers_nothing_goes_on_where_the_rows_are():
    rule = cpu_rule(hold_seconds=30)
    for at in slots(rule, 3):
        alert_rows._memories.clear()
        prepared._remembered.clear()
        measure(at, ana=85)
        run(rule, at)
    alert = Alert.objects.get()
    assert (alert.state, alert.active_since, alert.fired_at) == ("firing", slots(rule, 1)[0], slots(rule, 3)[2])


def test_a_memory_that_another_worker_overtook_is_not_used():
    rule = cpu_rule()
    first, second, third = slots(rule, 3)
    measure(first, ana=85)
    run(rule, first)
    stale = dict(alert_rows._memories)
    measure(second, ana=20)
    alert_rows._memories.clear()
    run(rule, second)
    alert_rows._memories.clear()
    alert_rows._memories.update(stale)
    measure(third, ana=20)
    run(rule, third)
    assert Alert.objects.get().resolved_at == second
    assert Event.objects.filter(kind="resolved").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_evaluate_a_slot_once():
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    evaluate.due(at)
    outcomes, barrier = [], threading.Barrier(2)

    def work() -> None:
        barrier.wait()
        try:
            outcomes.append(evaluate.evaluate(rule.group_id, at))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome is not None for outcome in outcomes) == 1
    assert Alert.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_failure_while_saving_leaves_the_slot_to_be_evaluated_again(monkeypatch):
    build.route()
    rule = cpu_rule()
    (at,) = slots(rule, 1)
    measure(at, ana=85)
    evaluate.due(at)
    with monkeypatch.context() as broken:
        broken.setattr(dispatch, "route", lambda *_: (_ for _ in ()).throw(RuntimeError("killed here")))
        with pytest.raises(RuntimeError), transaction.atomic():
            evaluate.evaluate(rule.group_id, at)
    assert not Alert.objects.exists()
    assert run(rule, at).transitions == 1
    assert firing() == {("ana", "warning")}


def test_raising_the_limit_in_the_row_resolves_at_the_next_evaluation():
    rule = build.rule()
    row = build.threshold(rule, 80)
    first, second = slots(rule, 2)
    measure(first, ana=85)
    run(rule, first)
    row.value = 90
    row.full_clean()
    row.save()
    measure(second, ana=85)
    run(rule, second)
    assert not firing()
    assert Threshold.objects.get().value == 90


# -- after an outage (PF) ----------------------------------------------------------------------------------------------


def held_up(hold_seconds: float, gap_slots: int) -> tuple[Rule, datetime, datetime, datetime]:
    """A rule pending for two slots, then nothing is evaluated for some: the rule, the first, last and next slot."""
    rule = cpu_rule(hold_seconds=hold_seconds)
    times = slots(rule, 3 + gap_slots)
    for at in times[:2]:
        measure(at, ana=85)
        run(rule, at)
    alert_rows._memories.clear()  # the process that comes back remembers nothing
    measure(times[-1], ana=85)
    return rule, times[0], times[1], times[-1]


def active_since() -> datetime:
    return Alert.objects.get(severity="warning").active_since


def test_pf5_a_gap_shorter_than_two_intervals_goes_on_by_the_old_clock():
    rule, first, _, back = held_up(hold_seconds=900, gap_slots=0)
    run(rule, back)
    assert active_since() == first


def test_pf2_downtime_does_not_count_towards_for():
    rule, first, last, back = held_up(hold_seconds=900, gap_slots=20)
    run(rule, back)
    assert active_since() == first + (back - last)


def test_pf2_a_for_shorter_than_the_grace_period_starts_again():
    rule, _, _, back = held_up(hold_seconds=300, gap_slots=20)
    run(rule, back)
    assert active_since() == back
    assert Alert.objects.get().state == Alert.State.PENDING


def test_pf2_what_had_less_than_the_grace_period_left_fires_a_grace_period_after_the_outage():
    rule, first, last, back = held_up(hold_seconds=610, gap_slots=20)
    run(rule, back)
    assert active_since() == back + timedelta(seconds=600) - timedelta(seconds=610)
    assert first < last < back


def test_pf1_an_outage_beyond_the_tolerance_starts_the_clock_again():
    rule, _, _, back = held_up(hold_seconds=900, gap_slots=300)
    run(rule, back)
    assert active_since() == back


def test_pf3_a_firing_alert_keeps_the_time_it_fired_at_over_an_outage():
    rule = cpu_rule()
    times = slots(rule, 30)
    measure(times[0], ana=85)
    run(rule, times[0])
    alert_rows._memories.clear()
    measure(times[-1], ana=85)
    run(rule, times[-1])
    row = Alert.objects.get()
    assert (row.state, row.fired_at) == (Alert.State.FIRING, times[0])


def test_pf5_a_mended_clock_survives_the_next_restart():
    rule, first, last, back = held_up(hold_seconds=900, gap_slots=20)
    run(rule, back)
    alert_rows._memories.clear()
    following = back + timedelta(seconds=INTERVAL)
    measure(following, ana=85)
    run(rule, following)
    assert active_since() == first + (back - last)


def test_pf5_a_group_that_was_only_late_goes_on_by_its_old_clock():
    rule, first, last, back = held_up(hold_seconds=300, gap_slots=20)
    neighbour = cpu_rule()
    measure(last + timedelta(seconds=150), ben=1)
    run(neighbour, last + timedelta(seconds=150))
    run(rule, back)
    assert Alert.objects.get(rule=rule).active_since == first


def test_a_rule_that_matches_too_many_series_fails_alone_and_says_so(settings):
    rule = cpu_rule()
    small = build.rule("Small", "vector(1)", group=rule.group)
    settings.ENV = dataclasses.replace(settings.ENV, rule_max_series=1)
    (at,) = slots(rule, 1)
    measure(at, ana=99, ben=85)
    outcome = run(rule, at)
    assert outcome.errors == 1
    assert "too many series" in RuleStatus.objects.get(rule=rule).last_error
    assert RuleStatus.objects.get(rule=small).health == RuleStatus.Health.OK


def test_a_rule_after_slow_ones_says_that_the_time_of_the_group_is_used_up_and_keeps_its_alerts(settings):
    rule = cpu_rule()
    first, second = slots(rule, 2)
    measure(first, ana=99)
    run(rule, first)
    settings.ENV = dataclasses.replace(settings.ENV, group_timeout_seconds=0.0)
    measure(second, ana=20)
    run(rule, second)
    assert "used up the group's time" in RuleStatus.objects.get(rule=rule).last_error
    assert firing() == {("ana", "warning"), ("ana", "critical")}


def test_a_rule_that_takes_too_long_is_stopped_and_says_so(settings):
    rule = build.rule(expr="count_over_time(cpu_usage_percent[5m:1s]) > 0")
    (at,) = slots(rule, 1)
    measure(at, ana=99)
    settings.ENV = dataclasses.replace(settings.ENV, rule_timeout_seconds=1e-9)
    run(rule, at)
    assert "took too long" in RuleStatus.objects.get(rule=rule).last_error


def test_a_group_that_was_slow_is_due_apart_from_the_quick_ones():
    quick, slow = cpu_rule(), build.rule("Slow", group=build.rule_group(name="slow"))
    evaluate.due(T0)
    GroupClock.objects.filter(group=slow.group_id).update(last_duration_seconds=5)
    assert evaluate.due(T0 + timedelta(minutes=1)) == evaluate.Due([quick.group_id], [slow.group_id])


def test_the_slots_until_the_next_tick_are_known_ahead():
    rule = cpu_rule()
    first, second = slots(rule, 2)
    run(rule, first)
    assert evaluate.next_slots(first, second) == [second]
    assert evaluate.next_slots(first, second - timedelta(milliseconds=1)) == []
