"""Rules and thresholds written as plain rules of Prometheus, and proven to fire for the same series."""

from __future__ import annotations

import random
import shutil
import subprocess
from datetime import timedelta
from io import StringIO

import pytest
import yaml
from django.core.management import CommandError, call_command

from alerts.engine.thresholds import Operator
from alerts.engine.thresholds import Threshold as Limit
from alerts.models import Rule, RuleGroup, Threshold
from alerts.outgoing import Outgoing
from alerts.prepared import limit_of
from alerts.rulefile.guards import conditions
from alerts.rulefile.plan import defaults, import_rules
from alerts.rulefile.read import read
from alerts.rulefile.unit_read import AlertTest, read_tests
from alerts.rulefile.unit_run import _ready, _Run
from alerts.rulefile.wanted import Defaults, WantedGroup, WantedRule, wanted
from alerts.rulefile.write import export, plain_rules
from monitoring import promql
from tests import build
from tests.build import T0


def limit(number: int, value: float, selector: str = "", **fields) -> Limit:
    operator = fields.pop("operator", Operator.GREATER)
    matchers = promql.parse_matchers(selector)
    return Limit(number, "warning", operator, value, matchers=matchers, created_seq=number, **fields)


def texts(expr: str, *rows: Limit) -> list[str]:
    return [one.text for one in conditions(expr, rows)]


# -- conditions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "upper", "text"),
    [
        (">", None, "x > 80"), ("<=", None, "x <= 80"), ("==", None, "x == 80"), ("!=", None, "x != 80"),
        ("outside", 90, "x < 80 or x > 90"), ("inside", 90, "(x >= 80) <= 90"),
    ],
)  # fmt: skip
def test_one_limit_for_all_is_a_comparison(operator, upper, text):
    assert texts("x", limit(1, 80, operator=Operator(operator), upper=upper)) == [text]


def test_an_override_guards_the_selectors():
    assert texts("x", limit(1, 80), limit(2, 90, '{host="ben"}')) == ['x{host="ben"} > 90', 'x{host!="ben"} > 80']


def test_rows_that_never_win_are_left_out():
    assert texts("x", limit(1, 80, '{host="ben"}'), limit(2, 90, priority=5)) == ["x > 90"]


@pytest.mark.parametrize(
    ("expr", "guarded"),
    [
        ("rate(x[5m])", 'rate(x{host="ben"}[5m]) > 90'),
        ("sum by (host) (x)", 'sum by (host) (x{host="ben"}) > 90'),
        ("100 * a / b", '(100 * a{host="ben"} / b{host="ben"}) > 90'),
        ("max_over_time(rate(x[5m])[1h:1m])", 'max_over_time(rate(x{host="ben"}[5m])[1h:1m]) > 90'),
    ],
)
def test_a_guard_goes_in_where_it_decides_about_the_result(expr, guarded):
    assert texts(expr, limit(1, 80), limit(2, 90, '{host="ben"}'))[0] == guarded


@pytest.mark.parametrize(
    ("expr", "selector"),
    [
        ("sum by (zone) (x)", '{host="ben"}'),
        ('label_replace(x, "host", "$1", "h", "(.*)")', '{host="ben"}'),
        ("a * on (zone) group_left b", '{host="ben"}'),
        ("x or y", '{host="ben"}'),
        ("x", '{host="ben",zone="a"}'),
    ],
)
def test_elsewhere_a_marker_label_tells_the_series_apart(expr, selector):
    found = texts(expr, limit(1, 80), limit(2, 90, selector))
    assert all("aq_limit" in text for text in found)
    assert len(found) == 2


# -- rules -------------------------------------------------------------------------------------------------------------


def test_each_severity_is_a_rule_and_templates_know_their_limit():
    rule = Rule(name="A", expr="x", annotations={"s": "{{ $value }} over {{ $threshold }}"}, hold_seconds=60)
    rows = [limit(1, 80), Limit(2, "critical", Operator.GREATER, 95, hold_seconds=0)]
    first, second = plain_rules(rule, rows, T0)
    assert first.fields == {
        "alert": "A", "expr": "x > 80", "for": "1m", "labels": {"severity": "warning"},
        "annotations": {"s": "{{ $threshold := 80.0 }}{{ $value }} over {{ $threshold }}"},
    }  # fmt: skip
    assert (second.fields["expr"], "for" in second.fields) == ("x > 95", False)


def test_what_prometheus_cannot_say_stands_beside_the_rule():
    rows = [limit(1, 80, recover_value=70.0, reason="because", expires_at=T0 + timedelta(days=1))]
    (plain,) = plain_rules(Rule(name="A", expr="x"), rows, T0)
    told = "\n".join(plain.comments)
    for words in ("because", "resolves at 70", "holds until 2026-03-05", "without data the portal keeps"):
        assert words in told


def test_an_expired_row_is_left_out():
    assert plain_rules(Rule(name="A", expr="x"), [limit(1, 80, expires_at=T0)], T0) == []


@pytest.mark.django_db
def test_what_was_imported_comes_out_as_it_was():
    text = yaml.safe_dump({"groups": [{
        "name": "g", "interval": "15s", "limit": 7, "query_offset": "5s", "rules": [
            {"alert": "A", "expr": "x > 80", "for": "5m", "keep_firing_for": "1m",
             "labels": {"severity": "warning", "team": "ml"}, "annotations": {"s": "two\nlines"}},
            {"alert": "B", "expr": "y == 1 or z > 2", "labels": {"severity": "page"}},
            {"record": "a:b", "expr": "sum(x)", "labels": {"k": "v"}},
        ],
    }]})  # fmt: skip
    import_rules(read(text), "f", defaults(), T0)
    written = yaml.safe_load(export(list(RuleGroup.objects.all()), T0))
    wanted_groups = yaml.safe_load(text)["groups"]
    assert written["groups"] == [
        {**wanted_groups[0], "rules": [{**one, **({"labels": one["labels"]} if "labels" in one else {})}
                                       for one in wanted_groups[0]["rules"]]}
    ]  # fmt: skip


@pytest.mark.django_db
def test_importing_an_export_and_exporting_again_changes_nothing():
    build.threshold(build.rule(), 80)
    once = export(list(RuleGroup.objects.all()), T0)
    import_rules(read(once), "f", defaults(), T0)
    again = export(list(RuleGroup.objects.filter(managed_by="f")), T0)
    assert yaml.safe_load(again) == yaml.safe_load(once)


@pytest.mark.django_db
def test_groups_of_one_name_get_names_of_their_own():
    for owner in ("a", "b"):
        build.rule(group=build.rule_group(name="g", managed_by=owner))
    written = yaml.safe_load(export(list(RuleGroup.objects.order_by("pk")), T0))
    assert [group["name"] for group in written["groups"]] == ["g", "g 2"]


@pytest.mark.django_db
def test_only_live_rules_of_enabled_groups_are_written_unless_asked():
    build.rule(name="Live")
    build.rule(name="Quiet", life=Rule.Life.SHADOW)
    build.rule(name="Off", group=build.rule_group(is_enabled=False))
    assert names() == {"Live"}
    assert names("--all") == {"Live", "Quiet", "Off"}


def names(*options: str) -> set[str]:
    out = StringIO()
    call_command("export_rules", *options, stdout=out)
    return {rule["alert"] for group in yaml.safe_load(out.getvalue())["groups"] for rule in group["rules"]}


@pytest.mark.django_db
def test_a_group_that_is_not_there_is_named():
    with pytest.raises(CommandError, match="no enabled group named nosuch"):
        call_command("export_rules", "nosuch")


# -- the same series as our thresholds ---------------------------------------------------------------------------------

VALUES = ["m", "sum by (host, zone) (m)", "m * 2", 'label_replace(m, "host", "$1", "host", "(.*)")', "-m", "m or m"]
SELECTORS = [
    '{host="ana"}', '{host=~"a.*|b.*"}', '{host!="ana"}', '{host="ana",zone="x"}', '{zone!~"x|",host="b.n"}',
    '{zone=""}', '{zone="y"}', '{host=~".+",zone!="y"}',
]  # fmt: skip


def random_rule(dice: random.Random) -> WantedRule:
    rule = Rule(
        name="A", expr=dice.choice(VALUES), no_data=Rule.NoData.RESOLVE, hold_seconds=dice.choice([0, 60]),
        keep_firing_seconds=dice.choice([0, 120]), labels={"team": "ml"},
        annotations={"v": "{{ $value }} at {{ $threshold }} on {{ $labels.host }} {{ $severity }}"},
    )  # fmt: skip
    rows = [random_row(dice, number) for number in range(dice.randint(1, 7))]
    return WantedRule(rule, rows)


def random_row(dice: random.Random, number: int) -> Threshold:
    operator = dice.choice([*Threshold.Operator.values, ">", "<"])
    value = dice.choice([-2, 0, 1, 2, 2.5])
    return Threshold(
        pk=number + 1, severity=dice.choice(["warning", "critical"]), operator=operator, value=value,
        upper=value + dice.choice([1, 2]) if operator in ("outside", "inside") else None,
        selector=dice.choice(["", *SELECTORS]), priority=dice.choice([0, 0, 0, 1]), reason="because",
        hold_seconds=dice.choice([None, None, 120]), is_enabled=dice.random() > 0.1,
    )  # fmt: skip


def random_input(dice: random.Random) -> list[dict[str, str]]:
    words = ["0", "1", "2", "3", "-2", "2.5", "NaN", "_ 1", "stale"]
    series = ['m{host="ana",zone="x"}', 'm{host="ana",zone="y"}', 'm{host="ben"}', 'm{host="b.n",zone="y"}', "m"]
    return [{"series": name, "values": " ".join(dice.choices(words, k=16))} for name in series]


def fired(groups: list[WantedGroup], series: list[dict[str, str]]) -> list[AlertTest]:
    file = read_tests(yaml.safe_dump({"tests": [{"input_series": series}]}))
    run = _Run(file.tests[0], [_ready(group, Outgoing()) for group in groups], 60.0, False)
    found = []
    for minute in range(16):
        problems = run._evaluate(file.tests[0].start + timedelta(minutes=minute), minute * 60.0)
        assert not problems
        told = [one for group in run.groups for rule in group.rules for one in rule.firing()]
        told.sort(key=lambda one: one[0].pairs)
        found.append(AlertTest("A", minute * 60.0, tuple(told)))
    return found


def exported(one: WantedRule) -> str:
    plain = plain_rules(one.rule, [limit_of(row) for row in one.limits], T0)
    return yaml.safe_dump({"groups": [{"name": "g", "rules": [dict(rule.fields) for rule in plain]}]})


@pytest.mark.parametrize("splits", [False, True], ids=["plain", "as imported"])
@pytest.mark.parametrize("seed", range(40))
def test_exported_rules_fire_for_the_same_series_on_our_engine(seed, splits):
    dice = random.Random(seed)
    one, series = random_rule(dice), random_input(dice)
    ours = fired([WantedGroup(RuleGroup(name="g"), [one])], series)
    theirs = fired(wanted(read(exported(one)), "f", Defaults(splits=splits)), series)
    assert theirs == ours


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(40))
def test_exported_rules_fire_for_the_same_series_in_promtool(tmp_path, seed):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    dice = random.Random(seed)
    one, series = random_rule(dice), random_input(dice)
    ours = fired([WantedGroup(RuleGroup(name="g"), [one])], series)
    (tmp_path / "rules.yml").write_text(exported(one))
    expected = [
        {
            "eval_time": f"{test.eval_seconds:g}s", "alertname": "A",
            "exp_alerts": [
                {"exp_labels": {k: v for k, v in labels if k != "alertname"}, "exp_annotations": dict(notes)}
                for labels, notes in test.alerts
            ],
        }
        for test in ours
    ]  # fmt: skip
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": expected}]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
