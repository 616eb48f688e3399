"""What people do to alerts and rules: each verb, its permission, its line in the history."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied

from alerts import actions, dispatch, evaluate
from alerts.models import Alert, Event, GroupClock, Notification, Rule, Silence
from tests import build
from tests.build import T0
from tests.people import member

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
LATER = T0 + timedelta(minutes=5)


@pytest.fixture
def rita() -> User:
    """A member of the group Responder."""
    return member("Responder", "rita")


@pytest.fixture
def edgar() -> User:
    """A member of the group Editor."""
    return member("Editor", "edgar")


@pytest.fixture
def alert() -> Alert:
    """A firing alert."""
    return build.alert(severity="critical", labels={"host": "ana"})


def kinds(alert: Alert) -> list[str]:
    return list(alert.events.order_by("id").values_list("kind", flat=True))


# -- alerts ------------------------------------------------------------------------------------------------------------


def test_an_acknowledgement_says_who_has_it_and_since_when(alert: Alert, rita: User) -> None:
    actions.acknowledge(alert.pk, rita, LATER)
    alert.refresh_from_db()
    assert (alert.acknowledged_by, alert.acknowledged_at) == (rita, LATER)


def test_an_acknowledgement_leaves_a_line_with_its_actor(alert: Alert, rita: User) -> None:
    actions.acknowledge(alert.pk, rita, LATER)
    event = alert.events.get()
    assert (event.kind, event.actor, event.at) == (Event.Kind.ACKNOWLEDGED, rita, LATER)


def test_a_second_acknowledgement_is_told_who_has_it(alert: Alert, rita: User) -> None:
    actions.acknowledge(alert.pk, rita, LATER)
    with pytest.raises(actions.Refused, match="rita has it already"):
        actions.acknowledge(alert.pk, rita, LATER)


def test_what_was_given_back_has_nobody(alert: Alert, rita: User) -> None:
    actions.acknowledge(alert.pk, rita, LATER)
    actions.unacknowledge(alert.pk, rita, LATER)
    alert.refresh_from_db()
    assert (alert.acknowledged_by, alert.acknowledged_at) == (None, None)


def test_nothing_can_be_given_back_that_nobody_has(alert: Alert, rita: User) -> None:
    with pytest.raises(actions.Refused, match="Nobody has acknowledged"):
        actions.unacknowledge(alert.pk, rita, LATER)


def test_a_snooze_holds_until_its_end(alert: Alert, rita: User) -> None:
    actions.snooze(alert.pk, rita, LATER + HOUR, LATER)
    alert.refresh_from_db()
    assert alert.snoozed_until == LATER + HOUR


@pytest.mark.parametrize("until", [T0, LATER, LATER + timedelta(days=8)], ids=["past", "now", "endless"])
def test_a_snooze_into_the_past_or_without_end_is_refused(alert: Alert, rita: User, until: Any) -> None:
    with pytest.raises(actions.Refused):
        actions.snooze(alert.pk, rita, until, LATER)


def test_a_note_stands_in_the_timeline(alert: Alert, rita: User) -> None:
    actions.note(alert.pk, rita, "  the fan is dead  ", LATER)
    assert alert.events.get().reason == "the fan is dead"


@pytest.mark.parametrize("text", ["", "   ", "x" * 5001], ids=["empty", "blank", "endless"])
def test_a_note_says_something_and_not_everything(alert: Alert, rita: User, text: str) -> None:
    with pytest.raises(actions.Refused):
        actions.note(alert.pk, rita, text, LATER)
    assert not alert.events.exists()


@pytest.mark.parametrize("verb", [actions.acknowledge, actions.resolve])
def test_what_has_resolved_can_neither_be_taken_nor_ended(alert: Alert, rita: User, verb: Callable[..., Any]) -> None:
    build.resolve(alert, T0)
    with pytest.raises(actions.Refused, match="resolved already"):
        verb(alert.pk, rita, LATER)


def test_a_posted_alert_can_be_resolved_by_hand(rita: User) -> None:
    posted = build.alert(source="api")
    actions.resolve(posted.pk, rita, LATER)
    posted.refresh_from_db()
    assert (posted.state, posted.resolved_at, kinds(posted)) == (Alert.State.RESOLVED, LATER, ["resolved"])


def test_an_alert_of_a_rule_ends_by_its_rule(rita: User) -> None:
    alert = build.alert(rule=build.rule())
    with pytest.raises(actions.Refused, match="A rule decides"):
        actions.resolve(alert.pk, rita, LATER)


def test_an_alert_whose_series_is_gone_can_be_resolved_by_hand(rita: User) -> None:
    alert = build.alert(rule=build.rule(), no_data_since=T0)
    actions.resolve(alert.pk, rita, LATER)
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED


def test_an_acknowledgement_edits_the_living_message(alert: Alert, rita: User) -> None:
    build.route()
    build.integration()
    dispatch.route([alert], T0)
    at = T0 + timedelta(seconds=31)
    dispatch.flush_due(at)
    build.arrive(at)
    actions.acknowledge(alert.pk, rita, at + HOUR)
    edit = Notification.objects.latest("id")
    assert (edit.kind, edit.reason) == (Notification.Kind.UPDATE, "Acknowledged by rita.")


@pytest.mark.parametrize(
    "act",
    [
        lambda alert, user: actions.acknowledge(alert.pk, user, LATER),
        lambda alert, user: actions.unacknowledge(alert.pk, user, LATER),
        lambda alert, user: actions.snooze(alert.pk, user, LATER + HOUR, LATER),
        lambda alert, user: actions.note(alert.pk, user, "hm", LATER),
        lambda alert, user: actions.resolve(alert.pk, user, LATER),
        lambda alert, user: actions.silence(['host="ana"'], user, LATER, LATER + HOUR, "why", LATER),
        lambda alert, user: actions.set_life([build.rule()], Rule.Life.SHADOW, user, LATER),
        lambda alert, user: actions.duplicate(build.rule(), user, T0),
    ],
    ids=["acknowledge", "unacknowledge", "snooze", "note", "resolve", "silence", "set life", "duplicate"],
)
def test_a_viewer_may_do_nothing(alert: Alert, act: Callable[..., Any]) -> None:
    with pytest.raises(PermissionDenied):
        act(alert, member("Viewer"))
    assert not Event.objects.exists() and not Silence.objects.exists()


def test_a_responder_changes_no_rule(rita: User) -> None:
    rule = build.rule()
    with pytest.raises(PermissionDenied):
        actions.set_life([rule], Rule.Life.DISABLED, rita, LATER)
    rule.refresh_from_db()
    assert rule.life == Rule.Life.LIVE


# -- silences ----------------------------------------------------------------------------------------------------------


def test_a_silence_carries_who_and_why(alert: Alert, rita: User) -> None:
    row = actions.silence(['host="ana"'], rita, LATER, LATER + HOUR, " disk swap ", LATER)
    assert (row.author, row.created_by, row.comment) == (rita, "rita", "disk swap")


def test_each_alert_that_a_silence_covers_gets_a_line(alert: Alert, rita: User) -> None:
    other = build.alert(labels={"host": "ben"})
    actions.silence(['host="ana"'], rita, LATER, LATER + HOUR, "why", LATER)
    assert (kinds(alert), kinds(other)) == (["silenced"], [])


def test_a_preview_names_what_a_silence_would_cover(alert: Alert) -> None:
    build.alert(labels={"host": "ben"})
    preview = actions.preview_silence(['host="ana"'], LATER, LATER + HOUR, LATER)
    assert ([one.pk for one in preview.covered], preview.total) == ([alert.pk], 2)


@pytest.mark.parametrize(
    "matchers",
    [[], ['alertname=~".+"'], ['host=~".*"'], ["host"], ['host=~"("']],
    ids=["none", "every name", "any host", "no matcher", "no regex"],
)
def test_a_silence_of_everything_or_of_nonsense_is_refused(rita: User, matchers: list[str]) -> None:
    with pytest.raises(actions.Refused):
        actions.silence(matchers, rita, LATER, LATER + HOUR, "why", LATER)
    assert not Silence.objects.exists()


@pytest.mark.parametrize(("ends_at", "comment"), [(T0, "why"), (LATER + HOUR, "  ")], ids=["over", "without reason"])
def test_a_silence_needs_a_future_and_a_reason(rita: User, ends_at: Any, comment: str) -> None:
    with pytest.raises(actions.Refused):
        actions.silence(['host="ana"'], rita, LATER, ends_at, comment, LATER)


def test_a_silence_can_be_ended_at_once(rita: User) -> None:
    row = build.silence('host="ana"')
    actions.end_silence(row.pk, rita, LATER)
    row.refresh_from_db()
    assert row.ends_at == LATER


def test_a_silence_that_is_over_is_neither_ended_nor_extended(rita: User) -> None:
    row = build.silence('host="ana"', ends_at=LATER)
    with pytest.raises(actions.Refused):
        actions.end_silence(row.pk, rita, LATER)
    with pytest.raises(actions.Refused):
        actions.extend_silence(row.pk, rita, HOUR, LATER)


def test_a_silence_can_last_longer(rita: User) -> None:
    row = build.silence('host="ana"', ends_at=LATER)
    actions.extend_silence(row.pk, rita, HOUR, T0)
    row.refresh_from_db()
    assert row.ends_at == LATER + HOUR


# -- rules -------------------------------------------------------------------------------------------------------------


def test_a_rule_that_is_switched_off_lets_go_of_what_it_raised(edgar: User) -> None:
    rule = build.rule()
    alert = build.alert(rule=rule)
    actions.set_life([rule], Rule.Life.DISABLED, edgar, LATER)
    alert.refresh_from_db()
    assert (alert.state, alert.resolve_reason) == (Alert.State.RESOLVED, "rule_changed")


def test_pending_alerts_of_a_rule_that_is_switched_off_are_gone(edgar: User) -> None:
    rule = build.rule()
    build.alert(rule=rule, state=Alert.State.PENDING, fired_at=None)
    actions.set_life([rule], Rule.Life.DISABLED, edgar, LATER)
    assert not Alert.objects.exists()


def test_evaluators_read_the_rows_again_after_a_rule_lets_go(edgar: User) -> None:
    rule = build.rule()
    clock = GroupClock.objects.create(group=rule.group, next_slot_at=T0)
    actions.set_life([rule], Rule.Life.SHADOW, edgar, LATER)
    before, _ = clock.state_version, clock.refresh_from_db()
    assert clock.state_version == before + 1


def test_the_change_of_a_rule_is_in_its_history(edgar: User) -> None:
    rule = build.rule()
    actions.set_life([rule], Rule.Life.SHADOW, edgar, LATER)
    event = rule.events.get()
    assert (event.kind, event.actor) == (Event.Kind.CHANGED, edgar)
    assert rule.history.first().life == Rule.Life.SHADOW


def test_a_rule_that_is_there_already_is_not_changed(edgar: User) -> None:
    assert actions.set_life([build.rule()], Rule.Life.LIVE, edgar, LATER) == 0
    assert not Event.objects.exists()


def test_a_copy_is_a_draft_with_the_same_limits(edgar: User) -> None:
    rule = build.rule()
    build.threshold(rule, 90)
    build.threshold(rule, 70, selector='{host="ana"}', reason="small host")
    copy = actions.duplicate(rule, edgar, T0)
    limits = [sorted(one.thresholds.values_list("value", "selector", "reason")) for one in (rule, copy)]
    assert limits[0] == limits[1]
    assert (copy.life, copy.pk == rule.pk) == (Rule.Life.DRAFT, False)


def test_copies_of_one_rule_have_names_of_their_own(edgar: User) -> None:
    rule = build.rule("CPU")
    names = [actions.duplicate(rule, edgar, T0).name for _ in range(3)]
    assert names == ["CPUCopy", "CPUCopy2", "CPUCopy3"]


def test_an_alert_of_a_rule_brought_back_fires_anew(edgar: User) -> None:
    rule = build.rule(expr="vector(1)")
    evaluate.due(T0)
    evaluate.evaluate(rule.group_id, T0)
    first = Alert.objects.get()
    actions.set_life([rule], Rule.Life.DISABLED, edgar, T0 + timedelta(seconds=1))
    actions.set_life([rule], Rule.Life.LIVE, edgar, T0 + timedelta(seconds=2))
    evaluate.evaluate(rule.group_id, T0 + timedelta(seconds=30))
    assert list(Alert.objects.exclude(pk=first.pk).values_list("state", flat=True)) == ["firing"]
