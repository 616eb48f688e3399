"""A prometheus.yml taken over: targets, external labels, relabelling of alerts, and what cannot be taken."""

from __future__ import annotations

import shutil
import subprocess
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from alerts import alert_rows, evaluate, prepared
from alerts.engine.relabel import RelabelError, outgoing, parse_relabel, relabel
from alerts.models import Alert, GlobalConfig, Rule
from monitoring.models import Target
from monitoring.promql import Labels
from tests import build
from tests.test_evaluate import firing, measure, run, slots

BENCH = """
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 5s, external_labels: {region: eu, replica: r0}}
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}]
  alertmanagers: [{api_version: v2, static_configs: [{targets: ['127.0.0.1:9093']}]}]
rule_files: [rules.yml]
scrape_configs:
- job_name: app
  honor_labels: true
  static_configs: [{targets: ['127.0.0.1:9100'], labels: {instance: app, env: prod}}]
"""


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def take(tmp_path, text: str, *options: str) -> str:
    path, out = tmp_path / "prometheus.yml", StringIO()
    path.write_text(text)
    call_command("import_prometheus", str(path), *options, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_static_target_comes_with_its_times_and_labels(tmp_path):
    told = take(tmp_path, BENCH)
    target = Target.objects.get()
    assert (target.job, target.instance_label, target.url) == ("app", "app", "http://127.0.0.1:9100/metrics")
    assert (target.interval_seconds, target.timeout_seconds, target.honor_labels) == (1, 1, True)
    assert target.labels == {"env": "prod"}
    assert "not used  alerting.alertmanagers" in told


@pytest.mark.django_db
def test_a_job_says_path_scheme_and_parameters(tmp_path):
    text = "scrape_configs: [{job_name: j, scheme: https, metrics_path: /m, params: {a: [x, y]}, "
    take(tmp_path, text + "static_configs: [{targets: ['h:1']}]}]")
    assert Target.objects.get().url == "https://h:1/m?a=x&a=y"


@pytest.mark.django_db
def test_importing_again_changes_and_removes_what_the_file_changed(tmp_path):
    take(tmp_path, BENCH.replace("'127.0.0.1:9100'], labels: {instance: app,", "'h:1', 'h:2'], labels: {"))
    told = take(tmp_path, BENCH.replace("'127.0.0.1:9100'], labels: {instance: app,", "'h:2'], labels: {extra: x,"))
    assert list(Target.objects.values_list("instance_label", "labels")) == [("h:2", {"extra": "x", "env": "prod"})]
    assert "removed   target app h:1" in told


@pytest.mark.django_db
def test_unsupported_parts_are_named_one_by_one_and_stop_the_import(tmp_path):
    text = BENCH + "  basic_auth: {username: u}\n- job_name: k8s\n  kubernetes_sd_configs: [{role: pod}]\n"
    with pytest.raises(CommandError) as error:
        take(tmp_path, text + "remote_write: [{url: http://x}]\n")
    for part in ("scrape_configs[0].basic_auth", "scrape_configs[1].kubernetes_sd_configs", "remote_write"):
        assert part in str(error.value)
    assert not Target.objects.exists()


@pytest.mark.django_db
def test_partial_imports_the_rest(tmp_path):
    told = take(tmp_path, BENCH + "remote_write: [{url: http://x}]\n", "--partial")
    assert Target.objects.count() == 1
    assert "left out  line 11: remote_write" in told


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("job_name: app", "job_name: ''", "no job_name"),
        ("scrape_timeout: 1s", "scrape_timeout: 2s", "longer than"),
        ("action: labeldrop", "action: drop_it", "unknown action"),
        ("region: eu", "'a-b': eu", "no label name"),
        ("honor_labels: true", "honor_labels: maybe", "neither true nor false"),
        ("'127.0.0.1:9100'", "'http://h/'", "no host:port"),
        ("'127.0.0.1:9100'", "'h:1', 'h:2'", "is there twice"),
        ("env: prod", "model_name: x", "set by the portal"),
        ("evaluation_interval: 5s", "evaluation_interval: 5", "no unit"),
    ],
)
def test_a_bad_file_is_refused_and_changes_nothing(tmp_path, old, new, problem):
    with pytest.raises(CommandError, match=problem):
        take(tmp_path, BENCH.replace(old, new))
    assert not Target.objects.exists()
    assert not GlobalConfig.objects.exists()


@pytest.mark.django_db
def test_the_rule_files_come_along_when_asked(tmp_path):
    (tmp_path / "rules.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]")
    take(tmp_path, BENCH, "--with-rules")
    assert Rule.objects.get().group.interval_seconds == 5


# -- what it does to alerts --------------------------------------------------------------------------------------------


def fire(labels: dict[str, str] | None = None, configs: list | None = None, **fields) -> Alert:
    GlobalConfig.objects.create(id=1, external_labels=labels or {}, alert_relabel_configs=configs or [])
    rule = build.rule(expr="cpu_usage_percent > 80", **fields)
    (at,) = slots(rule, 1)
    measure(at, ana=90)
    run(rule, at)
    return Alert.objects.get()


@pytest.mark.django_db
def test_PN_6_external_labels_are_added_where_the_alert_has_none_of_that_name():
    alert = fire({"region": "eu", "host": "other"})
    assert (alert.labels["region"], alert.labels["host"]) == ("eu", "ana")
    assert alert.identity == {"alertname": "HostCPUHigh", "host": "ana"}


@pytest.mark.django_db
def test_PN_6_relabelling_comes_after_external_labels():
    alert = fire({"replica": "a"}, [{"action": "labeldrop", "regex": "replica|host"}])
    assert alert.labels == {"alertname": "HostCPUHigh"}


@pytest.mark.django_db
def test_PN_6_an_alert_that_relabelling_drops_is_told_to_nobody():
    alert = fire(configs=[{"source_labels": ["host"], "regex": "ana", "action": "drop"}])
    assert (alert.state, alert.is_shadow) == ("firing", True)


@pytest.mark.django_db
def test_an_alert_told_under_other_labels_goes_on_and_resolves():
    GlobalConfig.objects.create(id=1, external_labels={"region": "eu"})
    rule = build.rule(expr="cpu_usage_percent > 80")
    for at, value in zip(slots(rule, 3), (90, 91, 20), strict=True):
        measure(at, ana=value)
        run(rule, at)
        alert_rows._memories.clear()  # as another process would: from rows
    assert Alert.objects.get().state == "resolved"


@pytest.mark.django_db
def test_an_alert_that_fires_keeps_its_labels_when_external_labels_change():
    alert = fire({"region": "eu"})
    GlobalConfig.objects.update(external_labels={"region": "us"})
    _, at, later = slots(alert.rule, 3)
    measure(at, ana=91)
    run(alert.rule, at)
    measure(later, ana=20)
    run(alert.rule, later)
    alert.refresh_from_db()
    assert (Alert.objects.count(), alert.labels["region"], alert.state) == (1, "eu", "resolved")


@pytest.mark.django_db
def test_two_alerts_that_relabelling_makes_equal_are_both_kept():
    GlobalConfig.objects.create(id=1, alert_relabel_configs=[{"action": "labeldrop", "regex": "host"}])
    rule = build.rule(expr="cpu_usage_percent > 80")
    (at,) = slots(rule, 1)
    measure(at, ana=90, ben=90)
    run(rule, at)
    assert Alert.objects.filter(state="firing").count() == 2


@pytest.mark.django_db
def test_PT_1_templates_know_external_labels_and_url(settings):
    alert = fire({"region": "eu"}, annotations={"a": "{{ $externalLabels.region }} {{ $externalURL }}"})
    assert alert.annotations["a"] == f"eu {settings.ENV.external_url}"


@pytest.mark.django_db
def test_PR_11_a_query_offset_asks_for_older_values_and_dates_ALERTS_back():
    rule = build.rule(expr="cpu_usage_percent > 80")
    rule.group.query_offset_seconds = 15
    rule.group.save()
    first, second = slots(rule, 2)
    measure(first, ana=90)
    measure(second, ana=20)
    run(rule, second)
    assert firing() == {("ana", "")}
    assert Alert.objects.get().active_since == second


# -- relabelling -------------------------------------------------------------------------------------------------------

LABELS = {"alertname": "A", "host": "ana", "severity": "Warning", "replica": "r0"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"target_label": "x", "replacement": "y"}, LABELS | {"x": "y"}),
        (
            {"source_labels": ["host"], "regex": "a(.*)", "target_label": "h", "replacement": "${1}-$1"},
            LABELS | {"h": "na-na"},
        ),
        ({"source_labels": ["host"], "regex": "b.*", "target_label": "h"}, LABELS),
        ({"source_labels": ["host", "replica"], "separator": "/", "target_label": "h"}, LABELS | {"h": "ana/r0"}),
        ({"target_label": "host", "replacement": ""}, {k: v for k, v in LABELS.items() if k != "host"}),
        ({"source_labels": ["host"], "regex": "ana", "action": "keep"}, LABELS),
        ({"source_labels": ["host"], "regex": "ben", "action": "keep"}, None),
        ({"source_labels": ["host"], "regex": "a", "action": "drop"}, LABELS),
        ({"source_labels": ["host"], "target_label": "host", "action": "keepequal"}, LABELS),
        ({"source_labels": ["host"], "target_label": "replica", "action": "keepequal"}, None),
        ({"source_labels": ["host"], "target_label": "host", "action": "dropequal"}, None),
        (
            {"source_labels": ["severity"], "target_label": "severity", "action": "lowercase"},
            LABELS | {"severity": "warning"},
        ),
        ({"source_labels": ["host"], "target_label": "host", "action": "uppercase"}, LABELS | {"host": "ANA"}),
        ({"regex": "re(.*)", "action": "labelmap"}, LABELS | {"plica": "r0"}),
        ({"regex": "replica|host", "action": "labeldrop"}, {"alertname": "A", "severity": "Warning"}),
        ({"regex": "alertname", "action": "labelkeep"}, {"alertname": "A"}),
        # The last 8 bytes of what md5sum says of "ana", modulo 10.
        ({"source_labels": ["host"], "target_label": "m", "modulus": 10, "action": "hashmod"}, LABELS | {"m": "6"}),
    ],
)  # fmt: skip
def test_relabelling_does_what_prometheus_does(config, expected):
    found = relabel(LABELS, parse_relabel([config]))
    assert (found.as_dict() if found is not None else None) == expected


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"action": "explode"}, "unknown action"),
        ({"actoin": "drop"}, "unknown field actoin"),
        ({"regex": "("}, "invalid regular expression"),
        ({"action": "replace"}, "needs target_label"),
        ({"action": "hashmod", "target_label": "x"}, "needs a modulus"),
        ({"action": "labeldrop", "source_labels": ["x"]}, "takes only regex"),
        ({"target_label": "a-b"}, "no label name"),
        ({"source_labels": "host"}, "list of label names"),
        ("x", "give a mapping"),
    ],
)
def test_a_bad_relabel_rule_is_refused_with_its_place(config, problem):
    with pytest.raises(RelabelError, match=problem) as error:
        parse_relabel([{"action": "labeldrop", "regex": "x"}, config])
    assert "alert_relabel_configs[1]" in str(error.value)


def test_external_labels_do_not_override():
    assert outgoing(Labels.of(LABELS), (("host", "x"), ("dc", "1")), ()).as_dict() == LABELS | {"dc": "1"}


@pytest.mark.oracle
@pytest.mark.parametrize("text", [BENCH])
def test_what_is_read_here_is_a_configuration_to_promtool(tmp_path, text):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    (tmp_path / "rules.yml").write_text("groups: []")
    (tmp_path / "p.yml").write_text(text)
    done = subprocess.run([promtool, "check", "config", str(tmp_path / "p.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
