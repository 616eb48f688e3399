"""Alerts of rule groups that nobody evaluates any more (PN-8)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from alerts import alert_list, stopped
from alerts.models import Alert, GroupClock
from alphaq_portal import bar
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
SOON, LATE = T0 + timedelta(seconds=239), T0 + timedelta(seconds=240)


def an_alert(interval_seconds: float = 15) -> Alert:
    """A firing alert whose rule was last evaluated at T0."""
    rule = build.rule(group=build.rule_group(interval_seconds=interval_seconds))
    GroupClock.objects.create(group=rule.group, last_slot_at=T0, next_slot_at=T0)
    return build.alert(rule=rule)


def test_PN_8_an_alert_is_stale_when_its_rule_was_not_evaluated_for_four_minutes():
    alert = an_alert()
    assert stopped.stale_since(alert, SOON) is None
    assert stopped.stale_since(alert, LATE) == T0


def test_PN_8_a_rule_of_a_long_interval_has_four_intervals():
    alert = an_alert(interval_seconds=300)
    assert stopped.stale_since(alert, T0 + timedelta(minutes=19)) is None
    assert stopped.stale_since(alert, T0 + timedelta(minutes=20)) == T0


def test_PN_8_the_list_says_which_alerts_are_stale():
    an_alert()
    rows = alert_list.listing(alert_list.Wanted(), LATE).rows
    assert [row.stale_since for row in rows] == [T0]


def test_PN_8_the_bar_counts_groups_that_are_not_evaluated():
    an_alert()
    assert (bar.read_status(SOON).stopped, bar.read_status(LATE).stopped) == (0, 1)


@pytest.mark.parametrize(
    ("setting", "states"),
    [
        ("show", {"HostCPUHigh": "firing"}),
        ("resolve", {"HostCPUHigh": "resolved"}),
        ("announce", {"HostCPUHigh": "firing", "EvaluationStopped": "firing"}),
    ],
)
def test_PN_8_a_setting_says_what_becomes_of_them(settings, setting: str, states: dict[str, str]):
    an_alert()
    settings.ENV = dataclasses.replace(settings.ENV, evaluation_stopped=setting)
    stopped.care_for(SOON)
    assert dict(Alert.objects.values_list("name", "state")) == {"HostCPUHigh": "firing"}
    stopped.care_for(LATE)
    assert dict(Alert.objects.values_list("name", "state")) == states


def test_PN_8_the_announcement_goes_to_whom_a_route_sends_it(settings):
    build.route()
    an_alert()
    settings.ENV = dataclasses.replace(settings.ENV, evaluation_stopped="announce")
    stopped.care_for(LATE)
    told = Alert.objects.get(name="EvaluationStopped")
    assert told.memberships.exists()
