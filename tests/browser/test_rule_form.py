"""The rule form and the pages of alerts in a real browser: checked while typed, completed, refreshed by itself."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from alerts.models import Alert, Rule
from monitoring import store
from tests import build

ANSWER = "#aq-rule-check [data-aq-answer]"


@pytest.fixture
def form(portal: Any) -> Any:
    """The empty form of a rule in PromQL mode, while two hosts report their CPU."""
    build.rule_group(name="hosts")
    at_ms = round(timezone.now().timestamp() * 1000)
    store.append(
        [
            store.Scrape(f"host:{host}", {"host": host}, at_ms, ["cpu_usage_percent"], np.array([value]))
            for host, value in (("ana", 97.0), ("ben", 12.0))
        ],
        now_ms=at_ms,
    )
    page = portal.open(reverse("admin:alerts_rule_add"))
    page.click(".aq-tab >> text=PromQL")
    return page


def test_an_expression_is_checked_while_it_is_typed(form: Any) -> None:
    form.fill("[name=expr]", "cpu_usage_percent > 90")
    form.wait_for_selector(f"{ANSWER} >> text=1 alert would fire at once.")
    assert "ana" in form.inner_text(ANSWER)


def test_a_parse_error_is_shown_with_its_place(form: Any) -> None:
    form.fill("[name=expr]", "sum(cpu_usage_percent")
    form.wait_for_selector(f"{ANSWER} >> text=Line 1, column 22")
    assert form.inner_text(".aq-caret").splitlines()[-1].strip() == "^"


def test_each_row_says_what_it_does_as_typed(form: Any) -> None:
    form.fill("[name=expr]", "cpu_usage_percent")
    form.click("#thresholds-group .add-row")
    form.fill("[name=thresholds-0-value]", "95")
    form.wait_for_selector("[data-aq-row-now][data-tone=firing]")
    assert form.inner_text("[data-aq-row-now][data-tone=firing]") == "matches 2 series, nearest 97%, would fire: yes"
    form.fill("[name=thresholds-0-value]", "99")
    form.wait_for_selector("[data-aq-row-now][data-tone=quiet] >> text=would fire: no")


def test_metrics_labels_and_values_are_completed(form: Any) -> None:
    field = form.locator("[name=expr]")
    for typed in ("cpu_us", "{ho", "an"):
        field.press_sequentially(typed)
        form.wait_for_selector(".aq-complete:not([hidden]) li")
        field.press("Tab")
    assert field.input_value() == 'cpu_usage_percent{host="ana'


def test_labels_to_group_by_are_completed(form: Any) -> None:
    field = form.locator("[name=expr]")
    field.fill("max(cpu_usage_percent) by (")
    field.press_sequentially("ho")
    form.wait_for_selector(".aq-complete:not([hidden]) li >> text=host")
    field.press("Tab")
    assert field.input_value() == "max(cpu_usage_percent) by (host"


def test_a_suggestion_is_taken_by_a_click(form: Any) -> None:
    form.fill("[name=expr]", "cpu_usage_percnt")
    form.click("[data-aq-fix]")
    assert form.input_value("[name=expr]") == "cpu_usage_percent"


def test_a_rule_is_made_with_pairs_instead_of_json(form: Any) -> None:
    form.fill("[name=name]", "CPUHigh")
    form.fill("[name=expr]", "cpu_usage_percent > 90")
    form.locator(".field-annotations .aq-pairs-add").click()
    form.fill(".field-annotations .aq-pair input", "summary")
    form.fill(".field-annotations .aq-pair textarea", 'CPU of {{ $labels.host }} is "high"')
    form.click("[name=_save]")
    form.wait_for_load_state("networkidle")
    assert Rule.objects.get().annotations == {"summary": 'CPU of {{ $labels.host }} is "high"'}


def test_pairs_and_json_are_two_views_of_one_field(form: Any) -> None:
    form.locator(".field-labels .aq-pairs-flip").click()
    form.fill("[name=labels]", json.dumps({"team": "ml"}))
    form.locator(".field-labels .aq-pairs-flip").click()
    assert form.input_value(".field-labels .aq-pair input") == "team"


def test_the_list_of_alerts_refreshes_itself(portal: Any) -> None:
    page = portal.open(reverse("alerts:alerts"))
    page.wait_for_selector("text=Nothing fires.")
    build.alert("CPUHigh", severity="critical", at=timezone.now())
    page.wait_for_selector("a >> text=CPUHigh", timeout=15_000)


def test_the_preview_of_a_silence_follows_its_chips(portal: Any) -> None:
    alert = build.alert("CPUHigh", labels={"host": "ana"}, at=timezone.now())
    build.alert("CPUHigh", labels={"host": "ben"}, at=timezone.now())
    page = portal.open(reverse("alerts:alert_silence", args=[alert.pk]))
    page.wait_for_selector("text=Silences 1 of 2 firing alerts.")
    page.click('text=host="ana"')
    page.wait_for_selector("text=Silences 2 of 2 firing alerts.")


def test_an_alert_is_acknowledged_by_a_click(portal: Any) -> None:
    alert = build.alert("CPUHigh", at=timezone.now())
    page = portal.open(reverse("alerts:alert", args=[alert.pk]))
    page.click("button >> text=Acknowledge")
    page.wait_for_selector("text=root has it")
    assert Alert.objects.get().acknowledged_by.username == "root"
