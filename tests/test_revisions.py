"""The history of a rule with its thresholds, the way back, and one change to many rules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.test import Client
from django.urls import reverse

from alerts import actions, evaluate, revisions, rule_edit
from alerts.models import Alert, Rule, RuleRevision, Threshold
from alerts.prepared import latest_slot
from alerts.rule_edit import MapSeverity, Multiply, SetLabel, SetLife
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def eva() -> User:
    return member("Editor", "eva")


def kept(rule: Rule, words: str = "made") -> RuleRevision | None:
    return revisions.keep(Rule.objects.get(pk=rule.pk), None, T0, words)


def changes(first: RuleRevision, second: RuleRevision) -> list[tuple[str, str, str, str]]:
    found = revisions.differences(first.content, second.content)
    return [(one.where, one.field, one.old, one.new) for one in found]


def test_a_save_that_changes_nothing_leaves_no_revision():
    rule = build.rule()
    assert kept(rule) is not None
    assert kept(rule) is None
    rule.save()
    assert kept(rule) is None


def test_a_changed_threshold_is_a_revision_of_the_rule_and_moves_its_number():
    rule = build.rule()
    row = build.threshold(rule, 90)
    first = kept(rule)
    row.value = 95
    row.save()
    second = kept(rule)
    assert second.number > first.number
    assert Rule.objects.get(pk=rule.pk).revision == second.number
    assert changes(first, second) == [(f"threshold {row}", "limit", "90", "95")]


def test_differences_name_rows_that_came_and_went():
    rule = build.rule()
    old = build.threshold(rule, 90)
    first = kept(rule)
    text = f"threshold {old}"
    old.delete()
    build.threshold(rule, 99, "critical")
    second = kept(rule)
    assert {(where, was, now) for where, _, was, now in changes(first, second)} == {
        (text, "removed", ""),
        ("threshold critical above 99", "", "added"),
    }


def test_a_revision_comes_back_with_its_rows_under_their_old_numbers(eva: User):
    rule = build.rule()
    row = build.threshold(rule, 90)
    first = kept(rule)
    Rule.objects.get(pk=rule.pk)
    rule.expr = "memory_usage_percent"
    rule.save()
    row_id = row.pk
    row.delete()
    build.threshold(rule, 50, "critical")
    kept(rule)
    made = rule_edit.restore(first, eva, T0 + timedelta(minutes=1))
    rule.refresh_from_db()
    assert rule.expr == "cpu_usage_percent"
    assert [(one.pk, one.value, one.severity) for one in rule.thresholds.all()] == [(row_id, 90, "warning")]
    assert made.content == first.content and made.words == f"revision {first.number} restored"
    assert rule.revision == made.number


def test_bringing_back_what_is_there_already_does_nothing(eva: User):
    rule = build.rule()
    assert rule_edit.restore(kept(rule), eva, T0) is None


def test_a_revision_whose_group_is_gone_is_refused_and_nothing_changes(eva: User):
    rule = build.rule()
    first = kept(rule)
    other = build.rule_group()
    gone = rule.group
    rule.group = other
    rule.expr = "up"
    rule.save()
    gone.delete()
    with pytest.raises(ValidationError, match="group was deleted"):
        rule_edit.restore(first, eva, T0)
    rule.refresh_from_db()
    assert rule.expr == "up"


def test_an_old_name_that_comes_back_ends_the_alerts_of_the_new_one(eva: User):
    rule = build.rule()
    first = kept(rule)
    rule.name = "Renamed"
    rule.save()
    kept(rule)
    build.alert("Renamed", rule=rule)
    rule_edit.restore(first, eva, T0)
    assert not Alert.objects.filter(state=Alert.State.FIRING).exists()


def test_who_may_not_change_rules_brings_nothing_back():
    rule = build.rule()
    with pytest.raises(PermissionDenied):
        rule_edit.restore(kept(rule), member("Viewer"), T0)


def test_every_door_leaves_a_revision(eva: User):
    rule = build.rule()
    build.threshold(rule, 90)
    revisions.keep_missing(T0)
    actions.set_life([rule], Rule.Life.SHADOW, eva, T0)
    row = rule.thresholds.get()
    limit = actions.Limit(value=95, reason="new fans", row_id=row.pk)
    actions.set_threshold(rule, eva, limit, T0)
    copy = actions.duplicate(rule, eva, T0)
    assert [one.words[:10] for one in RuleRevision.objects.filter(rule=rule).order_by("number")] == [
        "as the por", "live → sha", f"{'warning above 90 → '}"[:10],
    ]  # fmt: skip
    assert RuleRevision.objects.filter(rule=copy).count() == 1


def test_a_limit_that_a_file_owns_is_not_changed_from_slack(eva: User):
    rule = build.rule(group=build.rule_group(managed_by="rules.yml"))
    row = build.threshold(rule, 90)
    with pytest.raises(actions.Refused, match=r"rules\.yml owns this limit"):
        actions.set_threshold(rule, eva, actions.Limit(value=95, reason="x", row_id=row.pk), T0)
    some = actions.Limit(value=95, reason="x", severity="warning", operator=">", selector='{host="ana"}')
    assert actions.set_threshold(rule, eva, some, T0).pk


# -- many at once ------------------------------------------------------------------------------------------------------


def two_rules() -> list[Rule]:
    found = [build.rule("A", labels={"team": "ml"}), build.rule("B")]
    for rule in found:
        build.threshold(rule, 0.1, "warning")
        build.threshold(rule, 10, "critical", recover_value=8)
        kept(rule)
    return found


def seen(rules: list[Rule]) -> dict[int, int]:
    return dict(Rule.objects.filter(pk__in=[rule.pk for rule in rules]).values_list("pk", "revision"))


def test_limits_are_multiplied_with_their_recovery_and_without_dust(eva: User):
    rules = two_rules()
    assert rule_edit.apply(seen(rules), Multiply(3), eva, T0) == 2
    rows = Threshold.objects.filter(rule=rules[0]).order_by("value")
    assert [(row.value, row.recover_value) for row in rows] == [(0.3, None), (30, 24)]


def test_one_severity_alone_can_be_multiplied(eva: User):
    rules = two_rules()
    rule_edit.apply(seen(rules), Multiply(2, "critical"), eva, T0)
    assert sorted(Threshold.objects.filter(rule=rules[1]).values_list("value", flat=True)) == [0.1, 20]


def test_severities_can_be_swapped_at_once(eva: User):
    rules = two_rules()
    rule_edit.apply(seen(rules), MapSeverity({"warning": "critical", "critical": "warning"}), eva, T0)
    rows = Threshold.objects.filter(rule=rules[0]).order_by("value")
    assert [row.severity for row in rows] == ["critical", "warning"]


def test_a_label_is_set_and_removed(eva: User):
    rules = two_rules()
    rule_edit.apply(seen(rules), SetLabel("team", "infra"), eva, T0)
    assert [rule.labels["team"] for rule in Rule.objects.order_by("name")] == ["infra", "infra"]
    rule_edit.apply(seen(rules), SetLabel("team", ""), eva, T0)
    assert [rule.labels for rule in Rule.objects.order_by("name")] == [{}, {}]


def test_what_is_planned_changes_nothing_yet(eva: User):
    rules = two_rules()
    planned = rule_edit.plan(Rule.objects.order_by("name"), Multiply(2))
    assert [len(one.changes) for one in planned] == [3, 3]
    assert Threshold.objects.filter(rule=rules[0], value=0.1).exists()


def test_a_rule_that_changed_since_it_was_shown_refuses_the_whole_change(eva: User):
    rules = two_rules()
    shown = seen(rules)
    rules[1].expr = "up"
    rules[1].save()
    with pytest.raises(ValidationError, match="B was changed meanwhile"):
        rule_edit.apply(shown, Multiply(2), eva, T0)
    assert Threshold.objects.filter(rule=rules[0], value=0.1).exists()


def test_one_faulty_rule_refuses_the_whole_change(eva: User):
    rules = two_rules()
    build.threshold(rules[1], 1e308, "info")
    with pytest.raises(ValidationError, match="B:"):
        rule_edit.apply(seen(rules), Multiply(1e10), eva, T0)
    assert Threshold.objects.filter(rule=rules[0], value=0.1).exists()


def test_what_a_file_owns_keeps_its_words_and_may_be_switched_off(eva: User):
    rule = build.rule(group=build.rule_group(managed_by="rules.yml"))
    build.threshold(rule, 1)
    with pytest.raises(ValidationError, match=r"rules\.yml"):
        rule_edit.apply(seen([rule]), Multiply(2), eva, T0)
    assert rule_edit.apply(seen([rule]), SetLife(Rule.Life.DISABLED), eva, T0) == 1


def test_a_bulk_change_to_shadow_ends_what_fired(eva: User):
    rules = two_rules()
    build.alert("A", rule=rules[0])
    rule_edit.apply(seen(rules), SetLife(Rule.Life.SHADOW), eva, T0)
    assert not Alert.objects.filter(state=Alert.State.FIRING).exists()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("multiply", {"factor": "0"}), ("multiply", {"factor": "nan"}), ("multiply", {"factor": "x"}),
        ("label", {"name": "alertname", "value": "x"}), ("label", {"name": "a b", "value": "x"}),
        ("severity", {}), ("severity", {"severity_info": "fatal"}), ("life", {"life": "dead"}), ("other", {}),
    ],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_refused_in_words(kind: str, given: dict[str, str]):
    with pytest.raises(ValidationError):
        rule_edit.operation_of(kind, given)


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_history_page_shows_what_changed_and_brings_it_back(eva: User):
    rule = build.rule()
    row = build.threshold(rule, 90)
    first = kept(rule)
    row.value = 95
    row.save()
    kept(rule, "too many")
    client = signed_in(eva)
    url = reverse("alerts:rule_history", args=[rule.pk])
    html = client.get(url).content.decode()
    assert "<del>90</del>" in html and "<ins>95</ins>" in html and "too many" in html
    assert client.post(url, {"restore": first.number}).status_code == 302
    row.refresh_from_db()
    assert row.value == 90
    assert client.post(url, {"restore": "x"}).status_code == 404


def test_the_admin_history_leads_to_it_and_the_form_keeps_a_revision(eva: User):
    rule = build.rule()
    answer = signed_in(eva).get(reverse("admin:alerts_rule_history", args=[rule.pk]))
    assert answer.headers["Location"] == reverse("alerts:rule_history", args=[rule.pk])


def test_an_alert_is_stamped_with_the_revision_that_raised_it_and_says_when_the_rule_changed_since(eva: User):
    rule = build.rule("Always", "vector(1)")
    at = latest_slot(rule.group, T0)
    evaluate.due(at)
    evaluate.evaluate(rule.group_id, at)
    alert = Alert.objects.get()
    page = signed_in(eva).get(reverse("alerts:alert", args=[alert.pk])).content.decode()
    assert alert.rule_revision == rule.revision and "changed since" not in page
    rule.hold_seconds = 60
    rule.save()
    page = signed_in(eva).get(reverse("alerts:alert", args=[alert.pk])).content.decode()
    assert f"revision {alert.rule_revision}</a>" in page and f"to revision {rule.revision}." in page


def test_the_bulk_page_shows_the_differences_and_applies_what_it_showed(eva: User):
    rules = two_rules()
    client = signed_in(eva)
    url, ids = reverse("alerts:rules_bulk"), ",".join(str(rule.pk) for rule in rules)
    html = client.get(url, {"ids": ids, "kind": "multiply", "factor": "2"}).content.decode()
    assert "<ins>0.2</ins>" in html and "Change 2 rules" in html
    given = {"ids": ids, "kind": "multiply", "factor": "2", "severity": ""}
    given["seen"] = [f"{pk}:{revision}" for pk, revision in seen(rules).items()]
    assert client.post(url, given).status_code == 302
    assert Threshold.objects.filter(value=0.2).count() == 2
    assert client.post(url, given).status_code == 422


def test_who_may_only_look_sees_the_history_and_changes_nothing():
    rule = build.rule()
    kept(rule)
    viewer: Client = signed_in(member("Viewer"))
    html = viewer.get(reverse("alerts:rule_history", args=[rule.pk])).content.decode()
    assert "Bring this back" not in html
    assert viewer.get(reverse("alerts:rules_bulk"), {"ids": str(rule.pk)}).status_code == 403
