"""promtool's unit tests of rules on our engine: the notation, the same verdicts, and random rules against promtool."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from django.core.management import call_command

from alerts.outgoing import Outgoing
from alerts.rulefile.read import read
from alerts.rulefile.series_text import SeriesError, parse_series, parse_values
from alerts.rulefile.unit_read import AlertTest, read_tests
from alerts.rulefile.unit_run import _ready, _Run
from alerts.rulefile.wanted import Defaults, wanted
from alerts.rulefile.yaml_nodes import FileError
from monitoring.promql import STALE_NAN, is_stale

FILES = Path(__file__).resolve().parents[1].parent / "shared" / "promtool-tests"


def verdict(path: Path, *options: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    out, err = StringIO(), StringIO()
    try:
        call_command("test_rules", str(path), *options, stdout=out, stderr=err)
    except SystemExit as ending:
        return int(ending.code), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def write(tmp_path: Path, tests: str, rules: str = "groups: []") -> Path:
    (tmp_path / "rules.yml").write_text(rules)
    path = tmp_path / "tests.yml"
    path.write_text("rule_files: [rules.yml]\n" + tests)
    return path


# -- the notation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2 3", [1, 2, 3]),
        ("0x3", [0, 0, 0, 0]),
        ("1+2x3", [1, 3, 5, 7]),
        ("5-2x2", [5, 3, 1]),
        ("-2+4x1", [-2, 2]),
        ("1 _ _x2 2", [1, None, None, None, 2]),
        ("1e3 -1.5 .5 Inf -Inf", [1000, -1.5, 0.5, float("inf"), float("-inf")]),
        ("", []),
    ],
)
def test_values_are_read_as_promtool_reads_them(text, values):
    assert parse_values(text) == values


def test_a_stale_marker_is_told_from_NaN():
    marker, number = parse_values("stale NaN")
    assert is_stale(np.array([marker, number])).tolist() == [True, False]
    assert is_stale(np.array([STALE_NAN])).all()


@pytest.mark.parametrize("text", ["1+2", "x3", "1x", "abc", "{{schema:1}}", "1x99999999999", "1,2", "stalex3"])
def test_what_is_no_value_is_refused(text):
    with pytest.raises(SeriesError):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("up", {"__name__": "up"}),
        ('up{job="x", i="a b"}', {"__name__": "up", "job": "x", "i": "a b"}),
        ("requests{}", {"__name__": "requests"}),
        ('{label="test"}', {"label": "test"}),
        ("", {}),
    ],
)
def test_series_are_read(text, labels):
    assert parse_series(text).as_dict() == labels


@pytest.mark.parametrize("text", ['up{job="x"', "up{job=~'x'}", "up[5m]", "up == 0", "1up"])
def test_what_is_no_series_is_refused(text):
    with pytest.raises(SeriesError):
        parse_series(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("test: []", "unknown field 'test'"),
        ("tests: [{nam: x}]", "tests[0]: unknown field 'nam'"),
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "misses required attribute alertname"),
        ("tests: [{start_timestamp: yesterday}]", "is no time"),
        ("group_eval_order: [a, a]\ntests: []", "repeated in evaluation order: a"),
        ("tests: [{promql_expr_test: [{expr: x, eval_time: 5}]}]", "no unit"),
    ],
)
def test_a_bad_file_of_tests_is_refused(text, problem):
    with pytest.raises(FileError) as error:
        read_tests(text)
    assert problem in str(error.value)


# -- verdicts ----------------------------------------------------------------------------------------------------------

# What promtool 3.5 says of its own files (cmd/promtool/unittest_test.go and testdata).
VERDICTS = {
    "failing": 1, "rules_run": 1, "rules_run_extrafields": 1, "rules_run_fuzzy": 1, "rules_run_no_fuzzy": 1,
    "no-test-group-interval": 0, "long-period": 0, "at-modifier-test": 0, "negative-offset-test": 0,
    "start-time-test": 0, "bad-input-series": 1, "bad-promql": 1, "bad-rules-error-test": 1,
    "bad-rules-syntax-test": 1,
}  # fmt: skip


def shared(name: str) -> Path:
    path = FILES / f"{name}.yml"
    if not path.exists():
        pytest.skip("promtool's test files are not beside this checkout (../shared/promtool-tests)")
    return path


@pytest.mark.parametrize("options", [(), ("--as-imported",)], ids=["plain", "as imported"])
@pytest.mark.parametrize("name", VERDICTS)
def test_promtools_own_files_get_its_verdict(name, options):
    assert verdict(shared(name), *options)[0] == VERDICTS[name]


def failed(text: str) -> set[str]:
    """Which alerts and expressions a report says failed, and when."""
    return set(re.findall(r"(?:alertname|expr): .*?time: [0-9a-z]+", text))


@pytest.mark.oracle
@pytest.mark.parametrize("name", VERDICTS)
def test_the_installed_promtool_gives_the_same_verdict_about_the_same_tests(name):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    path = shared(name)
    told = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    theirs = told.stdout + told.stderr
    if "not found in type main." in theirs:
        pytest.skip("the installed promtool is older than the file and does not know a field of it")
    if name == "no-test-group-interval" and told.returncode:
        pytest.skip("promtool before 3 takes no interval for none; later ones, as ours, for a minute")
    code, out, err = verdict(path)
    assert (code, failed(out + err)) == (told.returncode, failed(theirs))


def test_unknown_fields_are_ignored_when_asked():
    assert verdict(shared("rules_run_extrafields"), "--ignore-unknown-fields")[0] == 0


@pytest.mark.parametrize(("pattern", "code"), [("correct", 0), ("wrong", 1)])
def test_run_chooses_tests_by_name(pattern, code):
    assert verdict(shared("rules_run"), "--run", pattern)[0] == code


def test_one_unit_in_the_last_place_is_equal_only_when_fuzzy():
    assert verdict(shared("rules_run_fuzzy"), "--run", "correct")[0] == 0
    assert verdict(shared("rules_run_no_fuzzy"), "--run", "correct")[0] == 1


def without_histograms(path: Path) -> dict:
    tests = yaml.safe_load(path.read_text())
    for test in tests["tests"]:
        test["input_series"] = [one for one in test.get("input_series", []) if "histogram" not in one["series"]]
        asked = test.get("promql_expr_test", [])
        test["promql_expr_test"] = [one for one in asked if "histogram" not in one["expr"]]
    return tests


def test_promtools_main_file_passes_without_its_native_histograms(tmp_path):
    tests = without_histograms(shared("unittest")) | {"rule_files": [str(shared("rules"))]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    assert verdict(tmp_path / "tests.yml") == (0, f"Unit Testing:  {tmp_path}/tests.yml\n  SUCCESS\n\n", "")


def test_native_histograms_are_refused_by_name():
    code, _, told = verdict(shared("unittest"))
    assert code == 1
    assert "native histograms are not supported" in told


ALWAYS = "groups: [{name: g, rules: [{alert: A, expr: x > 1, annotations: {v: '{{ $value }}'}}]}]"


def test_a_failure_tells_what_was_expected_and_what_came(tmp_path):
    tests = """tests:
- name: mine
  input_series: [{series: 'x{a="b"}', values: '2 3'}]
  alert_rule_test: [{eval_time: 1m, alertname: A, exp_alerts: []}]
"""
    _, _, told = verdict(write(tmp_path, tests, ALWAYS))
    assert "name: mine,\n    alertname: A, time: 1m, \n        exp:[], \n        got:[" in told
    assert 'Annotations:{v="3"}' in told


def test_external_labels_and_url_reach_the_templates(tmp_path):
    rules = ALWAYS.replace("{{ $value }}", "{{ $externalLabels.dc }} {{ $externalURL }}")
    tests = """tests:
- external_labels: {dc: eu}
  external_url: http://x
  input_series: [{series: x, values: '2'}]
  alert_rule_test: [{eval_time: 0, alertname: A, exp_alerts: [{exp_annotations: {v: eu http://x}}]}]
"""
    assert verdict(write(tmp_path, tests, rules))[0] == 0


def test_groups_run_in_the_order_that_is_asked_for(tmp_path):
    rules = "groups: [{name: b, rules: [{record: y, expr: z + 1}]}, {name: a, rules: [{record: z, expr: x + 1}]}]"
    tests = """group_eval_order: [a, b]
tests:
- input_series: [{series: x, values: '1'}]
  promql_expr_test: [{expr: y, eval_time: 0, exp_samples: [{labels: y, value: 3}]}]
"""
    assert verdict(write(tmp_path, tests, rules))[0] == 0


def test_a_missing_rule_file_is_a_warning_and_a_missing_test_file_a_failure(tmp_path):
    path = write(tmp_path, "tests: []")
    (tmp_path / "rules.yml").unlink()
    assert "WARNING: no file match pattern" in verdict(path)[1]
    assert verdict(tmp_path / "none.yml")[0] == 1


# -- random rules against promtool -------------------------------------------------------------------------------------


def random_rules(dice: random.Random) -> str:
    rules = []
    for number in range(dice.randint(1, 4)):
        labels = {"severity": dice.choice(["warning", "critical", "info", "page", "{{ $labels.h }}"])}
        if dice.random() < 0.3:
            labels["h"] = ""
        rule = {
            "alert": dice.choice([f"A{number}", "A"]),
            "expr": f"{dice.choice(['m', 'sum by (h) (m)', 'm * 2', '-m'])} "
            f"{dice.choice(['>', '>=', '<', '<=', '==', '!='])} {dice.choice([0, 1, 2, -2, 1.5])}",
            "for": f"{dice.choice([0, 1, 2, 3])}m",
            "labels": labels,
            "annotations": {"v": "{{ $value }} on {{ $labels.h }}"},
        }
        if dice.random() < 0.5:
            rule["keep_firing_for"] = f"{dice.choice([1, 2, 4])}m"
        rules.append(rule)
    if dice.random() < 0.5 and len(rules) > 1:  # two severities of one question, which an import joins
        rules[1] = rules[0] | {"labels": rules[0]["labels"] | {"severity": "critical"}, "expr": f"{rules[0]['expr']}5"}
    return yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]})


def random_input(dice: random.Random) -> list[dict[str, str]]:
    # Gaps stay short: of a sample exactly 5 minutes old Prometheus 2 and 3 think differently.
    words = ["0", "1", "2", "3", "-2", "1.5", "NaN", "_ 1", "_x2 2", "stale"]
    return [
        {"series": f'm{{h="{host}",x="{extra}"}}', "values": " ".join(dice.choices(words, k=24))}
        for host, extra in (("a", "1"), ("b", "1"), ("b", "2"))
    ]


def ours(rules: str, series: list[dict[str, str]], splits: bool) -> list[AlertTest] | None:
    """What fires every minute on our engine; None when a rule errs, as when two series become one alert."""
    groups = wanted(read(rules), "f", Defaults(splits=splits))
    names = sorted({rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]})
    file = read_tests(yaml.safe_dump({"tests": [{"input_series": series}]}))
    run = _Run(file.tests[0], [_ready(group, Outgoing()) for group in groups], 60.0, False)
    found = []
    for minute in range(24):
        at = file.tests[0].start.fromtimestamp(minute * 60, file.tests[0].start.tzinfo)
        if run._evaluate(at, minute * 60.0):
            return None
        for name in names:
            told = [one for group in run.groups for rule in group.rules if rule.prepared.rule.name == name
                    for one in rule.firing()]  # fmt: skip
            found.append(AlertTest(name, minute * 60.0, tuple(told)))
    return found


def as_yaml(tests: list[AlertTest]) -> list[dict]:
    return [
        {
            "eval_time": f"{test.eval_seconds:g}s", "alertname": test.alertname,
            "exp_alerts": [
                {"exp_labels": {k: v for k, v in labels if k != "alertname"}, "exp_annotations": dict(texts)}
                for labels, texts in test.alerts
            ],
        }
        for test in tests
    ]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("splits", [False, True], ids=["plain", "as imported"])
@pytest.mark.parametrize("seed", range(25))
def test_random_rules_fire_here_as_in_promtool(tmp_path, seed, splits):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    dice = random.Random(seed)
    rules, series = random_rules(dice), random_input(dice)
    alerts = ours(rules, series, splits)
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": as_yaml(alerts or [])}]
    if alerts is None:
        tests[0]["promql_expr_test"] = [{"expr": "m", "eval_time": "23m"}]
    path = write(tmp_path, yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}), rules)
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True)
    if alerts is None:
        assert re.search("same labelset|duplicate", done.stdout + done.stderr)
    else:
        assert done.returncode == 0, done.stdout + done.stderr
