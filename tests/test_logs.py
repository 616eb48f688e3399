"""Logs: JSON lines, ISO UTC times, one line a request, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from alphaq_portal import log_clean, logs

SECRETS = [
    "xoxb-" + "1234-5678-abcdefghij",
    "https://hooks.slack.com/" + "services/T000/B000/XXXXXXXX",
    "postgres://portal:hunter2" + "@db/portal",
]


@pytest.fixture
def lines():
    """What the console handler wrote so far, parsed."""
    logs.configure("INFO")
    buffer = io.StringIO()
    (console,) = [handler for handler in logging.getLogger().handlers if handler.name == "console"]
    console.setStream(buffer)
    return lambda: [json.loads(line) for line in buffer.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def _restore():
    yield
    logs.configure("INFO")


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_by_its_shape(lines, secret):
    structlog.get_logger("a").warning("failed", detail=f"could not reach {secret} today")
    logging.getLogger("b").warning("could not reach %s", secret)
    text = json.dumps(lines())
    assert "hunter2" not in text
    assert secret not in text
    assert logs.HIDDEN in text


@pytest.mark.parametrize("name", ["password", "bot_token", "Authorization", "api_key", "cookie"])
def test_a_secret_is_hidden_by_its_name_however_deep(lines, name):
    structlog.get_logger("a").warning("event", config={"inner": [{name: "hunter2"}]})
    assert "hunter2" not in json.dumps(lines())


def test_a_traceback_carries_no_local_variables(lines):
    def fails() -> None:
        local_value = "hunter2"
        raise ValueError(len(local_value))

    try:
        fails()
    except ValueError:
        structlog.get_logger("a").exception("broken")
    written = lines()
    assert "hunter2" not in json.dumps(written)
    assert written[0]["exception"][0]["exc_type"] == "ValueError"


def test_bytes_do_not_break_a_line(lines):
    structlog.get_logger("a").warning("event", body=b"\xff\x00ok")
    assert lines()[0]["body"].endswith("ok")


def test_each_line_has_an_iso_time_in_utc(lines):
    logging.getLogger("b").warning("hello")
    assert lines()[0]["timestamp"].endswith("Z")


def test_a_request_leaves_one_line_with_its_outcome(lines):
    Client().get("/health")
    (line,) = [line for line in lines() if line["event"] == "request_processed"]
    assert (line["method"], line["path"], line["route"], line["status"]) == ("GET", "/health", "health", 200)
    assert line["duration"] >= 0
    assert len(line["request_id"]) == 32


@pytest.mark.django_db
@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(("level", "resends"), [("INFO", 0), ("DEBUG", 2)])
def test_a_resend_that_changes_nothing_leaves_its_line_at_debug(lines, level, resends):
    logging.getLogger().setLevel(level)
    alert = json.dumps([{"labels": {"alertname": "HostDown"}}])
    for _ in range(3):
        assert Client().post("/api/v2/alerts", alert, content_type="application/json").status_code == 200
    found = [line["level"] for line in lines() if line["event"] == "request_processed"]
    assert found == ["info"] + ["debug"] * resends


@given(
    st.lists(
        st.one_of(
            st.text("abzT_019./:+-=@ \"'&?(", max_size=12),
            st.sampled_from(["password", "token", "xoxb-", "xapp-", "bearer ", "https://", "cookie:", "api_key="]),
        ),
        max_size=6,
    ).map("".join)
)
def test_a_text_that_is_taken_for_plain_is_one_that_no_shape_fits(text):
    cleaned = text
    for shape, instead in log_clean._SHAPES:
        cleaned = shape.sub(instead, cleaned)
    assert log_clean.Cleaner().text(text) == cleaned
