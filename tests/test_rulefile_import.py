"""Rule files of Prometheus imported: what becomes of each rule, of its alerts, and of what the file has no more."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command

from alerts import alert_rows, evaluate, prepared
from alerts.models import Alert, GlobalConfig, Rule, RuleGroup, Threshold
from alerts.rulefile.plan import Kind, defaults, import_rules, plan
from alerts.rulefile.read import read
from alerts.rulefile.yaml_nodes import FileError
from monitoring import query
from tests import build
from tests.build import T0
from tests.test_evaluate import measure

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
pytestmark = pytest.mark.django_db

CPU = """
groups:
- name: hosts
  interval: 15s
  rules:
  - alert: CPU
    expr: cpu_usage_percent > 80
    for: 30s
    labels: {severity: warning, team: ml}
    annotations: {summary: "{{ $labels.host }} at {{ $value }}"}
"""


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def take(text: str, owner: str = "rules.yml", splits: bool = True, at=T0):
    return import_rules(read(text), owner, defaults(splits), at)


def rules_text(*rules: str, group: str = "name: g, interval: 15s") -> str:
    return f"groups:\n- {{{group}, rules: [{', '.join(rules)}]}}\n"


def run(at) -> None:
    evaluate.due(at)
    for group in RuleGroup.objects.all():
        evaluate.evaluate(group.pk, at)


def times(count: int, start=T0) -> list:
    group = RuleGroup.objects.get()
    first = prepared.latest_slot(group, start) + timedelta(seconds=15)
    return [first + timedelta(seconds=15 * number) for number in range(count)]


# -- what becomes of a rule --------------------------------------------------------------------------------------------


def test_a_condition_becomes_a_value_and_a_threshold():
    take(CPU)
    rule, row = Rule.objects.get(), Threshold.objects.get()
    assert (rule.expr, rule.hold_seconds, rule.labels) == ("cpu_usage_percent", 30, {"team": "ml"})
    assert (row.severity, row.operator, row.value, row.selector) == ("warning", ">", 80, "")


def test_an_imported_rule_resolves_when_its_series_vanishes_as_in_prometheus():
    take(CPU)
    assert Rule.objects.get().no_data == Rule.NoData.RESOLVE


def test_plain_keeps_the_condition_whole():
    take(CPU, splits=False)
    assert Rule.objects.get().expr == "cpu_usage_percent > 80"
    assert not Threshold.objects.exists()


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("{alert: A, expr: up == 0}", "no label severity"),
        ("{alert: A, expr: up == 0, labels: {severity: page}}", "'page' is none of"),
        ("{alert: A, expr: up == 0 or x > 1, labels: {severity: warning}}", "does not compare"),
        ("{alert: A, expr: up > bool 0, labels: {severity: warning}}", "does not compare"),
        ("{alert: A, expr: up < Inf, labels: {severity: warning}}", "not finite"),
        ("{alert: A, expr: up == 0, labels: {severity: '{{ $labels.x }}'}}", "is none of"),
    ],
)
def test_a_rule_that_cannot_be_split_says_why(rule, why):
    (change,) = plan(read(rules_text(rule)), "f", defaults()).changes
    assert why in change.why_whole


def test_a_limit_written_first_is_mirrored():
    take(rules_text("{alert: A, expr: 80 < cpu_usage_percent, labels: {severity: warning}}"))
    assert (Rule.objects.get().expr, Threshold.objects.get().operator) == ("cpu_usage_percent", ">")


def test_two_severities_of_one_question_become_one_rule_with_two_rows():
    take(
        rules_text(
            "{alert: A, expr: x > 80, for: 1m, labels: {severity: warning}}",
            "{alert: A, expr: x > 95, for: 0s, labels: {severity: critical}}",
        )
    )
    rule = Rule.objects.get()
    rows = {row.severity: (row.value, row.hold_seconds) for row in rule.thresholds.all()}
    assert rows == {"warning": (80, None), "critical": (95, 0)}
    assert not rule.mutes_lower


def test_rules_of_one_name_that_ask_different_things_stay_several():
    take(
        rules_text(
            "{alert: A, expr: x > 80, labels: {severity: warning}}",
            "{alert: A, expr: y > 95, labels: {severity: warning}}",
        )
    )
    assert list(Rule.objects.order_by("position").values_list("name", "expr")) == [("A", "x"), ("A", "y")]


def test_rules_of_a_group_with_a_limit_are_not_joined():
    take(
        rules_text(
            "{alert: A, expr: x > 80, labels: {severity: warning}}",
            "{alert: A, expr: x > 95, labels: {severity: critical}}",
            group="name: g, limit: 2",
        )
    )
    assert Rule.objects.count() == 2


def test_labels_of_a_group_lie_under_those_of_its_rules():
    take("groups: [{name: g, labels: {team: ml, tier: one}, rules: [{alert: A, expr: up == 0, labels: {team: web}}]}]")
    assert Rule.objects.get().labels == {"team": "web", "tier": "one"}


def test_recording_rules_keep_their_place_among_the_others():
    take(rules_text("{alert: A, expr: up == 0}", "{record: 'a:b', expr: sum(x)}", "{alert: B, expr: 'a:b > 1'}"))
    assert list(Rule.objects.order_by("position").values_list("name", "kind")) == [
        ("A", "alert"), ("a:b", "record"), ("B", "alert"),
    ]  # fmt: skip


def test_a_group_that_names_no_interval_takes_the_global_one():
    GlobalConfig.objects.create(id=1, evaluation_interval_seconds=7, query_offset_seconds=3)
    take("groups: [{name: g, rules: []}]")
    group = RuleGroup.objects.get()
    assert (group.interval_seconds, group.query_offset_seconds) == (7, 3)


@pytest.mark.parametrize(
    "text",
    [
        "[{alert: A, expr: up == 0}, {record: 'a:b', expr: sum(up)}]",
        "{alert: A, expr: up == 0}",
        "{name: g, rules: [{alert: A, expr: up == 0}]}",
        "[{name: g, rules: [{alert: A, expr: up == 0}]}]",
        "{apiVersion: v1, kind: PrometheusRule, metadata: {name: x}, "
        "spec: {groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]}}",
    ],
)
def test_a_list_one_rule_one_group_and_the_operators_object_are_read_too(text):
    take(text)
    assert Rule.objects.filter(name="A").exists()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("groups: [{name: g, ownership: x, rules: []}]", "unknown field 'ownership' of a group"),
        (
            "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    fro: 5m\n",
            "line 6: groups[0].rules[0]: unknown",
        ),
        (rules_text("{alert: A, expr: 'load > > 80'}"), "column 8"),
        (rules_text("{alert: A, expr: up, annotations: {x: '{{ $labels.a '}}"), "annotations: x:"),
        (rules_text("{alert: A, record: b, expr: up}"), "both record and alert"),
        (rules_text("{expr: up}"), 'needs "alert" or "record"'),
        (rules_text("{alert: A}"), "needs an expr"),
        (rules_text("{record: 'a b', expr: up}"), "named like a metric"),
        (rules_text("{record: a, expr: up, for: 5m}"), "cannot have this"),
        (rules_text("{alert: A, expr: up, labels: {__name__: x}}"), "cannot be a name here"),
        (rules_text("{alert: A, expr: up, for: 5 minutes}"), "is not a duration"),
        ("groups: [{name: g, rules: []}, {name: g, rules: []}]", "in this file already"),
        ("groups: [{rules: []}]", "no name"),
        ("groups: [{name: g, limit: -1, rules: []}]", "whole number"),
        ("groups: [", "column 1: "),
        ("a: 1\n---\nb: 2\n", "second document"),
        (rules_text("{alert: A, expr: 'up[5m]'}"), "needs an instant vector"),
        ("groups: [{name: g, interval: 100d, rules: []}]", "less than or equal"),
    ],
)
def test_a_file_that_prometheus_would_refuse_is_refused_with_its_place(text, problem):
    with pytest.raises(FileError) as error:
        take(text)
    assert problem in str(error.value)


def test_PR_9_one_bad_rule_keeps_everything_as_it_was():
    take(CPU)
    with pytest.raises(FileError):
        take(rules_text("{alert: New, expr: up == 0}", "{alert: A, expr: 'load > > 80'}"))
    assert list(Rule.objects.values_list("name", flat=True)) == ["CPU"]


def test_every_problem_of_a_file_is_named_at_once():
    with pytest.raises(FileError) as error:
        take(rules_text("{alert: A, expr: 'a ('}", "{alert: B, expr: 'b +'}"))
    assert len(error.value.problems) == 2


# -- importing again ---------------------------------------------------------------------------------------------------


def test_the_same_file_twice_changes_nothing():
    take(CPU)
    before = Rule.objects.get().revision
    made = take(CPU)
    assert made.is_empty
    assert Rule.objects.get().revision == before


def test_a_changed_limit_is_updated_in_place():
    take(CPU)
    key = Threshold.objects.get().pk
    made = take(CPU.replace("> 80", ">= 85"))
    assert made.changes[0].details == ["warning > 80 → >= 85"]
    row = Threshold.objects.get()
    assert (row.pk, row.operator, row.value) == (key, ">=", 85)


def test_limits_that_staff_added_for_some_series_survive():
    take(CPU)
    build.threshold(Rule.objects.get(), 95, selector='{host="ben"}', reason="batch host")
    take(CPU.replace("> 80", "> 85"))
    assert sorted(Threshold.objects.values_list("value", flat=True)) == [85, 95]


def test_rules_of_other_files_and_of_staff_are_left_alone():
    build.rule(name="Own")
    take(CPU, owner="a.yml")
    take(CPU, owner="b.yml")
    take("groups: []", owner="a.yml")
    assert sorted(Rule.objects.values_list("name", "group__managed_by")) == [("CPU", "b.yml"), ("Own", "")]


def test_rules_may_change_places():
    one, two = "{alert: A, expr: x > 1}", "{alert: A, expr: y > 1}"
    take(rules_text(one, two))
    take(rules_text(two, one))
    assert list(Rule.objects.order_by("position").values_list("expr", flat=True)) == ["y > 1", "x > 1"]


def test_PR_7_a_changed_expression_for_and_annotation_keep_the_alert():
    take(CPU)
    first, second, third, fourth = times(4)
    for at in (first, second, third):
        measure(at, ana=90)
        run(at)
    fired = Alert.objects.get(state="firing").fired_at
    take(CPU.replace("> 80", "> 85").replace("30s", "1m").replace(" at ", " is at "), at=third)
    measure(fourth, ana=90)
    run(fourth)
    alert = Alert.objects.get()
    assert (alert.state, alert.fired_at) == ("firing", fired)


def test_PR_7_a_rule_that_is_split_later_keeps_its_alert():
    take(CPU, splits=False)
    first, second, third, fourth = times(4)
    for at in (first, second, third):
        measure(at, ana=90)
        run(at)
    take(CPU, at=third)
    measure(fourth, ana=90)
    run(fourth)
    alert = Alert.objects.get()
    assert (alert.state, alert.limit_value) == ("firing", 80)


TWO = [
    "{alert: A, expr: cpu_usage_percent > 80, labels: {severity: warning}}",
    "{alert: A, expr: cpu_usage_percent > 90, labels: {severity: critical}}",
]


def test_PR_7_alerts_follow_their_severity_when_a_joined_rule_comes_apart():
    take(rules_text(*TWO))
    first, second = times(2)
    measure(first, ana=95)
    run(first)
    fired = dict(Alert.objects.values_list("severity", "fired_at"))
    take(rules_text(TWO[0], TWO[1].replace("}}", "}, annotations: {summary: worse}}")), at=first)
    measure(second, ana=95)
    run(second)
    assert Rule.objects.count() == 2
    assert dict(Alert.objects.values_list("severity", "fired_at")) == fired
    assert {alert.severity: alert.rule.annotations for alert in Alert.objects.all()}["critical"] == {"summary": "worse"}


def test_PR_8_a_deleted_rule_sends_no_resolve_and_ends_when_its_time_runs_out():
    take(rules_text("{alert: Gone, expr: cpu_usage_percent > 80}", "{alert: Stays, expr: cpu_usage_percent > 70}"))
    (at,) = times(1)
    measure(at, ana=90)
    run(at)
    take(rules_text("{alert: Stays, expr: cpu_usage_percent > 70}"), at=at + timedelta(seconds=3))
    gone = Alert.objects.get(name="Gone")
    assert (gone.state, gone.source, gone.rule) == ("firing", "api", None)
    assert gone.ends_at == at + timedelta(minutes=4)
    assert Alert.objects.get(name="Stays").rule is not None


def test_PR_8_a_deleted_rule_is_seen_no_more_in_ALERTS():
    take(rules_text("{alert: Gone, expr: cpu_usage_percent > 80}"))
    first, second = times(2)
    measure(first, ana=90)
    run(first)
    take("groups: []", at=first + timedelta(seconds=3))
    assert not RuleGroup.objects.exists()
    assert len(query.instant("ALERTS", second).labels) == 0


def test_a_pending_alert_of_a_deleted_rule_is_forgotten():
    take(CPU)
    (at,) = times(1)
    measure(at, ana=90)
    run(at)
    take("groups: []", at=at)
    assert not Alert.objects.exists()


def test_two_rules_of_one_name_both_fire():
    take(rules_text("{alert: A, expr: cpu_usage_percent > 80}", "{alert: A, expr: cpu_usage_percent < 20}"))
    (at,) = times(1)
    measure(at, ana=90, ben=10)
    run(at)
    assert {alert.labels["host"] for alert in Alert.objects.filter(state="firing")} == {"ana", "ben"}


# -- the command -------------------------------------------------------------------------------------------------------


def command(*arguments: str, name: str = "import_rules") -> str:
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_tells_and_changes_nothing(tmp_path):
    path = tmp_path / "rules.yml"
    path.write_text(CPU)
    told = command(str(path), "--dry-run")
    assert "new  hosts  CPU   warning > 80" in told
    assert "there is no series named cpu_usage_percent" in told
    assert not Rule.objects.exists()


def test_a_bad_file_among_good_ones_changes_nothing(tmp_path):
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text(CPU)
    bad.write_text("groups: [{name: g, rulez: []}]")
    with pytest.raises(CommandError, match="unknown field 'rulez'"):
        command(str(good), str(bad))
    assert not Rule.objects.exists()


def test_detach_gives_the_groups_to_staff(tmp_path):
    path = tmp_path / "rules.yml"
    path.write_text(CPU)
    build.rule_group(name="hosts")
    command(str(path))
    command("--detach", str(path))
    assert sorted(RuleGroup.objects.values_list("name", "managed_by")) == [("hosts", ""), ("hosts (rules.yml)", "")]


# -- the seed and the bench --------------------------------------------------------------------------------------------


def seed_rules() -> str:
    guide = SHARED / "seed" / "monitoring-guide.md"
    if not guide.exists():
        pytest.skip("the monitoring guide is not beside this checkout (../shared/seed)")
    block = guide.read_text().split("# prometheus/rules.yml")[1].split("```")[0]
    return "\n".join(line.removeprefix("   ") for line in block.splitlines())


def test_the_guides_rules_import_and_what_never_fires_is_flagged_with_its_rewrite(tmp_path):
    path = tmp_path / "rules.yml"
    path.write_text(seed_rules())
    measure(T0, metric="http_request_duration_seconds_bucket", ana=1)
    measure(T0, metric="http_requests_total", ana=1)
    measure(T0, metric="memory_usage_bytes", ana=1)
    told = command(str(path), "--dry-run")
    assert "http_request_duration_seconds is a histogram" in told
    assert "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))" in told
    assert "there is no series named memory_total_bytes" in told
    command(str(path))
    assert {rule.name: rule.thresholds.count() for rule in Rule.objects.all()} == {
        "HighErrorRate": 1, "HighLatency": 1, "HighResourceUsage": 0,
    }  # fmt: skip


SCENARIOS = sorted((SHARED / "oracle" / "scenarios").glob("[RX]*.yaml"))


@pytest.mark.parametrize("path", SCENARIOS or [None], ids=lambda path: path.stem if path else "none")
def test_the_rules_of_the_bench_import(path):
    if path is None:
        pytest.skip("the scenarios of the alert bench are not beside this checkout (../shared/oracle/scenarios)")
    text = yaml.safe_load(path.read_text()).get("rules")
    if not text:
        pytest.skip("this scenario has no rules")
    made = take(text)
    assert made.count(Kind.NEW) == Rule.objects.count() > 0
