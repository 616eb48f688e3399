"""One list of lint behind three doors: the form of a rule, the import of a file, and the command for what is saved."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from alerts.models import Rule, Threshold
from monitoring import query, store
from monitoring.models import MetricMetadata, ServedModel
from tests import build
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
SOUND: dict[str, Any] = {"expr": "load > 5", "for": "1m", "labels": {"severity": "warning"}}
# What item 5 of the rules names, as a rule of a file, and how the remark begins or what it holds.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "rate of a gauge": ({"expr": "rate(load[5m]) > 5"}, "load is a gauge: rate takes each fall for a counter reset"),
    "raw counter compared": ({"expr": "work_total > 5"}, "work_total is a counter, which only grows"),
    "histogram without bucket": ({"expr": "took_seconds > 5"}, "took_seconds is a histogram"),
    "short range": ({"expr": "rate(work_total[10s]) > 5"}, "a window of 10s holds fewer than two samples"),
    "never matches": ({"expr": 'load{a="1",a="2"} > 5'}, "exclude each other: this never matches"),
    "unknown metric": ({"expr": "work_totl > 5"}, "no series named work_totl"),
    "changing label": ({"labels": {"severity": "warning", "at": "{{ $value }}"}}, "a label made from $value"),
    "missing for": ({"for": "0s"}, 'there is no "for"'),
    "failing template": ({"annotations": {"summary": "{{ $value | parseDuration }}"}}, "a trial expansion failed"),
    "metric naming": ({"expr": "tookMillis > 5"}, "tookMillis"),
    "model in a name": ({"expr": "ranker_answers > 5"}, "ranker"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _stored():
    at_ms = query.to_ms(timezone.now()) - 5000
    names = ["load", "work_total", "took_seconds_bucket", "tookMillis", "ranker_answers"]
    keys = [store.sample_key(name, {"host": "ana"}) for name in names]
    store.append([store.Scrape("target:1", {}, at_ms, keys, np.ones(len(keys)))], now_ms=at_ms)
    for name, kind in (("load", "gauge"), ("work", "counter"), ("took_seconds", "histogram")):
        MetricMetadata.objects.create(name=name, type=kind)
    ServedModel.objects.create(name="ranker")


def by_form(rule: dict[str, Any]) -> str:
    data = {
        "name": "R", "kind": "alert", "mode": "promql", "expr": rule["expr"], "hold_seconds": rule["for"],
        "labels": yaml_json(rule.get("labels", {})), "annotations": yaml_json(rule.get("annotations", {})),
    }  # fmt: skip
    answer = signed_in(member("Editor")).post(reverse("admin:alerts_rule_check"), data)
    return str(answer.json()["html"]).replace("&quot;", '"').replace("&#x27;", "'")


def yaml_json(pairs: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": "{text}"' for name, text in pairs.items()) + "}"


def by_import(rule: dict[str, Any], folder: Path) -> str:
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "interval": "15s", "rules": [{"alert": "R", **rule}]}]}))
    out = StringIO()
    call_command("import_rules", str(path), "--dry-run", stdout=out)
    return out.getvalue()


def by_command(*arguments: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("lint_rules", *arguments, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_remarked_in_form_import_and_command(kind: str, tmp_path: Path):
    changes, words = KINDS[kind]
    rule = {**SOUND, **changes}
    build.rule(
        "Saved", rule["expr"], hold_seconds=0 if rule["for"] == "0s" else 60, labels=rule["labels"],
        annotations=rule.get("annotations", {}),
    )  # fmt: skip
    assert [door for door, text in (
        ("form", by_form(rule)), ("import", by_import(rule, tmp_path)), ("command", by_command()[0])
    ) if words not in text] == []  # fmt: skip


def test_a_parse_error_has_its_place_behind_every_door(tmp_path: Path):
    broken = build.rule("Broken")
    Rule.objects.filter(pk=broken.pk).update(expr="sum(load")
    assert "Line 1, column 9" in by_form({**SOUND, "expr": "sum(load"})
    with pytest.raises(CommandError, match="Line 1, column 9"):
        by_import({**SOUND, "expr": "sum(load"}, tmp_path)
    text, code = by_command()
    assert ("error in expr: " in text, code) == (True, 1)


def test_a_warning_beyond_critical_and_an_override_that_never_wins_are_remarked_by_the_command():
    rule = build.rule("R", "load", hold_seconds=60)
    build.threshold(rule, 90, "critical")
    beyond = build.threshold(rule, 95, "warning")
    hidden = build.threshold(rule, 1, "warning", selector='{host="ana"}', reason="r")
    build.threshold(rule, 2, "warning", selector='{host="ana"}', reason="r", priority=5)
    text, _ = by_command()
    assert f"warning in thresholds.{beyond.pk}: warning above 95 lies beyond critical above 90" in text
    assert f"warning in thresholds.{hidden.pk}: " in text


def test_the_import_remarks_a_warning_beyond_critical(tmp_path: Path):
    path = tmp_path / "rules.yml"
    rules = [{"alert": "R", **SOUND, "expr": f"load > {limit}", "labels": {"severity": severity}}
             for severity, limit in (("warning", 95), ("critical", 90))]  # fmt: skip
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    out = StringIO()
    call_command("import_rules", str(path), "--dry-run", stdout=out)
    assert "lies beyond critical" in out.getvalue()


def test_the_command_fails_when_a_finding_is_as_bad_as_asked():
    build.rule("R", "load > 5", labels={"severity": "warning"})  # no "for": a warning
    assert [by_command("--fail-on", level)[1] for level in ("error", "warning")] == [0, 1]


def test_the_command_looks_at_the_groups_that_are_named_and_names_those_that_are_not_there():
    build.rule("A", "laod", group=build.rule_group(name="one"))
    build.rule("B", "laod", group=build.rule_group(name="two"))
    text, _ = by_command("two", "--quiet")
    assert "two / B" in text and "one / A" not in text
    with pytest.raises(CommandError, match="no group named three"):
        call_command("lint_rules", "three")


def test_rules_that_are_off_are_left_alone():
    build.rule("Off", "laod", life=Rule.Life.DISABLED)
    assert by_command() == ("Nothing to remark.\n", 0)
    assert not Threshold.objects.exists()
