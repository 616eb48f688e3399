"""Trying a rule on the past in a real browser: from the form, without losing what is typed, and a limit by a click."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from alerts import backtest_runs
from alerts.models import Backtest, Rule
from tests import build
from tests.past import remember

STEP = 300


@pytest.fixture
def rule(transactional_db: None) -> Rule:
    """A rule over a week of one host with a peak twice a day."""
    count = 7 * 288
    values: list[float | None] = [20.0 + place % 7 for place in range(count)]
    for at in range(70, count, 144):
        values[at : at + 3] = [90.0] * 3
    remember(timezone.now(), STEP, {"ana": values})
    made = build.rule("LoadHigh", "load", group=build.rule_group(interval_seconds=STEP))
    build.threshold(made, 50)
    return made


def work_off(page: Any) -> None:
    """Run what the page has asked for, as a worker would."""
    for _ in range(100):
        if Backtest.objects.filter(state="queued").exists():
            break
        page.wait_for_timeout(100)
    assert backtest_runs.run_next(timezone.now) is not None


def test_what_is_typed_is_tried_beside_what_is_saved(portal: Any, rule: Rule) -> None:
    page = portal.open(reverse("admin:alerts_rule_change", args=[rule.pk]))
    page.fill("[name=thresholds-0-value]", "95")
    page.click("[data-aq-run]")
    work_off(page)
    page.wait_for_selector(".aq-bt-part[data-state=done]")
    assert "14 episodes of the saved rule would be gone" in page.inner_text(".aq-bt-difference")
    page.wait_for_selector("[data-aq-bt-chart] [data-state=ready]")
    assert page.input_value("[name=thresholds-0-value]") == "95"
    assert rule.thresholds.get().value == 50


def test_a_suggested_limit_is_taken_by_a_click_and_not_saved(portal: Any, rule: Rule) -> None:
    page = portal.open(reverse("admin:alerts_rule_change", args=[rule.pk]))
    page.click("[data-aq-suggest]")
    work_off(page)
    page.click("[data-aq-mark=week]")
    taken = float(page.input_value("[name=thresholds-0-value]"))
    assert taken >= 90
    assert rule.thresholds.get().value == 50


def test_a_page_follows_its_run_to_the_end(portal: Any, rule: Rule) -> None:
    run = backtest_runs.ask(backtest_runs.sides(rule, None), None, timezone.now(), span="7d")
    page = portal.open(reverse("alerts:backtest", args=[run.pk]))
    page.wait_for_selector("text=Waiting for a worker.")
    work_off(page)
    page.wait_for_selector(".aq-bt-part[data-state=done]")
    page.wait_for_selector("[data-aq-bt-chart] [data-state=ready]")
    assert page.locator(".aq-bt-episodes tbody tr").count() == 14
