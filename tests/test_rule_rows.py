"""Rows of limits in the form: whom they are for, which of them wins, which tie; and the facts in the list of rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts.models import Rule, RuleGroup
from monitoring import query, store
from monitoring.models import Host, ModelVersion, ServedModel
from tests import build
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
RANKER = '{model_name="ranker"}'


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "edgar"))


@pytest.fixture
def group() -> RuleGroup:
    """A group, while ranker and speller report their latency from one host."""
    at_ms = query.to_ms(timezone.now()) - 1000
    for model, value in (("ranker", 0.4), ("speller", 0.1)):
        labels = {"model_name": model, "model_version": "1.2", "host": "ana"}
        store.append([store.Scrape(f"m:{model}", labels, at_ms, ["latency_seconds"], np.array([value]))], now_ms=at_ms)
    return build.rule_group()


def typed(group: RuleGroup, *rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "Slow", "group": group.pk, "life": "live", "kind": "alert", "expr": "latency_seconds",
        "hold_seconds": "0s", "keep_firing_seconds": "0s", "no_data": "keep", "no_data_resolve_seconds": "1h",
        "labels": "{}", "annotations": "{}", "position": "0", "thresholds-TOTAL_FORMS": len(rows),
        "thresholds-INITIAL_FORMS": 0,
    }  # fmt: skip
    for number, row in enumerate(rows):
        given = {"severity": "warning", "operator": ">", "priority": "0", "is_enabled": "on", "reason": "big"} | row
        data |= {f"thresholds-{number}-{name}": value for name, value in given.items()}
    return data | changes


def check(client: Client, data: dict[str, Any], rule: Rule | None = None) -> dict[str, Any]:
    answer = client.post(f"{reverse('admin:alerts_rule_check')}?rule={rule.pk if rule else ''}", data)
    assert answer.status_code == 200
    return answer.json()


def test_two_rows_as_exact_as_each_other_carry_a_badge(editor: Client, group: RuleGroup) -> None:
    rows = [{"value": "1"}, {"value": "2", "selector": RANKER}, {"value": "3", "selector": RANKER}]
    assert check(editor, typed(group, *rows))["ties"] == {
        "thresholds-1": "as exact as row 3, which is newer and counts instead",
        "thresholds-2": "as exact as row 2: this one counts, as the newer one",
    }


def test_the_row_that_wins_for_a_series_is_told_with_its_reason(editor: Client, group: RuleGroup) -> None:
    rows = [{"value": "1"}, {"value": "2", "selector": RANKER}]
    series = 'latency_seconds{host="ana", model_name="ranker", model_version="1.2"}'
    html = check(editor, typed(group, *rows, which_series=series))["html"]
    assert "above 2 s, by row 2" in html
    assert "it wins over row 1 because 1 matcher beats 0" in html


def test_a_row_with_a_mistake_does_not_move_the_numbers_of_the_others(editor: Client, group: RuleGroup) -> None:
    rows = [{"value": "much"}, {"value": "2", "selector": RANKER}, {"value": "3", "selector": RANKER}]
    assert "row 3" in check(editor, typed(group, *rows))["ties"]["thresholds-1"]


def test_what_is_registered_is_offered_as_such(editor: Client, group: RuleGroup) -> None:
    now = timezone.now()
    model = ServedModel.objects.create(name="ranker")
    host = Host.objects.create(name="ana", first_seen=now, last_seen=now)
    version = ModelVersion.objects.create(model=model, version="1.2", stage="production")
    assert check(editor, typed(group, {"value": "1"}))["objects"] == {
        "model": [[model.pk, "ranker"]], "host": [[host.pk, "ana"]], "version": [[version.pk, "ranker", "1.2"]],
        "stage": [[model.pk, "ranker", "production"]],
    }  # fmt: skip


def test_a_limit_for_a_registered_model_is_checked_and_saved(editor: Client, group: RuleGroup) -> None:
    model = ServedModel.objects.create(name="ranker")
    data = typed(group, {"value": "1"}, {"value": "0.2", "model": model.pk})
    body = check(editor, data)
    assert body["applies"] == {"thresholds-1": "model ranker"}
    assert body["rows"]["thresholds-1"]["words"] == "matches 1 series, now 400 ms, would fire: yes"
    answer = editor.post(reverse("admin:alerts_rule_add"), data)
    assert answer.status_code == 302, answer.content.decode()
    assert Rule.objects.get().thresholds.get(value=0.2).model == model


def test_a_viewer_reads_what_a_row_is_for(group: RuleGroup) -> None:
    rule = build.rule(group=group)
    build.threshold(rule, 5, model=ServedModel.objects.create(name="ranker"), reason="big")
    page = signed_in(member("Viewer")).get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    assert "model ranker" in page


def test_a_saved_row_tells_how_often_it_fired(editor: Client, group: RuleGroup) -> None:
    rule = build.rule("Slow", group=group, expr="latency_seconds")
    row, other = build.threshold(rule, 1), build.threshold(rule, 2, severity="critical")
    now = timezone.now()
    for days in (1, 2, 40):
        build.alert("Slow", rule=rule, threshold=row, at=now - timedelta(days=days), labels={"n": str(days)})
    assert check(editor, {}, rule)["episodes"] == {"thresholds-0": 2, "thresholds-1": 0}
    assert row.pk < other.pk


def test_a_rule_with_many_rows_can_be_saved(editor: Client, group: RuleGroup) -> None:
    rule = build.rule("Slow", group=group)
    empty = {"hold_seconds": "", "upper": "", "recover_value": "", "expires_at_0": "", "expires_at_1": "", "id": ""}
    names = dict.fromkeys(("model", "version", "stage", "host", "gpu", "rule"), "")
    rows = [{"value": str(n), "selector": f'{{n="{n}"}}', **empty, **names} for n in range(80)]
    answer = editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), typed(group, *rows, life="shadow"))
    assert answer.status_code == 302
    assert rule.thresholds.count() == 80


# -- the list ----------------------------------------------------------------------------------------------------------


def rules_of(client: Client, **which: str) -> list[str]:
    found = client.get(reverse("admin:alerts_rule_changelist"), which).context["cl"].result_list
    return [rule.name for rule in found]


def test_the_list_counts_how_often_a_rule_fired_in_seven_days(editor: Client) -> None:
    now = timezone.now()
    rule = build.rule("Slow")
    for days in (0, 1, 1, 20):
        build.alert("Slow", rule=rule, at=now - timedelta(days=days), labels={"n": str(days), "x": str(id(object()))})
    page = editor.get(reverse("admin:alerts_rule_changelist")).content.decode()
    assert "3 × in 7 d" in page


@pytest.mark.parametrize(("days", "names"), [(10, []), (100, ["Slow"])])
def test_rules_that_have_not_fired_for_long_are_found(editor: Client, days: int, names: list[str]) -> None:
    began = timezone.now() - timedelta(days=days)
    build.resolve(build.alert("Slow", rule=build.rule("Slow"), at=began), began + timedelta(hours=1))
    assert rules_of(editor, fares="quiet90") == names


def test_rules_are_found_by_their_owner(editor: Client) -> None:
    build.rule("Ours", labels={"team": "ml"})
    build.rule("Theirs", labels={"team": "web"}, group=build.rule_group(name="web"))
    assert rules_of(editor, owner="ml") == ["Ours"]


def test_rules_that_changed_this_week_are_found(editor: Client) -> None:
    build.rule("New")
    old = build.rule("Old", group=build.rule_group(name="old"))
    Rule.objects.filter(pk=old.pk).update(updated_at=timezone.now() - timedelta(days=30))
    assert rules_of(editor, changed="7") == ["New"]


def test_rules_of_a_file_are_found_by_it(editor: Client) -> None:
    build.rule("Filed", group=build.rule_group(name="filed", managed_by="rules.yml"))
    build.rule("Own")
    assert rules_of(editor, managed="rules.yml") == ["Filed"]
    assert rules_of(editor, managed="-") == ["Own"]
