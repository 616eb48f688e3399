"""The clauses of Prometheus' semantics that no other file proves by name: groups, scalars, restarts, sending."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from alerts import alert_rows, evaluate, flush, prepared
from alerts.models import Alert, GroupAlert, Notification, Rule, RuleGroup, RuleStatus
from monitoring import query, store
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    """Memories of another test's groups must not meet reused ids."""
    yield
    forget_all()


def forget_all() -> None:
    """What a process that was killed forgets."""
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def run(rule: Rule, at: datetime) -> None:
    evaluate.due(at)
    assert evaluate.evaluate(rule.group_id, at) is not None


def slot(rule: Rule, number: int = 0) -> datetime:
    first = prepared.latest_slot(rule.group, T0)
    return first + timedelta(seconds=rule.group.interval_seconds * number)


def send(at: datetime, value: float, source: str = "target:1", name: str = "load") -> None:
    ms = evaluate.to_ms(at)
    store.append([store.Scrape(source, {"job": "x"}, ms, [store.sample_key(name, {})], np.array([value]))], now_ms=ms)


def end(at: datetime, source: str = "target:1") -> None:
    """What a scrape that failed and a target that was removed write: the end of all its series."""
    store.append([store.Scrape(source, {"job": "x"}, evaluate.to_ms(at), [], np.empty(0))], now_ms=evaluate.to_ms(at))


def test_PR_1_the_same_name_may_be_used_once_in_each_file():
    build.rule_group(name="g", managed_by="a.yml")
    build.rule_group(name="g", managed_by="b.yml")
    with pytest.raises(IntegrityError), transaction.atomic():
        build.rule_group(name="g", managed_by="a.yml")


def test_PR_2_without_a_limit_any_number_of_alerts_is_right():
    rule = build.rule(expr="load > 0")
    at = slot(rule)
    keys = [store.sample_key("load", {"n": str(number)}) for number in range(300)]
    store.append([store.Scrape("target:1", {}, evaluate.to_ms(at), keys, np.ones(300))], now_ms=evaluate.to_ms(at))
    run(rule, at)
    assert RuleGroup.objects.get(pk=rule.group_id).limit == 0
    assert Alert.objects.filter(state="firing").count() == 300


def test_PR_5_a_group_whose_rules_fail_leaves_other_groups_alone():
    broken, sound = build.rule(expr="load + on() load > ("), build.rule("Sound", "vector(1)")
    at = max(slot(broken), slot(sound))
    run(broken, at)
    run(sound, at)
    health = dict(RuleStatus.objects.values_list("rule__name", "health"))
    assert health == {broken.name: RuleStatus.Health.ERROR, "Sound": RuleStatus.Health.OK}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expr": "load >"}, "expr"),
        ({"expr": "load[5m]"}, "expr"),
        ({"name": " "}, "name"),
        ({"kind": "record", "name": "two words"}, "name"),
        ({"kind": "record", "name": "a:b", "annotations": {"summary": "x"}}, "kind"),
        ({"labels": {"__name__": "x"}}, "labels"),
        ({"labels": {"1st": "x"}}, "labels"),
        ({"annotations": {"summary": "{{ $value "}}, "annotations"),
    ],
)
def test_PR_10_a_rule_that_can_never_work_is_refused_when_it_is_saved(fields: dict[str, object], field: str):
    rule = Rule(**({"group": build.rule_group(), "name": "r", "expr": "load"} | fields))
    with pytest.raises(ValidationError) as caught:
        rule.full_clean()
    assert field in caught.value.message_dict


def test_PA_1_a_scalar_is_one_alert_without_labels_of_its_own():
    rule = build.rule(expr="scalar(vector(7))")
    run(rule, slot(rule))
    assert list(Alert.objects.values_list("labels", "value")) == [({"alertname": rule.name}, 7.0)]


def test_PA_15_an_alert_resolves_at_the_evaluation_after_its_target_went():
    rule = build.rule(expr="load > 5")
    first, second = slot(rule), slot(rule, 1)
    send(first, 9)
    run(rule, first)
    end(second)
    run(rule, second)
    assert Alert.objects.get().resolved_at == second


def test_PA_15_without_a_marker_the_last_sample_counts_for_five_minutes():
    rule = build.rule(expr="load > 5")
    first = slot(rule)
    send(first, 9)
    run(rule, first)
    run(rule, slot(rule, 19))
    assert Alert.objects.get().state == "firing"
    run(rule, slot(rule, 21))
    assert Alert.objects.get().state == "resolved"


def test_PT_5_annotations_see_the_labels_of_the_element_not_those_of_the_rule():
    rule = build.rule(
        expr="load > 5", labels={"job": "other"}, annotations={"summary": "{{ $labels.job }}"}
    )  # fmt: skip
    at = slot(rule)
    send(at, 9)
    run(rule, at)
    found = Alert.objects.get()
    assert (found.labels["job"], found.annotations["summary"]) == ("other", "x")


def test_PS_3_after_a_restart_series_are_written_from_the_first_evaluation_since_state_is_in_rows():
    rule = build.rule(expr="vector(1)", hold_seconds=60)
    first, second = slot(rule), slot(rule, 1)
    run(rule, first)
    forget_all()
    run(rule, second)
    since = query.instant("ALERTS_FOR_STATE", second)
    assert (since.values.tolist(), query.instant("ALERTS", second).values.tolist()) == ([first.timestamp()], [1.0])


def test_PF_3_a_firing_alert_keeps_its_start_over_a_restart():
    rule = build.rule(expr="vector(1)")
    first, second = slot(rule), slot(rule, 1)
    run(rule, first)
    forget_all()
    run(rule, second)
    assert list(Alert.objects.values_list("fired_at", "state")) == [(first, "firing")]


def test_PF_4_a_restart_tells_nobody_anything():
    build.integration(build.route().receiver)
    rule = build.rule(expr="vector(1)")
    first = slot(rule)
    run(rule, first)
    flush.flush_due(first + timedelta(minutes=1))
    told = Notification.objects.count()
    forget_all()
    run(rule, slot(rule, 1))
    flush.flush_due(first + timedelta(minutes=10))
    assert (told, Notification.objects.count()) == (1, 1)


def test_PN_4_no_alert_is_dropped_however_many_begin_at_once():
    build.integration(build.route().receiver)
    rule = build.rule(expr="load > 0")
    at, count = slot(rule), 10_001  # Prometheus' queue holds 10,000
    keys = [store.sample_key("load", {"n": str(number)}) for number in range(count)]
    store.append([store.Scrape("target:1", {}, evaluate.to_ms(at), keys, np.ones(count))], now_ms=evaluate.to_ms(at))
    run(rule, at)
    assert GroupAlert.objects.filter(alert__state="firing").count() == count


def test_PN_5_every_way_out_is_told_and_one_that_is_dead_stops_no_other():
    root = build.route()
    dead, sound = build.integration(root.receiver), build.integration(root.receiver, target="#other")
    rule = build.rule(expr="vector(1)")
    at = slot(rule)
    run(rule, at)
    flush.flush_due(at + timedelta(minutes=1))
    Notification.objects.filter(integration=dead).update(state=Notification.State.DEAD)
    build.arrive(at + timedelta(minutes=1))
    states = dict(Notification.objects.values_list("integration", "state"))
    assert states == {dead.pk: Notification.State.DEAD, sound.pk: Notification.State.SENT}


def test_PN_9_what_begins_right_after_a_start_is_told():
    build.integration(build.route().receiver)
    forget_all()
    rule = build.rule(expr="vector(1)")
    at = slot(rule)
    run(rule, at)
    flush.flush_due(at + timedelta(minutes=1))
    assert Notification.objects.get().integration.target == "#alerts"


def test_PN_7_an_alert_names_the_page_of_its_rule():
    rule = build.rule(expr="vector(1)")
    run(rule, slot(rule))
    assert Alert.objects.get().generator_url.endswith(f"/admin/alerts/rule/{rule.pk}/change/")


def test_a_selector_that_rules_of_a_slot_share_is_read_once():
    def statements(rules: int) -> int:
        forget_all()
        group = build.rule_group()
        for number in range(rules):
            made = build.rule(f"R{number}", f"last_over_time(load[4h]) > {number}", group=group)
        with CaptureQueriesContext(connection) as asked:
            run(made, slot(made))
        assert Alert.objects.filter(rule__group=group, state="firing").count() == rules
        return sum(" store_" in one["sql"] for one in asked)

    at = slot(build.rule())
    send(at - timedelta(hours=3), 9)  # older than what processes keep in memory
    alone = statements(1)
    assert 0 < alone == statements(6)
