"""Charts in a real browser: both libraries, gaps, zoom, crosshair, theme, ranges."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from monitoring import store
from monitoring.hosts import labels_of, source_of
from monitoring.models import Host

HAS_UPLOT = (Path(settings.BASE_DIR) / "node_modules" / "uplot" / "dist" / "uPlot.iife.min.js").exists()
needs_uplot = pytest.mark.skipif(not HAS_UPLOT, reason="uPlot was not fetched (npm ci --ignore-scripts)")
HOST_PAGE = "/hosts/ana/"
READY = ".aq-chart[data-state=ready]"


@pytest.fixture(params=["uplot", "chartjs"])
def engine(request: pytest.FixtureRequest, portal: Any) -> str:
    """Each library in turn; without uPlot's files a page falls back to Chart.js."""
    if request.param == "uplot":
        if not HAS_UPLOT:
            pytest.skip("uPlot was not fetched (npm ci --ignore-scripts)")
    else:
        empty = {"status": 200, "content_type": "text/javascript", "body": ""}
        portal.page.route("**/vendor/uplot/*.js", lambda route: route.fulfill(**empty))
        portal.page.route("**/js/chart_uplot.js", lambda route: route.fulfill(**empty))
    return str(request.param)


@pytest.fixture
def ana(transactional_db: None) -> Host:
    """A host that measured for half an hour, with a hole of ten minutes."""
    now = timezone.now()
    end_ms = int(now.timestamp()) // 15 * 15_000
    keys = ["cpu_usage_percent", "memory_usage_bytes", "memory_total_bytes", "load_average_1m", "cpu_count"]
    scrapes = [
        store.Scrape(source_of("ana"), labels_of("ana"), at_ms, keys, np.array([40.0, 3.0e9, 4.0e9, 1.5, 4.0]))
        for at_ms in range(end_ms - 1_800_000, end_ms + 1, 15_000)
        if not end_ms - 1_200_000 < at_ms < end_ms - 600_000
    ]
    store.append(scrapes, now_ms=round(now.timestamp() * 1000))
    return Host.objects.create(name="ana", first_seen=now - timedelta(days=1), last_seen=now)


def spans_of(page: Any) -> list[float]:
    """Seconds shown by each drawn chart."""
    drawn = "[...alphaqCharts.values()].filter(chart => chart.drawn).map(chart => chart.drawn.plot.scales.x)"
    return page.evaluate(f"{drawn}.map(scale => scale.max - scale.min)")


def test_charts_are_drawn_by_the_library_that_is_there(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    assert page.locator(READY).first.get_attribute("data-engine") == engine
    assert page.locator(f"{READY} canvas").count() > 0


def test_a_line_has_colour_where_there_are_samples_and_none_in_the_gap(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    counts = page.evaluate(
        """() => {
          const root = [...document.querySelectorAll('.aq-chart')].find(e => e.textContent.trim().startsWith('Memory'));
          const canvas = root.querySelector('canvas'), context = canvas.getContext('2d');
          const spread = (rgb) => Math.max(...rgb) - Math.min(...rgb);
          const column = (share) => {
            const data = context.getImageData(Math.round(canvas.width * share), 0, 1, canvas.height * 0.8).data;
            let coloured = 0;
            for (let at = 0; at < data.length; at += 4)
              if (data[at + 3] > 200 && spread(data.slice(at, at + 3)) > 60) coloured += 1;
            return coloured;
          };
          return {before: column(0.3), gap: column(0.63), after: column(0.95)};
        }"""
    )
    # The last sample is looked back to for five of the ten minutes; the middle of the rest is empty.
    assert counts["before"] > 0
    assert counts["after"] > 0
    assert counts["gap"] == 0


def test_a_chart_without_samples_says_so(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(".aq-chart[data-state=empty]")
    assert "No samples in this time." in page.locator(".aq-chart[data-state=empty]").first.inner_text()


def test_the_legend_shows_the_newest_value_with_its_unit_and_hides_a_line(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    key = page.locator(".aq-chart-key", has_text="in use").first
    assert "2.79 GiB" in key.inner_text()
    key.click()
    assert page.locator(".aq-chart-key", has_text="in use").first.get_attribute("aria-pressed") == "false"


def test_another_range_is_fetched_without_loading_the_page(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    page.evaluate("window.sameDocument = true")
    with page.expect_response(lambda answer: "range=6h" in answer.url and answer.ok):
        page.click("a[data-aq-range='6h']")
    assert page.evaluate("window.sameDocument")
    assert page.url.endswith("?range=6h")


def test_the_theme_changes_the_charts_with_the_page(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    before = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--aq-series-1')")
    page.emulate_media(color_scheme="dark")
    page.reload()
    page.wait_for_selector(f"html.dark {READY}")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--aq-series-1')") != before


@needs_uplot
def test_zooming_one_chart_zooms_all_and_a_double_click_shows_all_again(portal: Any, ana: Host) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    box = page.locator(".u-over").first.bounding_box()
    (whole,) = set(spans_of(page))
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 50, steps=5)
    page.mouse.up()
    page.wait_for_timeout(100)  # uPlot commits in a microtask of its own
    spans = spans_of(page)
    assert len(set(spans)) == 1
    assert spans[0] < whole / 2
    page.mouse.dblclick(box["x"] + 200, box["y"] + 50)
    page.wait_for_timeout(100)
    assert set(spans_of(page)) == {whole}


@needs_uplot
def test_a_refresh_keeps_the_zoom(portal: Any, ana: Host) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    zoomed = page.evaluate(
        """async () => {
          const chart = [...alphaqCharts.values()].find(one => one.drawn), x = chart.data.x;
          chart.drawn.plot.setScale('x', {min: x[10], max: x[60]});
          await new Promise(done => setTimeout(done, 50));
          const before = {...chart.drawn.plot.scales.x};
          await chart.load();
          await new Promise(done => setTimeout(done, 50));
          return [before.min === chart.drawn.plot.scales.x.min, before.max === chart.drawn.plot.scales.x.max];
        }"""
    )
    assert zoomed == [True, True]


@needs_uplot
def test_the_crosshair_is_shared_and_the_chart_under_the_pointer_explains_itself(portal: Any, ana: Host) -> None:
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(READY)
    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 50, steps=3)
    page.wait_for_selector(".aq-tip:not([hidden])")
    assert page.locator(".aq-tip:not([hidden])").count() == 1
    places = page.evaluate("[...alphaqCharts.values()].filter(c => c.drawn).map(c => c.drawn.plot.cursor.idx)")
    assert len(set(places)) == 1


def test_names_from_labels_are_text_and_never_markup(portal: Any, ana: Host, engine: str) -> None:
    page = portal.open(HOST_PAGE)
    evil = "<img src=x onerror=window.hacked=1>"
    data = {"x": [1, 2, 3], "series": [{"name": evil, "values": [1, None, 3]}], "note": evil}
    page.evaluate(
        """(data) => { const at = document.createElement('figure'); at.className = 'aq-chart'; at.id = 'mine';
            document.querySelector('.aq-page').append(at); alphaqChart(at, {data, unit: 'short'}); }""",
        data,
    )
    assert page.locator("#mine .aq-chart-name").inner_text() == evil
    assert page.evaluate("window.hacked") is None
    assert json.dumps(evil)[1:-1] in json.dumps(page.locator("#mine").inner_text())


def test_an_error_of_the_portal_is_shown_where_the_chart_would_be(portal: Any, ana: Host, engine: str) -> None:
    body = json.dumps({"error": "The question reads too many samples."})
    portal.page.route("**/charts/load.json*", lambda route: route.fulfill(status=422, body=body))
    page = portal.open(HOST_PAGE)
    page.wait_for_selector(".aq-chart[data-state=error]")
    assert "too many samples" in page.locator(".aq-chart[data-state=error]").inner_text()
    portal.problems = [one for one in portal.problems if "422" not in one]  # the browser logs each failed request
