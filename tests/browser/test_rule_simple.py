"""A member of staff who knows no PromQL makes a rule with a limit of its own for one model, until it fires."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.urls import reverse
from django.utils import timezone

from alerts import evaluate
from alerts.models import Rule
from monitoring import store
from tests import build

ANSWER = "#aq-rule-check [data-aq-answer]"
LIMIT = "[data-aq-limits] input[aria-label=Limit]"


@pytest.fixture
def form(portal: Any) -> Any:
    """The empty form, while two models report their latency."""
    build.rule_group(name="models", interval_seconds=1)
    at_ms = round(timezone.now().timestamp() * 1000)
    rows = [("ranker", 0.42), ("speller", 0.05)]
    store.append(
        [
            store.Scrape(f"model:{name}", {"model_name": name}, at_ms, ["model_latency_seconds"], np.array([value]))
            for name, value in rows
        ],
        now_ms=at_ms,
    )
    return portal.open(reverse("admin:alerts_rule_add"))


def choose_metric(form: Any, letters: str = "laten") -> None:
    field = form.locator("[name=simple_metric]")
    field.press_sequentially(letters)
    form.wait_for_selector(".aq-complete:not([hidden]) li")
    field.press("Tab")
    form.wait_for_selector(f"{ANSWER} >> text=2 series now")


def test_a_rule_with_an_override_is_made_without_promql_and_fires(form: Any) -> None:
    form.fill("[name=name]", "SlowModel")
    choose_metric(form)
    assert "applies to 2 models" in form.inner_text(ANSWER)
    form.select_option("[data-aq-limits] [aria-label=Unit]", "ms")
    form.fill(LIMIT, "30")
    form.wait_for_selector(f"{ANSWER} >> text=2 warning alerts would fire at once.")
    form.click("[data-aq-own]")
    form.fill("[name=thresholds-1-value]", "0.5")
    form.select_option("[name=thresholds-1-selector] ~ .aq-scope", label="ranker")
    form.fill("[name=thresholds-1-reason]", "large inputs")
    form.wait_for_selector(f"{ANSWER} >> text=1 warning alert would fire at once.")
    form.click("[name=_save_live]")
    form.wait_for_load_state("networkidle")
    rule = Rule.objects.get()
    rows = rule.thresholds.order_by("pk").values_list("value", "selector")
    assert (rule.life, rule.expr) == ("live", "model_latency_seconds")
    assert list(rows) == [(0.03, ""), (0.5, '{model_name="ranker"}')]
    evaluate.due(timezone.now())
    assert evaluate.evaluate(rule.group_id, timezone.now()) is not None
    form.goto(form.url.split("/admin/")[0] + reverse("alerts:alerts"))
    form.wait_for_selector("a >> text=SlowModel")
    assert "speller" in form.inner_text("body") and "ranker" not in form.inner_text("body")


def test_the_question_of_simple_mode_is_shown_and_kept_on_the_way_to_promql(form: Any) -> None:
    choose_metric(form)
    form.select_option("[name=simple_measure]", "max_over_time")
    form.select_option("[name=simple_aggregation]", "avg")
    form.fill("[name=simple_by]", "model_name")
    written = "avg by (model_name) (max_over_time(model_latency_seconds[5m]))"
    form.wait_for_selector(f"[data-aq-written] >> text={written}")
    form.click(".aq-tab >> text=PromQL")
    assert form.input_value("[name=expr]") == written


def test_promql_of_a_simple_shape_fills_the_fields(form: Any) -> None:
    form.click(".aq-tab >> text=PromQL")
    form.fill("[name=expr]", 'sum by (model_name) (rate(model_latency_seconds{model_name="ranker"}[2m])) > 3')
    form.click(".aq-tab >> text=Simple")
    form.wait_for_selector("[data-aq-limits] >> text=Keep the limit in a row")
    read = {name: form.input_value(f"[name=simple_{name}]") for name in ("metric", "filter", "measure", "window", "by")}
    assert read == {
        "metric": "model_latency_seconds", "filter": 'model_name="ranker"', "measure": "rate", "window": "2m",
        "by": "model_name",
    }  # fmt: skip
    assert form.input_value(LIMIT) == "3"


def test_promql_that_says_more_stays_as_it_is(form: Any) -> None:
    form.click(".aq-tab >> text=PromQL")
    form.fill("[name=expr]", "model_latency_seconds offset 5m  # before lunch")
    form.click(".aq-tab >> text=Simple")
    form.wait_for_selector("[data-aq-mode-say] >> text=it stays in PromQL")
    assert form.is_checked("[name=mode][value=promql]")
    assert form.input_value("[name=expr]") == "model_latency_seconds offset 5m  # before lunch"


def test_suggestions_are_taken_by_a_click_without_leaving_simple_mode(form: Any) -> None:
    at_ms = round(timezone.now().timestamp() * 1000)
    store.append([store.Scrape("model:a", {}, at_ms, ["answers_total"], np.array([7.0]))], now_ms=at_ms)
    choose = form.locator("[name=simple_metric]")
    choose.fill("answers_total")
    form.fill(LIMIT, "30")
    form.click("[data-aq-fix='rate(answers_total[5m])']")
    form.wait_for_selector("[data-aq-written] >> text=rate(answers_total[5m])")
    assert form.input_value("[name=simple_measure]") == "rate"
    assert form.is_checked("[name=mode][value=simple]")
    form.click("[data-aq-field=hold_seconds]")
    assert form.input_value("[name=hold_seconds]") == "5m"
    form.click("[data-aq-field='annotations.summary']")
    assert "{{ $value" in form.input_value(".field-annotations .aq-pair textarea")


def test_the_form_shows_who_is_told_and_the_message(form: Any) -> None:
    build.integration(build.route().receiver, target="#ml-alerts")
    form.fill("[name=name]", "SlowModel")
    choose_metric(form)
    form.fill(LIMIT, "30")
    form.wait_for_selector("[data-aq-told] >> text=#ml-alerts")
    assert "SlowModel" in form.inner_text("[data-aq-told] .aq-slack")
