"""Steps, waits and repeats of an escalation, and what stops or restarts them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alerts.engine.escalation import (
    DueStep,
    Incident,
    Policy,
    Progress,
    Step,
    Target,
    choose,
    describe,
    dropped_ack,
    freeze,
    hold,
    is_worse,
    next_step,
    plan,
    snooze_until,
    started_at,
    thaw,
)
from alerts.engine.matching import parse_alertmanager_matchers
from monitoring.promql import Labels

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ONCALL, BOSS = Target("receiver", "oncall"), Target("user", "boss")
POLICY = Policy(1, "p1", (Step(5, (ONCALL,)), Step(5, (BOSS,))), parse_alertmanager_matchers("severity=critical"))
INCIDENT = Incident(created_at=AT, first_delivered_at=AT)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def times(policy: Policy, incident: Incident = INCIDENT) -> list[float]:
    return [(step.due_at - AT).total_seconds() for step in plan(policy, incident)]


def due_step(policy: Policy, incident: Incident, progress: Progress, at: datetime) -> DueStep | None:
    """The step to run at `at`, as the portal asks: the next one, unless it is to come or something holds the chain."""
    coming = next_step(policy, incident, progress)
    return coming if coming is not None and coming.due_at <= at and hold(incident, at) is None else None


def test_DL_9_waits_count_from_the_first_delivered_message() -> None:
    assert times(POLICY, replace(INCIDENT, first_delivered_at=after(3))) == [8, 13]


def test_DL_9_an_unreachable_channel_escalates_a_minute_after_creation() -> None:
    assert started_at(replace(INCIDENT, first_delivered_at=None)) == after(60)
    assert started_at(replace(INCIDENT, first_delivered_at=after(900))) == after(60)


def test_DL_9_the_chain_repeats_as_often_as_the_policy_says() -> None:
    assert times(replace(POLICY, repeats=2)) == [5, 10, 15, 20, 25, 30]


def test_DL_9_after_the_last_step_nothing_comes() -> None:
    assert next_step(POLICY, INCIDENT, Progress(2, after(10))) is None


def test_a_step_is_due_at_its_time_and_not_before() -> None:
    assert due_step(POLICY, INCIDENT, Progress(), after(4.9)) is None
    step = due_step(POLICY, INCIDENT, Progress(), after(5))
    assert step is not None
    assert (step.number, step.step.targets, step.words) == (0, (ONCALL,), "p1, step 1 of 2: tell receiver oncall")


def test_a_late_worker_does_not_run_two_steps_at_once() -> None:
    first = due_step(POLICY, INCIDENT, Progress(), after(100))
    assert first is not None
    assert first.number == 0
    second = due_step(POLICY, INCIDENT, first.progress(), after(100))
    assert second is not None
    assert second.number == 1


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"is_resolved": True}, "resolved"),
        ({"acknowledged_at": AT, "acknowledged_by": "ana"}, "acknowledged"),
        ({"snoozed_until": after(3600)}, "snoozed"),
        ({"is_silenced": True}, "silenced"),
    ],
)
def test_DL_9_a_step_is_not_run_while_something_holds_the_chain(changes: dict[str, object], kind: str) -> None:
    incident = replace(INCIDENT, **changes)  # type: ignore[arg-type]
    held = hold(incident, after(100))
    assert held is not None
    assert held.kind == kind
    assert due_step(POLICY, incident, Progress(), after(100)) is None


def test_a_snooze_moves_the_next_step_to_its_end() -> None:
    incident = replace(INCIDENT, snoozed_until=after(60))
    assert times(POLICY, incident) == [60, 65]
    assert due_step(POLICY, incident, Progress(), after(60)) is not None


def test_a_restart_begins_the_chain_anew() -> None:
    assert times(POLICY, replace(INCIDENT, restarted_at=after(100))) == [105, 110]


def test_an_acknowledgement_drops_when_severity_rises() -> None:
    assert dropped_ack(POLICY, "warning", "critical") == "it became critical after it was acknowledged as warning"


@pytest.mark.parametrize(("before", "now"), [("critical", "critical"), ("critical", "warning"), ("warning", "odd")])
def test_an_acknowledgement_stands_otherwise(before: str, now: str) -> None:
    assert dropped_ack(None, before, now) == ""


def test_a_policy_may_let_acknowledgements_stand() -> None:
    assert dropped_ack(replace(POLICY, drops_ack_when_worse=False), "warning", "critical") == ""


def test_severity_is_compared_in_the_callers_order() -> None:
    assert is_worse("ticket", "page", ("ticket", "page"))


def test_a_frozen_policy_survives_json() -> None:
    policy = replace(POLICY, repeats=1, matchers=parse_alertmanager_matchers('a=~"x|\\"y\\"",b!=c'))
    assert thaw(json.loads(json.dumps(freeze(policy)))) == policy


def test_what_an_older_portal_froze_is_still_understood() -> None:
    assert thaw({**freeze(POLICY), "reminder_seconds": None}) == POLICY


def test_the_first_policy_that_matches_is_chosen() -> None:
    other = replace(POLICY, id=2, matchers=())
    assert choose([POLICY, other], Labels.of({"severity": "critical"})) == POLICY
    assert choose([POLICY, other], Labels.of({"severity": "info"})) == other
    assert choose([POLICY], Labels.of({"severity": "info"})) is None


def test_a_policy_is_told_in_words() -> None:
    assert describe(replace(POLICY, repeats=2)) == (
        "If nobody acknowledges: after 5 s oncall, after 10 s boss; then again 2 times."
    )


@pytest.mark.parametrize(
    ("choice", "at", "expected"),
    [
        ("1h", AT, after(3600)),
        ("4h", AT, after(4 * 3600)),
        ("9am", datetime(2026, 11, 22, 7, 59, tzinfo=UTC), datetime(2026, 11, 22, 8, 0, tzinfo=UTC)),
        ("9am", datetime(2026, 11, 22, 8, 0, tzinfo=UTC), datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("9am", datetime(2027, 3, 27, 12, 0, tzinfo=UTC), datetime(2027, 3, 28, 7, 0, tzinfo=UTC)),
    ],
)
def test_a_snooze_ends_when_its_button_says(choice: str, at: datetime, expected: datetime) -> None:
    assert snooze_until(choice, at, "Europe/Zagreb") == expected  # type: ignore[arg-type]
