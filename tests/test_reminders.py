"""Whoever has an alert for long is asked; what nobody confirms is taken back; what is worse is told in spite of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from alerts import actions, clicks, deliver, dispatch, reminders
from alerts.models import Alert, Event, Notification, SlackLink
from tests import build, clicking
from tests.build import T0
from tests.fakes import FakeSlack
from tests.people import member

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """A workspace with an app whose clicks arrive."""
    with FakeSlack() as fake:
        settings.ENV = dataclasses.replace(settings.ENV, slack_api_base=fake.api_base)
        build.slack_app(signing_secret=clicking.SECRET)
        yield fake


@pytest.fixture
def ann() -> User:
    """A Responder who is linked to a member of the workspace."""
    user = member("Responder", "ann")
    SlackLink.objects.create(user=user, slack_user_id="U0000042")
    return user


@pytest.fixture
def held(slack: FakeSlack, ann: User) -> Alert:
    """An alert that was told and that ann has had since T0."""
    build.route(group_wait_seconds=0)
    build.integration()
    alert = build.alert(severity="warning", labels={"host": "ana"})
    tell(alert, T0)
    actions.acknowledge(alert.pk, ann, T0)
    deliver.run(T0, "test")
    deliver.run(T0, "test")
    return alert


def tell(alert: Alert, at: datetime) -> None:
    dispatch.route([alert], at)
    dispatch.flush_due(at)
    deliver.run(at, "test")


def remind(at: datetime) -> list[int]:
    made = reminders.remind(at, 4 * HOUR)
    deliver.run(at, "test")
    return made


def test_whoever_has_it_is_asked_in_the_thread(held: Alert, slack: FakeSlack) -> None:
    remind(T0 + 4 * HOUR)
    line = slack.messages("#alerts", replies=True)[-1]
    assert line.thread_ts == slack.messages("#alerts", replies=False)[0].ts
    assert line.text == "<@U0000042> has had it for 4 h, and it still fires.\nStill on it?"


def test_nobody_is_asked_before_the_time(held: Alert) -> None:
    assert remind(T0 + 4 * HOUR - timedelta(seconds=1)) == []


def test_whoever_has_it_is_asked_once_each_time(held: Alert) -> None:
    asked = [len(remind(T0 + hours * HOUR)) for hours in (4, 5, 7, 8, 9, 12)]
    assert asked == [1, 0, 0, 1, 0, 1]


def test_the_timeline_says_who_was_reminded(held: Alert) -> None:
    remind(T0 + 4 * HOUR)
    assert held.events.get(kind=Event.Kind.REMINDED).reason == "Acknowledged for 4 h: still on it?"


@pytest.mark.parametrize("change", [{"state": "resolved"}, {"snoozed_until": T0 + 9 * HOUR}, {"is_shadow": True}])
def test_what_is_over_or_snoozed_is_not_asked_about(held: Alert, change: Any) -> None:
    Alert.objects.filter(pk=held.pk).update(**change)
    assert remind(T0 + 4 * HOUR) == []


def test_zero_hours_ask_nobody_and_take_nothing(held: Alert) -> None:
    assert reminders.remind(T0 + 99 * HOUR, timedelta()) == []
    assert reminders.take_back(T0 + 99 * HOUR, timedelta()) == []


def test_the_question_has_a_button_for_still_on_it(held: Alert, slack: FakeSlack) -> None:
    remind(T0 + 4 * HOUR)
    clicking.send(clicking.press(slack.messages("#alerts", replies=True)[-1], "Still on it"))
    clicks.work_off(clicks.SlackClick.objects.get().at)
    held.refresh_from_db()
    assert held.acknowledge_confirmed_at is not None and held.acknowledge_reminded_at is None


def test_what_nobody_confirms_is_taken_back(held: Alert) -> None:
    assert [alert.pk for alert in reminders.take_back(T0 + 24 * HOUR, 24 * HOUR)] == [held.pk]
    held.refresh_from_db()
    event = held.events.get(kind=Event.Kind.UNACKNOWLEDGED)
    assert (held.acknowledged_at, held.acknowledged_by, event.actor) == (None, None, None)
    assert event.reason == "Nobody has said for 1 d that they are on it: nobody has it now."


def test_the_message_says_that_nobody_has_it_any_more(held: Alert, slack: FakeSlack) -> None:
    reminders.take_back(T0 + 24 * HOUR, 24 * HOUR)
    deliver.run(T0 + 24 * HOUR, "test")
    living = slack.messages("#alerts", replies=False)[0]
    assert not living.says("acknowledged by") and living.says('"alert.acknowledge"')


def test_what_was_confirmed_stays(held: Alert, ann: User) -> None:
    actions.confirm_all([held.pk], ann, T0 + 20 * HOUR)
    assert reminders.take_back(T0 + 24 * HOUR, 24 * HOUR) == []
    assert [one.pk for one in reminders.take_back(T0 + 44 * HOUR, 24 * HOUR)] == [held.pk]


def test_nobody_confirms_what_nobody_has(held: Alert, ann: User) -> None:
    actions.unacknowledge(held.pk, ann, T0 + HOUR)
    with pytest.raises(actions.Refused):
        actions.confirm_all([held.pk], ann, T0 + 2 * HOUR)


def test_an_acknowledged_alert_is_not_repeated(held: Alert, slack: FakeSlack) -> None:
    for hours in range(1, 12):
        dispatch.flush_due(T0 + hours * HOUR)
    assert Notification.objects.filter(why="repeat").count() == 0


def test_what_was_taken_back_is_repeated_again(held: Alert, slack: FakeSlack) -> None:
    for hours in range(1, 24):
        dispatch.flush_due(T0 + hours * HOUR)
    reminders.take_back(T0 + 24 * HOUR, 24 * HOUR)
    deliver.run(T0 + 24 * HOUR, "test")
    dispatch.flush_due(T0 + 24 * HOUR)
    assert Notification.objects.filter(why="repeat").count() == 1


def test_what_gets_worse_is_told_although_somebody_has_it(held: Alert, slack: FakeSlack) -> None:
    worse = build.alert(severity="critical", labels={"host": "ana"}, at=T0 + HOUR)
    tell(worse, T0 + HOUR)
    living = slack.messages("#alerts", replies=False)[0]
    assert living.text.startswith("🔴 *Critical") and "acknowledged" not in living.text
