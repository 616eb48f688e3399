"""The guide's dashboards as files, and the pages of logs, profiles and targets, in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import structlog

from alphaq_portal import logs, recent_log
from monitoring import profiling
from monitoring.profiling import Recorder, Subject
from tests.browser.test_charts import needs_uplot
from tests.browser.test_dashboards_in_browser import measured  # noqa: F401  (a fixture)
from tests.scrape.build import make_target
from tests.scrape.server import says, target

GUIDE = Path(__file__).resolve().parents[3] / "shared" / "seed" / "monitoring-guide.md"


def guide_files() -> list[str]:
    """The guide's dashboards as they stand."""
    if not GUIDE.exists():
        pytest.skip("the guide is not beside this checkout (../shared/seed)")
    blocks = re.findall(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if '"dashboard"' in block]


def upload(portal: Any, name: str, text: str) -> Any:
    """Import a file by the form; return the page that says what became of each panel."""
    page = portal.open("/dashboards/import/")
    page.set_input_files("[name=file]", {"name": name, "mimeType": "application/json", "buffer": text.encode()})
    page.click("[name=import]")
    page.wait_for_load_state("networkidle")
    return page


@needs_uplot
def test_the_guides_files_are_imported_by_form_and_show_data(portal: Any, measured: None) -> None:  # noqa: F811
    for text, shown in zip(guide_files(), (["GET index", "predict"], ["91", "75"]), strict=True):
        title = json.loads(text)["dashboard"]["title"]
        page = upload(portal, "guide.json", text)
        # All of it was converted, so the dashboard itself comes next.
        assert title in page.title() and "/dashboards/" in page.url and "import" not in page.url
        page.wait_for_selector("#panel-2 .aq-chart[data-state=ready] canvas")
        for number, words in enumerate(shown, 1):
            there = "([id, words]) => document.getElementById(id).textContent.includes(words)"
            page.wait_for_function(there, arg=[f"panel-{number}", words])


def test_a_file_of_an_unknown_version_is_refused_on_the_page(portal: Any) -> None:
    page = upload(portal, "new.json", json.dumps({"title": "x", "schemaVersion": 9999, "panels": []}))
    assert "cannot be imported" in page.locator("[role=alert]").inner_text()
    assert "9999" in page.locator("[role=alert]").inner_text()
    portal.problems.clear()  # the browser logs the answer 422 by itself


@pytest.fixture
def profile(transactional_db: None, settings: Any) -> Any:
    def inner() -> int:
        return sum(number * number for number in range(600_000))

    recorder = Recorder().start()
    inner()
    return profiling.keep(recorder.stop(), Subject("request", "dashboards/", "GET /dashboards/", 200, "root"))


def test_a_flame_is_drawn_searched_and_zoomed(portal: Any, profile: Any) -> None:
    page = portal.open(f"/profiles/{profile.pk}/")
    page.wait_for_selector(".aq-flame-plot rect")
    frames = page.locator(".aq-flame-plot g")
    assert frames.count() >= 3
    page.fill("[data-aq-flame-search]", "genexpr")
    assert page.locator(".aq-flame-plot .is-found").count() >= 1
    page.fill("[data-aq-flame-search]", "")
    page.locator(".aq-flame-plot g", has_text="inner").first.click()
    assert page.locator(".aq-flame-plot .is-above").count() >= 1
    page.click("[data-aq-flame-reset]")
    assert page.locator(".aq-flame-plot .is-above").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_flame_fits_a_phone(portal: Any, profile: Any, scheme: str) -> None:
    portal.page.set_viewport_size({"width": 390, "height": 844})
    portal.page.emulate_media(color_scheme=scheme)
    page = portal.open(f"/profiles/{profile.pk}/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_log_opens_a_row_and_finds_a_request(portal: Any, services: dict[str, str], settings: Any) -> None:
    settings.REDIS_URL = services["REDIS_URL"]
    logs.configure("INFO", recent_url=services["REDIS_URL"])
    with recent_log.connect(services["REDIS_URL"]) as client:
        client.delete(recent_log.KEY)
    with structlog.contextvars.bound_contextvars(request_id="of-this-request"):
        structlog.get_logger("a").warning("<b>strange</b>", host="ana")
    structlog.get_logger("a").warning("other")
    logs.configure("INFO")  # closes the handler, which writes what waits
    page = portal.open("/log/")
    assert page.locator(".aq-log-row").count() == 2
    page.locator(".aq-log-row summary", has_text="<b>strange</b>").click()
    assert "ana" in page.locator(".aq-log-row[open] dl").inner_text()
    page.click("text=of-this-request")
    page.wait_for_load_state("networkidle")
    assert page.locator(".aq-log-row").count() == 1


def test_scrape_now_shows_the_report_and_the_lint(portal: Any) -> None:
    with target(says('# TYPE jobs counter\njobs{user_id="7"} 1\n')) as server:
        row = make_target(server.url)
        page = portal.open(f"/targets/{row.pk}/")
        page.click("text=Scrape now")
        page.wait_for_load_state("networkidle")
    assert "It answered just now: 1 sample." in page.locator(".aq-callout").inner_text()
    assert "counter-without-total" in page.locator(".aq-log").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
