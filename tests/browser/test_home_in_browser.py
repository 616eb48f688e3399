"""The home page in a real browser: no errors under the content policy, fresh without a reload, fit for a phone."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from alphaq_portal import bar
from tests import build

# WCAG 2.2, 1.4.3: contrast of text with what lies behind it.
CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour, under) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data;
  };
  const hex = (data) => `rgb(${data[0]},${data[1]},${data[2]})`;
  const light = (data) => [0, 1, 2].map(i => data[i] / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement) chain.unshift(getComputedStyle(at).backgroundColor);
    return chain.reduce((under, colour) => hex(rgb(colour, under)), 'rgb(255,255,255)');
  };
  const found = {};
  for (const selector of ['.aq-tile-name', '.aq-tile-value', '.aq-tile-note', '.aq-alert-name', '.aq-alert-labels',
      '.aq-alert-value b', '.aq-alert-since', '.aq-label', '.aq-pill', '.aq-empty p', '.aq-callout p', '.aq-more']) {
    const element = document.querySelector(selector);
    if (!element) continue;
    const under = behind(element);
    const [a, b] = [light(rgb(getComputedStyle(element).color, under)), light(rgb(under, under))].sort((x, y) => y - x);
    found[selector] = (a + 0.05) / (b + 0.05);
  }
  return found;
}"""


def test_the_pulse_brings_a_new_alert_into_the_open_page(portal: Any) -> None:
    page = portal.open("/admin/")
    assert "Nothing fires" in page.inner_text("body") or "No rule is live" in page.inner_text("body")
    build.alert("GPUHot", at=timezone.now(), severity="critical", value=91, limit_value=85)
    bar.forget()
    page.evaluate("alphaqBeat()")
    page.wait_for_selector(".aq-alert-name:has-text('GPUHot')")
    assert page.locator(".aq-bar .is-critical").first.inner_text().split() == ["1", "critical"]
    assert page.title().startswith("(1) ")


def test_a_lost_portal_is_told_on_the_page(portal: Any) -> None:
    page = portal.open("/admin/")
    page.route("**/pulse.json*", lambda route: route.abort())
    page.evaluate("alphaqBeat().then(() => alphaqBeat())")
    page.wait_for_selector("html[data-aq-offline]")
    assert page.locator(".aq-offline").is_visible()
    portal.problems = [one for one in portal.problems if "ERR_FAILED" not in one]


@pytest.mark.parametrize("path", ["/admin/", "/admin/monitoring/host/", "/admin/auth/user/"])
def test_a_page_fits_a_phone(portal: Any, path: str) -> None:
    portal.page.set_viewport_size({"width": 390, "height": 844})
    build.alert("AVeryLongNameOfAnAlertThatSomebodyHasGiven", severity="critical", labels={"path": "/x" * 60})
    page = portal.open(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_theme(portal: Any, scheme: str) -> None:
    portal.page.emulate_media(color_scheme=scheme)
    page = portal.open("/admin/")
    assert ("dark" in (page.get_attribute("html", "class") or "")) is (scheme == "dark")


def test_text_is_readable_in_both_themes(portal: Any) -> None:
    build.alert("GPUHot", severity="warning", value=1, limit_value=2)
    for scheme in ("light", "dark"):
        portal.page.emulate_media(color_scheme=scheme)
        page = portal.open("/admin/")
        ratios = page.evaluate(CONTRASTS)
        assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}, scheme


def test_a_form_stays_when_the_session_ends(portal: Any) -> None:
    page = portal.open("/admin/auth/user/add/")
    page.fill("input[name=username]", "typed")
    portal.context.clear_cookies()
    page.evaluate("alphaqBeat()")
    page.wait_for_selector(".aq-signed-out")
    assert page.input_value("input[name=username]") == "typed"
    portal.problems = [one for one in portal.problems if "401" not in one]
