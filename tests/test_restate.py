"""What stands in a living message beside its alerts stays there, however often and by whomever it is edited."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from alerts import actions, dispatch
from alerts.models import Alert, Notification
from tests import build
from tests.build import T0
from tests.people import member

pytestmark = pytest.mark.django_db


def seconds(n: float):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


@pytest.fixture(autouse=True)
def root():
    """Everything to one Slack channel in one group: 1 s, 10 s."""
    root = build.route(group_wait_seconds=1, group_interval_seconds=10)
    return build.integration(root.receiver)


@pytest.fixture
def ann() -> User:
    """A Responder."""
    return member("Responder", "ann")


def fire(tok: str, n: float = 0) -> Alert:
    """A firing alert, routed as it began."""
    row = build.alert("A", seconds(n), labels={"tok": tok})
    dispatch.route([row], seconds(n))
    return row


def tick(n: float) -> list[Notification]:
    """What arrived at T0 + n seconds but for lines in threads, with the groups flushed first."""
    dispatch.flush_due(seconds(n))
    return [row for row in build.arrive(seconds(n)) if row.kind != "thread"]


def end(row: Alert, n: float) -> None:
    """The alert resolves."""
    build.resolve(row, seconds(n))
    dispatch.route([row], seconds(n))


def notes(message: Notification) -> str:
    """The small print of a message."""
    return " | ".join(message.message["notes"])


def test_a_silence_stays_in_the_message_when_somebody_acts_on_it(ann: User) -> None:
    row = fire("1")
    tick(2)
    actions.silence(['tok="1"'], ann, seconds(3), seconds(3600), "planned work", seconds(3))
    tick(4)
    actions.acknowledge(row.pk, ann, seconds(5))
    [edit] = tick(6)
    assert "Silenced by ann until 2026-03-04 13:00 UTC: planned work" in notes(edit)


def test_a_silence_stays_in_the_message_when_another_alert_joins_it(ann: User) -> None:
    fire("1")
    tick(2)
    actions.silence(['tok="1"'], ann, seconds(3), seconds(3600), "planned work", seconds(3))
    tick(4)
    fire("2", 5)
    [edit] = tick(12)
    assert notes(edit) == "1 more not told: silenced by ann: planned work"


def test_a_mark_shows_in_the_message_that_told_the_end(ann: User) -> None:
    row = fire("1")
    tick(2)
    end(row, 5)
    tick(12)
    actions.mark_all([row.pk], ann, "noise", seconds(20))
    [edit] = tick(21)
    assert (edit.kind, edit.status, edit.why) == ("update", "resolved", "restated")
    assert notes(edit) == "Marked as noise by ann"


def test_a_note_on_an_ended_alert_edits_its_message(ann: User) -> None:
    row = fire("1")
    tick(2)
    end(row, 5)
    tick(12)
    actions.note(row.pk, ann, "It was the cooling.", seconds(20))
    [edit] = tick(21)
    assert (edit.kind, edit.reason) == ("update", "ann: It was the cooling.")


def test_marks_of_several_people_stand_together_and_once(ann: User) -> None:
    row = fire("1")
    tick(2)
    end(row, 5)
    tick(12)
    for number, (user, verdict) in enumerate([(ann, "noise"), (member("Responder", "ben"), "useful"), (ann, "useful")]):
        actions.mark_all([row.pk], user, verdict, seconds(20 + number))
        edits = tick(20 + number)
    assert notes(edits[-1]) == "Marked as useful by ann, ben"


def test_a_mark_stays_when_a_tick_edits_the_message(ann: User) -> None:
    row = fire("1")
    tick(2)
    actions.mark_all([row.pk], ann, "noise", seconds(3))
    tick(4)
    fire("2", 5)
    [edit] = tick(12)
    assert notes(edit) == "Marked as noise by ann"


def test_a_mark_on_an_ended_alert_does_not_wake_the_group(ann: User) -> None:
    row = fire("1")
    tick(2)
    end(row, 5)
    tick(12)
    actions.mark_all([row.pk], ann, "noise", seconds(20))
    tick(21)
    assert tick(32) == []
