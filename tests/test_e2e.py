"""The whole line as its user has it: a real host, a limit changed in the admin, a message in Slack that is edited."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browse import Page, Visitor
from tests.fakes import FakeSlack
from tests.portal import RunningPortal

pytestmark = pytest.mark.e2e
TOKEN = "xoxb-test"


@pytest.fixture(scope="module")
def slack() -> Iterator[FakeSlack]:
    """Slack, as far as the wire can tell."""
    with FakeSlack(token=TOKEN, channels=["ml-alerts"], strict=True) as server:
        yield server


@pytest.fixture(scope="module")
def portal(slack: FakeSlack) -> Iterator[RunningPortal]:
    """The portal as processes: Postgres, Valkey, gunicorn, a Celery worker and beat."""
    folder = Path(tempfile.mkdtemp(prefix="aq-e2e-"))
    folder.chmod(0o755)
    running = RunningPortal(
        folder, ALPHAQ_SLACK_API_BASE=slack.api_base, ALPHAQ_COLLECT_INTERVAL="1", ALPHAQ_HOST_NAME="ana"
    )
    running.start().wait_ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def staff(portal: RunningPortal) -> Visitor:
    """The first admin, signed in."""
    visitor = Visitor(portal.url)
    assert "/admin/" in visitor.sign_in("admin", portal.password()).url
    return visitor


def rule_page(staff: Visitor, name: str) -> Page:
    """The form of a rule, found through the list as a person finds it."""
    found = re.search(r'href="(/admin/alerts/rule/\d+/change/[^"]*)"', staff.get(f"/admin/alerts/rule/?q={name}").text)
    assert found, f"{name} is not in the list"
    return staff.get(found.group(1))


def save(staff: Visitor, page: Page, **changes: str) -> None:
    answer = staff.send(page, "expr", **changes)
    assert answer.status == 200
    assert "errornote" not in answer.text, re.findall(r'class="errorlist[^>]*>(.*?)</ul>', answer.text, re.S)


def await_page(staff: Visitor, path: str, words: str, within_seconds: float = 30) -> Page:
    """The page as soon as it says `words`; pages are the only thing a person can look at."""
    deadline = time.monotonic() + within_seconds
    while True:
        page = staff.get(path)
        if words in page.text:
            return page
        assert time.monotonic() < deadline, f"{path} does not say {words!r}"
        time.sleep(0.3)


def test_the_host_of_the_worker_appears_by_itself(staff: Visitor):
    page = await_page(staff, "/admin/monitoring/host/", "ana")
    assert page.status == 200


def test_slack_is_connected_on_one_page(staff: Visitor, slack: FakeSlack):
    page = staff.get("/setup/slack/")
    wrong = staff.send(page, "bot_token", bot_token="xoxb-wrong", channel="#ml-alerts")
    assert "invalid_auth" in wrong.text or "token" in wrong.text
    right = staff.send(staff.get("/setup/slack/"), "bot_token", bot_token=TOKEN, channel="#ml-alerts")
    assert right.status == 200
    tested = staff.send(staff.get("/setup/slack/"), "test")
    assert tested.status == 200
    assert slack.wait_for_message("ml-alerts", "est", timeout=20)


def test_a_limit_lowered_in_the_admin_fires_and_a_raised_one_resolves_the_same_message(
    staff: Visitor, slack: FakeSlack
):
    page = rule_page(staff, "HostMemoryHigh")
    save(
        staff,
        page,
        hold_seconds="0s",
        **{"thresholds-0-value": "0.001", "thresholds-1-value": "99.9"},
    )
    (fired, *_) = slack.wait_for_message("ml-alerts", "HostMemoryHigh", timeout=60)
    assert fired.says("ana")
    assert fired.event["status"] == "firing"
    told_before = len([message for message in slack.messages("ml-alerts", replies=False) if message.says("HostMemory")])

    save(staff, rule_page(staff, "HostMemoryHigh"), **{"thresholds-0-value": "99"})
    assert slack.wait_for(
        lambda server: any(
            message.ts == fired.ts and message.event.get("status") == "resolved"
            for message in server.messages("ml-alerts", replies=False)
        ),
        120,
    )
    told = [message for message in slack.messages("ml-alerts", replies=False) if message.says("HostMemory")]
    assert len(told) == told_before


def test_the_alert_and_its_message_are_on_their_pages(staff: Visitor):
    page = await_page(staff, "/alerts/?state=resolved", "HostMemoryHigh")
    link = re.search(r'href="(/alerts/\d+/)"', page.text)
    assert link
    story = staff.get(link.group(1)).text
    assert "ana" in story
    assert "resolved" in story
    assert "HostMemoryHigh" in staff.get("/admin/alerts/notification/").text


def test_metrics_count_what_the_processes_did(staff: Visitor):
    text = staff.get("/metrics").text
    evaluated = re.search(r'alphaq_rule_evaluations_total\{outcome="ok"\} (\d+)', text)
    assert evaluated
    assert int(evaluated.group(1)) > 0
    assert "alphaq_ingest" in text
