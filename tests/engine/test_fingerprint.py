"""Fingerprints as upstream computes them, and what becomes of posted alerts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.engine.fingerprint import (
    InvalidAlert,
    PostedAlert,
    accept,
    fingerprint,
    fingerprint_of_pairs,
    fingerprints,
    merge,
)
from monitoring.promql import Labels

RECORDED = Path(__file__).resolve().parents[2].parent / "shared" / "oracle" / "recorded"
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def posted(starts: float, ends: float, *, updated: float = 0, is_timeout: bool = False) -> PostedAlert:
    return PostedAlert(
        Labels.of({"alertname": "A"}),
        AT + seconds(starts), AT + seconds(ends), AT + seconds(updated), is_timeout=is_timeout,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"alertname": "Disk", "tok": "a"}, "5ee1cddb8246637c"),
        ({"alertname": "Disk", "tok": "b"}, "5ee5cddb824a4c53"),
        ({}, "cbf29ce484222325"),
    ],
)
def test_AI_5_fingerprints_are_those_of_alertmanager(labels: dict[str, str], expected: str) -> None:
    assert fingerprint(Labels.of(labels)) == expected


def test_AI_5_fingerprints_of_many_alerts_are_those_of_each() -> None:
    texts = ["", "a", "ü😀", "x" * 37, "y" * 5000, "\x00"]
    sets = [Labels.of({f"l{n}": text for n in range(count)}) for text in texts for count in (0, 1, 3)]
    assert fingerprints(sets) == [fingerprint_of_pairs(one) for one in sets]
    assert fingerprints(sets[::-1]) == fingerprints(sets)[::-1]
    assert fingerprints([]) == []


def test_AI_5_fingerprints_agree_with_every_recorded_alert() -> None:
    if not RECORDED.is_dir():
        pytest.skip("recorded runs of the real Alertmanager are not here (../shared/oracle/recorded)")
    alerts = [
        alert
        for file in RECORDED.glob("*.json")
        for notification in json.loads(file.read_text())["notifications"]
        for alert in notification.get("alerts", ())
        if alert.get("fingerprint")
    ]
    assert alerts
    assert [a["fingerprint"] for a in alerts] == [fingerprint(Labels.of(a["labels"])) for a in alerts]


def test_AI_2_an_alert_without_times_starts_now_and_times_out() -> None:
    alert = accept({"alertname": "A"}, at=AT, resolve_timeout_seconds=60)
    assert (alert.starts_at, alert.ends_at, alert.is_timeout) == (AT, AT + seconds(60), True)


def test_AI_2_an_alert_with_only_an_end_starts_there() -> None:
    alert = accept({"alertname": "A"}, at=AT, ends_at=AT - seconds(5))
    assert (alert.starts_at, alert.is_timeout) == (AT - seconds(5), False)


def test_AI_3_an_alert_is_resolved_from_its_end_on() -> None:
    alert = posted(-10, 0)
    assert alert.is_resolved(AT)
    assert not alert.is_resolved(AT - seconds(0.001))


@pytest.mark.parametrize(
    ("labels", "annotations", "ends", "words"),
    [
        ({}, {}, None, "at least one label"),
        ({"alertname": ""}, {}, None, "at least one label"),
        ({"bad-name": "x"}, {}, None, "invalid label set"),
        ({"alertname": "A"}, {"bad name": "x"}, None, "invalid annotations"),
        ({"alertname": "A"}, {}, AT - seconds(60), "before end time"),
        ({"alertname": "\ud800"}, {}, None, "UTF-8"),
    ],
)
def test_AI_4_an_invalid_alert_is_refused(
    labels: dict[str, str], annotations: dict[str, str], ends: datetime | None, words: str
) -> None:
    with pytest.raises(InvalidAlert, match=words):
        accept(labels, at=AT, annotations=annotations, starts_at=AT, ends_at=ends)


def test_AI_4_labels_with_empty_values_are_removed() -> None:
    assert accept({"alertname": "A", "env": ""}, at=AT).labels == Labels.of({"alertname": "A"})


def test_AI_6_a_later_post_replaces_annotations() -> None:
    old = accept({"alertname": "A"}, at=AT, annotations={"summary": "old"})
    new = accept({"alertname": "A"}, at=AT + seconds(1), annotations={"summary": "new"})
    assert merge(old, new, AT + seconds(1)).annotations == {"summary": "new"}


MERGES = [
    ("the earliest start stays", posted(-60, 60), posted(-10, 90, updated=1), -60, 90),
    ("a resolved post ends it", posted(-60, 60), posted(-10, 0, updated=1), -60, 0),
    ("of two ends in the past the later counts", posted(-60, -5), posted(-30, -10, updated=1), -60, -5),
    ("a named later end outlasts a shorter one", posted(-60, 90), posted(-10, 60, updated=1), -60, 90),
    ("a timeout does not outlast a shorter end", posted(-60, 90, is_timeout=True), posted(-10, 60, updated=1), -60, 60),
    ("without overlap the new one replaces", posted(-60, -30), posted(-10, 60, updated=1), -10, 60),
    ("an older post that comes late does not win", posted(-60, 60, updated=5), posted(-10, 30, updated=1), -60, 60),
]


@pytest.mark.parametrize(("what", "old", "new", "starts", "ends"), MERGES, ids=[row[0] for row in MERGES])
def test_AI_7_posts_merge_when_their_ranges_overlap(
    what: str, old: PostedAlert, new: PostedAlert, starts: float, ends: float
) -> None:
    merged = merge(old, new, AT)
    assert (merged.starts_at, merged.ends_at) == (AT + seconds(starts), AT + seconds(ends)), what


def test_AI_7_the_first_post_is_taken_as_it_is() -> None:
    assert merge(None, posted(-10, 60), AT) == posted(-10, 60)
