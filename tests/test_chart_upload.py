"""The chart in the thread of a new message: drawn from stored values, and never in the message's way."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alerts import chart_image, chart_upload, deliver, dispatch
from alerts.models import Alert, Notification
from monitoring import store
from tests import build
from tests.fakes import FakeSlack

X = [1_772_625_600 + 15 * number for number in range(120)]


def drawn(values: list[float | None], **more: Any) -> Image.Image | None:
    columns = {"x": X[: len(values)], "series": [{"name": "a", "values": values}], **more}
    picture = chart_image.png("Hot", columns, [{"value": 0.8, "severity": "critical"}], lambda value: f"{value:g}")
    return Image.open(io.BytesIO(picture)) if picture else None


def colors(image: Image.Image) -> set[tuple[int, ...]]:
    return {color for _, color in image.convert("RGB").getcolors(1 << 20) or ()}


def test_a_chart_is_a_picture_of_known_size() -> None:
    image = drawn([0.1, 0.9, 0.5])
    assert image and (image.format, image.size) == ("PNG", (chart_image.WIDTH, chart_image.HEIGHT))


@pytest.mark.parametrize("values", [[], [None, None], [float("nan")], [float("inf")]])
def test_without_a_value_there_is_no_picture(values: Any) -> None:
    assert drawn(values) is None


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e300, 1e300], [1e-12, None, 2e-12], [-3.0, -3.0]])
def test_any_values_can_be_drawn(values: Any) -> None:
    assert drawn(values) is not None


def test_the_time_of_firing_is_a_band() -> None:
    plain, banded = drawn([0.1, 0.9] * 10), drawn(
        [0.1, 0.9] * 10, bands=[{"from": X[5], "to": X[15], "severity": "critical"}]
    )  # fmt: skip
    assert plain and banded and (0xFB, 0xE3, 0xE3) in colors(banded) - colors(plain)


def test_a_band_outside_the_picture_changes_nothing() -> None:
    plain = drawn([0.1, 0.9])
    other = drawn([0.1, 0.9], bands=[{"from": 5, "to": 9, "severity": "info"}])
    assert plain and other and plain.tobytes() == other.tobytes()


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """A workspace."""
    with FakeSlack() as fake:
        settings.ENV = dataclasses.replace(settings.ENV, slack_api_base=fake.api_base)
        yield fake


@pytest.fixture
def told(slack: FakeSlack, db: None) -> datetime:
    """The time at which a message about an alert with values arrived."""
    at = datetime.now(UTC).replace(microsecond=0)
    for minute in reversed(range(20)):
        at_ms = round((at - timedelta(minutes=minute)).timestamp() * 1000)
        scrape = store.Scrape("h", {"host": "ana"}, at_ms, ["temp_c"], np.array([90.0 + minute]))
        store.append([scrape], now_ms=at_ms)
    row = build.threshold(rule := build.rule("Hot", expr="temp_c"), 80.0, severity="critical")
    alert = build.alert(
        "Hot", severity="critical", labels={"host": "ana"}, rule=rule, threshold=row, limit_value=80.0, at=at
    )
    build.route(group_wait_seconds=0)
    build.integration()
    dispatch.route([alert], at)
    dispatch.flush_due(at)
    deliver.run(at, "test")
    return at


def test_the_chart_stands_in_the_thread_of_the_message(told: datetime, slack: FakeSlack) -> None:
    assert chart_upload.upload_due(told) == 1
    message, upload = slack.messages("#alerts")
    assert upload.thread_ts == message.ts and Notification.objects.get().chart == "sent"
    [picture] = slack.uploads.values()
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_a_chart_is_uploaded_once(told: datetime, slack: FakeSlack) -> None:
    assert [chart_upload.upload_due(told) for _ in range(3)] == [1, 0, 0]
    assert len(slack.uploads) == 1


def test_a_failure_is_noted_and_not_tried_again(told: datetime, slack: FakeSlack) -> None:
    slack.set_mode("*", "status", code=503)
    assert [chart_upload.upload_due(told) for _ in range(2)] == [0, 0]
    row = Notification.objects.get()
    assert (row.state, "unavailable" in row.chart) == ("sent", True)


def test_a_failure_stops_no_channel(told: datetime, slack: FakeSlack) -> None:
    slack.scopes.discard("files:write")
    chart_upload.upload_due(told)
    other = build.alert("Other", severity="critical", labels={"host": "ben"}, at=told)
    dispatch.route([other], told)
    dispatch.flush_due(told + timedelta(seconds=1))
    deliver.run(told + timedelta(seconds=1), "test")
    assert [row.state for row in Notification.objects.all()] == ["sent", "sent"]


def test_a_bot_that_may_not_upload_is_not_asked_each_time(told: datetime, slack: FakeSlack) -> None:
    slack.scopes.discard("files:write")
    chart_upload.upload_due(told)
    asked = len(slack.requests)
    Notification.objects.update(chart="not allowed: x")
    Notification.objects.create(
        **{**{f.attname: getattr(Notification.objects.get(), f.attname) for f in Notification._meta.concrete_fields},
           "id": None, "dedup_key": "another", "chart": ""}
    )  # fmt: skip
    chart_upload.upload_due(told)
    assert len(slack.requests) == asked


@pytest.mark.parametrize("change", [{"kind": "update"}, {"status": "resolved"}, {"slack_ts": ""}, {"state": "dead"}])
def test_only_new_messages_that_arrived_get_a_chart(told: datetime, slack: FakeSlack, change: Any) -> None:
    Notification.objects.update(**change)
    assert chart_upload.upload_due(told) == 0 and not slack.uploads


def test_what_has_no_values_has_no_chart(told: datetime, slack: FakeSlack) -> None:
    Alert.objects.update(rule=None, source="api", labels={"alertname": "Hot"})
    chart_upload.upload_due(told)
    assert Notification.objects.get().chart == "nothing to draw" and not slack.uploads


def test_an_old_message_gets_no_chart(told: datetime, slack: FakeSlack) -> None:
    assert chart_upload.upload_due(told + timedelta(minutes=11)) == 0
