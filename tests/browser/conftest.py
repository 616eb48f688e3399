"""A real browser at a real server; skipped where Chromium or Playwright is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from alphaq_portal import bar
from tests.people import superuser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """A running browser, for this folder alone: while it runs, its loop runs in the tests' thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as api:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Django refuses the database where a loop runs
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def portal(chromium: Any, transactional_db: None, live_server: Any) -> Iterator[Any]:
    """A signed-in superuser's pages: `portal.open(path)`; fails when a page logs an error or breaks the CSP."""
    bar.forget()
    client = Client()
    client.force_login(superuser())
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    visit = Visit(context, live_server.url)
    yield visit
    visit.page.goto("about:blank")  # no question of the page meets the tables being emptied
    context.close()
    bar.forget()
    assert visit.problems == []


class Visit:
    """One browser window at the portal, and what went wrong in it."""

    def __init__(self, context: Any, base: str) -> None:
        self.context, self.base, self.problems = context, base, []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", self._note)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def open(self, path: str) -> Any:
        """The page at `path` with its charts drawn or their notes shown."""
        self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")
        return self.page
