"""Dashboards and explore in a real browser: what is drawn, synced zoom, lazy panels, errors, completion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from monitoring import store
from monitoring.dashboards import rows
from monitoring.dashboards.builtins import load_builtins
from monitoring.dashboards.spec import DashboardSpec, PanelSpec, QuerySpec
from monitoring.hosts import labels_of, source_of
from monitoring.models import Dashboard
from tests.browser.test_charts import needs_uplot

READY = ".aq-chart[data-state=ready]"
KEYS = [
    "host_up", "cpu_usage_percent", "memory_usage_bytes", "memory_total_bytes",
    'http_requests_total{method="GET",endpoint="index",status="200"}',
    'http_requests_total{method="POST",endpoint="predict",status="500"}',
]  # fmt: skip


@pytest.fixture
def measured(transactional_db: None) -> None:
    """A host that measured for half an hour, its application's requests, and an alert that fired in the middle."""
    now = timezone.now()
    end_ms = int(now.timestamp()) // 15 * 15_000
    scrapes = []
    for at_ms in range(end_ms - 1_800_000, end_ms + 1, 15_000):
        count = (at_ms - end_ms) / 1000 + 2000
        keys, values = KEYS, [1.0, 91.0, 3.0e9, 4.0e9, count, count / 10]
        if end_ms - 1_200_000 <= at_ms <= end_ms - 600_000:
            keys, values = [*KEYS, 'ALERTS{alertname="Hot",alertstate="firing",severity="critical"}'], [*values, 1.0]
        scrapes.append(store.Scrape(source_of("ana"), labels_of("ana"), at_ms, keys, np.array(values)))
    store.append(scrapes, now_ms=round(now.timestamp() * 1000))
    load_builtins(now)


def bands(page: Any) -> list[list[str]]:
    """The names of the bands of each drawn chart."""
    drawn = "[...alphaqCharts.values()].filter(chart => chart.drawn)"
    return page.evaluate(f"{drawn}.map(chart => chart.model().bands.map(band => band.label))")


def test_the_guides_dashboards_show_data(portal: Any, measured: None) -> None:
    page = portal.open("/dashboards/alpha-q-overview/")
    page.wait_for_function("document.querySelectorAll('.aq-chart[data-state=ready] canvas').length >= 2")
    assert "GET index" in page.locator("#panel-1").inner_text()
    assert "predict" in page.locator("#panel-2").inner_text()
    page = portal.open("/dashboards/resource-usage/")
    page.wait_for_selector(".aq-gauge")
    assert "91 %" in page.locator("#panel-1").text_content()
    assert page.locator("#panel-1 .aq-gauge.is-warning").count() == 1
    assert "75 %" in page.locator("#panel-2 .aq-chart-legend").inner_text()


@needs_uplot
def test_alerts_that_fired_are_bands(portal: Any, measured: None) -> None:
    page = portal.open("/dashboards/alpha-q-overview/")
    page.wait_for_function("[...alphaqCharts.values()].some(chart => chart.drawn && chart.model().bands.length)")
    assert bands(page) == [["Hot"], ["Hot"]]


@needs_uplot
def test_zoom_is_shared_by_the_panels(portal: Any, measured: None) -> None:
    page = portal.open("/dashboards/alpha-q-overview/")
    page.wait_for_function("document.querySelectorAll('.aq-chart[data-state=ready] .u-over').length >= 2")
    box = page.locator("#panel-1 .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50, steps=5)
    page.mouse.up()
    scales = "[...alphaqCharts.values()].map(chart => chart.drawn.plot.scales.x)"
    page.wait_for_function(f"{scales}.every(scale => scale.max - scale.min < 1200)")
    spans = page.evaluate(f"{scales}.map(scale => Math.round(scale.max - scale.min))")
    assert spans[0] == spans[1]


def test_a_panel_out_of_view_asks_only_when_it_is_reached(portal: Any, measured: None) -> None:
    panels = tuple(
        PanelSpec(number, "", "stat", (QuerySpec("vector(1)"),), width=24, height=20) for number in range(1, 6)
    )
    rows.save(DashboardSpec("Long", panels), Dashboard.Source.STAFF)
    page = portal.open("/dashboards/long/")
    page.wait_for_selector("#panel-1 .aq-stat")
    assert page.locator("#panel-5 .aq-stat").count() == 0
    page.locator("#panel-5").scroll_into_view_if_needed()
    page.wait_for_selector("#panel-5 .aq-stat")


def test_an_error_is_shown_in_its_panel_and_the_others_go_on(portal: Any, measured: None) -> None:
    broken = PanelSpec(1, "Broken", "timeseries", (QuerySpec("sum(cpu_usage_percent"),))
    fine = PanelSpec(2, "Fine", "table", (QuerySpec("cpu_usage_percent"),))
    rows.save(DashboardSpec("Mixed", (broken, fine)), Dashboard.Source.STAFF)
    page = portal.open("/dashboards/mixed/")
    page.wait_for_selector("#panel-1 .aq-chart[data-state=error]")
    assert "line 1, column" in page.locator("#panel-1").inner_text()
    assert "ana" in page.locator("#panel-2 table").inner_text()
    portal.problems.clear()  # the browser logs the answer 422 by itself


def test_choosing_a_host_asks_for_it(portal: Any, measured: None) -> None:
    page = portal.open("/dashboards/gpu/")
    page.click("[data-aq-multi] summary")
    page.check("[data-aq-multi] input[value=ana]")
    assert not page.is_checked("[data-aq-multi] input[data-aq-all]")
    page.click("[data-aq-multi] button")
    page.wait_for_url("**var-host=ana**")
    page.wait_for_load_state("networkidle")


def test_explore_answers_completes_and_points_at_errors(portal: Any, measured: None) -> None:
    page = portal.open("/explore/")
    page.click("[name=expr]")
    page.keyboard.type("cpu_us")
    page.wait_for_selector(".aq-complete li")
    page.keyboard.press("Enter")
    assert page.input_value("[name=expr]") == "cpu_usage_percent"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f"[data-aq-graph] {READY}")
    assert "ana" in page.locator("[data-aq-table]").inner_text()
    assert "expr=cpu_usage_percent" in page.url
    assert page.get_attribute("[data-aq-make-rule]", "href").endswith("/rule/add/?expr=cpu_usage_percent")
    page.fill("[name=expr]", "sum(cpu_usage_percent")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("[data-aq-error]:not([hidden]) .aq-caret")
    page.wait_for_load_state("networkidle")
    assert "Line 1, column 22" in page.locator("[data-aq-error]").inner_text()
    portal.problems.clear()  # the browser logs the answer 422 by itself


def test_the_preview_of_a_panel_follows_the_form(portal: Any, measured: None) -> None:
    panel = Dashboard.objects.get(slug="resource-usage").panels.get(number=1)
    page = portal.open(f"/admin/monitoring/panel/{panel.pk}/change/")
    page.wait_for_selector("[data-aq-preview] .aq-gauge")
    page.fill("[name='queries-0-expr']", "vector(7)")
    page.wait_for_function("document.querySelector('[data-aq-preview]').textContent.includes('7 %')")


def test_nothing_is_wider_than_a_phone(portal: Any, measured: None) -> None:
    portal.page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/dashboards/", "/dashboards/fleet-overview/", "/explore/", "/dashboards/import/"):
        page = portal.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
