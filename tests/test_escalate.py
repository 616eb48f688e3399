"""Problems that nobody acknowledges: who is told next, what stops it, and what an answer takes back (DL-9)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from alerts import actions, dispatch, escalate, rotas
from alerts.models import (
    Alert,
    Escalation,
    Event,
    Integration,
    Notification,
    Receiver,
    RotaOverride,
    SlackLink,
    StepRun,
)
from tests import build
from tests.build import T0
from tests.people import member

pytestmark = pytest.mark.django_db


def seconds(n: float):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def hook(name: str, **fields) -> Receiver:
    """A receiver with a webhook."""
    row = build.receiver(name)
    build.integration(row, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook", **fields)
    return row


def alert(tok: str = "1", n: float = 0, **fields) -> Alert:
    """A firing alert told apart by its `tok` label, routed as it began."""
    row = build.alert("A", seconds(n), labels={"tok": tok} | fields.pop("labels", {}), **fields)
    dispatch.route([row], seconds(n))
    return row


def pass_time(start: float, end: float, step: float = 1) -> list[tuple[float, str, list[str], list[str]]]:
    """Tick from start to end: what arrived as (second, receiver, firing toks, resolved toks)."""
    told = []
    n = start
    while n <= end:
        dispatch.flush_due(seconds(n))
        escalate.run_due(seconds(n))
        for message in build.arrive(seconds(n)):
            if message.state == Notification.State.SENT and message.kind != Notification.Kind.THREAD:
                lines = message.message["alerts"]
                firing = [line["labels"].get("tok", "") for line in lines if line["ends_at"] is None]
                resolved = [line["labels"].get("tok", "") for line in lines if line["ends_at"] is not None]
                told.append((n, message.receiver_name, firing, resolved))
        n += step
    return told


@pytest.fixture
def root():
    """A root route to the receiver `default`: 1 s, 10 s, 1 h."""
    return build.route(receiver=hook("default"), group_wait_seconds=1, group_interval_seconds=10)


@pytest.fixture
def policy(root):
    """Oncall after 5 s, the boss 5 s later."""
    return build.policy("p1", (5, hook("oncall")), (5, hook("boss")))


@pytest.fixture
def rita() -> User:
    """A member of the group Responder."""
    return member("Responder", "rita")


def test_e01_steps_follow_the_first_delivered_message(policy) -> None:
    alert()
    assert pass_time(0, 30) == [
        (1, "default", ["1"], []), (6, "oncall", ["1"], []), (11, "boss", ["1"], []),
    ]  # fmt: skip


def test_only_alerts_that_match_are_escalated(root) -> None:
    build.policy("p1", (5, hook("oncall")), matchers=['severity="critical"'])
    alert("1", severity="critical")
    alert("2", severity="warning")
    told = pass_time(0, 12)
    assert [one for one in told if one[1] == "oncall"] == [(6, "oncall", ["1"], [])]


def test_a_policy_that_no_route_names_takes_nothing(root) -> None:
    build.policy("p1", (5, hook("oncall")), takes_matching=False)
    alert()
    assert [one[1] for one in pass_time(0, 12)] == ["default"]


def test_a_route_hands_its_policy_down(root) -> None:
    root.escalation = build.policy("p1", (5, hook("oncall")), takes_matching=False)
    root.save()
    build.route(root, matchers=['tok="1"'])
    alert()
    assert (6, "oncall", ["1"], []) in pass_time(0, 12)


def test_the_policy_of_the_route_goes_before_one_that_matches(root) -> None:
    build.policy("general", (2, hook("everybody")))
    root.escalation = build.policy("own", (5, hook("oncall")), takes_matching=False)
    root.save()
    alert()
    assert [one[1] for one in pass_time(0, 12)] == ["default", "oncall"]


def test_e02_an_acknowledgement_stops_it(policy, rita) -> None:
    row = alert()
    pass_time(0, 7)
    actions.acknowledge(row.pk, rita, seconds(8))
    assert pass_time(8, 40) == []
    assert Escalation.objects.get().words == "acknowledged by rita"


def test_a_message_that_still_waits_is_taken_back_by_an_acknowledgement(policy, rita) -> None:
    row = alert()
    pass_time(0, 5)
    escalate.run_due(seconds(6))
    waiting = Notification.objects.get(receiver_name="oncall")
    actions.acknowledge(row.pk, rita, seconds(6.5))
    escalate.run_due(seconds(7))
    waiting.refresh_from_db()
    assert waiting.state == Notification.State.SUPERSEDED


def test_taking_an_acknowledgement_back_begins_anew(policy, rita) -> None:
    row = alert()
    pass_time(0, 7)
    actions.acknowledge(row.pk, rita, seconds(8))
    pass_time(8, 20)
    actions.unacknowledge(row.pk, rita, seconds(21))
    told = [one[:2] for one in pass_time(21, 40)]
    assert told == [(26, "oncall"), (31, "boss")]


def test_a_new_member_leaves_an_acknowledgement_standing(policy, rita) -> None:
    row = alert()
    pass_time(0, 3)
    actions.acknowledge(row.pk, rita, seconds(3))
    pass_time(3, 9)
    alert("2", 10)
    assert [one[1] for one in pass_time(10, 40)] == ["default"]


def test_a_worse_member_drops_an_acknowledgement(policy, rita) -> None:
    row = alert(severity="warning")
    pass_time(0, 3)
    actions.acknowledge(row.pk, rita, seconds(3))
    pass_time(3, 9)
    alert("2", 10, severity="critical")
    assert [(one[0], one[1]) for one in pass_time(10, 40)] == [(11, "default"), (16, "oncall"), (21, "boss")]


def test_e04_a_resolve_before_the_step_stops_it(policy) -> None:
    row = alert()
    pass_time(0, 3)
    build.resolve(row, seconds(4))
    assert [one[1] for one in pass_time(4, 30)] == ["default"]
    assert Escalation.objects.get().state == Escalation.State.ENDED


def test_whoever_was_told_hears_that_it_is_over(policy) -> None:
    row = alert()
    pass_time(0, 7)
    build.resolve(row, seconds(8))
    assert pass_time(8, 20) == [(11, "default", [], ["1"]), (11, "oncall", [], ["1"])]


def test_a_receiver_that_wants_no_resolves_hears_of_none(root) -> None:
    build.policy("p1", (5, hook("oncall", send_resolved=False)))
    row = alert()
    pass_time(0, 7)
    build.resolve(row, seconds(8))
    assert [one[1] for one in pass_time(8, 20)] == ["default"]


def test_a_silence_holds_it_and_its_end_lets_it_go_on(policy) -> None:
    alert()
    pass_time(0, 3)
    build.silence('tok="1"', starts_at=seconds(3), ends_at=seconds(60))
    assert pass_time(3, 59) == []
    assert "silenced" in Escalation.objects.get().words
    assert [one[1] for one in pass_time(60, 95)] == ["oncall", "boss"]


def test_a_snooze_moves_the_steps(policy, rita) -> None:
    row = alert()
    pass_time(0, 3)
    actions.snooze(row.pk, rita, seconds(60), seconds(3))
    assert pass_time(3, 59) == []
    assert pass_time(60, 70)[0][:2] == (60, "oncall")


def test_steps_are_frozen_when_they_begin(policy) -> None:
    alert()
    pass_time(0, 3)
    policy.steps.all().delete()
    assert [one[1] for one in pass_time(3, 30)] == ["oncall", "boss"]


def test_a_chain_repeats_until_its_rounds_are_over(root) -> None:
    build.policy("p1", (5, hook("oncall")), repeats=2)
    alert()
    assert [one[:2] for one in pass_time(0, 60)] == [(1, "default"), (6, "oncall"), (11, "oncall"), (16, "oncall")]
    assert Escalation.objects.get().state == Escalation.State.EXHAUSTED


def test_nothing_delivered_escalates_a_minute_after_it_began(root) -> None:
    build.policy("p1", (5, hook("oncall")))
    Integration.objects.filter(receiver__name="default").update(is_enabled=False)
    alert()
    assert pass_time(0, 80) == [(66, "oncall", ["1"], [])]


def test_a_step_that_reaches_nobody_lets_the_next_one_come_at_once(root) -> None:
    build.policy("p1", (5, build.receiver("empty")), (600, hook("boss")))
    row = alert()
    assert [one[:2] for one in pass_time(0, 20)] == [(1, "default"), (7, "boss")]
    assert row.events.get(kind=Event.Kind.FAILED).reason == (
        "p1, step 1 of 2: empty has no way out that is on; the next step comes at once"
    )


def test_a_step_whose_messages_are_given_up_lets_the_next_one_come_at_once(policy) -> None:
    alert()
    pass_time(0, 5)
    escalate.run_due(seconds(6))
    Notification.objects.filter(receiver_name="oncall").update(state=Notification.State.DEAD)
    assert [one[:2] for one in pass_time(7, 9)] == [(7, "boss")]


def test_a_storm_begins_its_escalations_in_a_few_statements(root, policy, django_assert_max_num_queries) -> None:
    rows = [build.alert(f"A{n}", T0) for n in range(150)]
    dispatch.route(rows, T0)
    with django_assert_max_num_queries(40):
        dispatch.flush_due(seconds(1))
    assert Escalation.objects.count() == 150
    assert Escalation.alerts.through.objects.count() == 150


def test_each_step_happens_once_however_many_ask(policy) -> None:
    alert()
    pass_time(0, 3)
    row = Escalation.objects.get()
    assert len(escalate.look(row.pk, seconds(6))) == 1
    assert escalate.look(row.pk, seconds(6)) == []
    assert StepRun.objects.count() == 1


def test_after_an_outage_of_the_portal_steps_keep_their_distance(policy) -> None:
    alert()
    pass_time(0, 3)
    assert [one[:2] for one in pass_time(1000, 1010) if one[1] != "default"] == [(1000, "oncall"), (1005, "boss")]


def test_a_person_is_told_by_mail_and_slack(root, rita) -> None:
    User.objects.filter(pk=rita.pk).update(email="rita@example.org")
    SlackLink.objects.create(user=rita, slack_user_id="U1")
    build.slack_app()
    build.policy("p1", (5, User.objects.get(pk=rita.pk)))
    alert()
    told = [one[:2] for one in pass_time(0, 10)]
    assert told == [(1, "default"), (6, "rita (personal)"), (6, "rita (personal)")]
    targets = {way.kind: way.target for way in rotas.own_receiver(rita).integrations.all()}
    assert targets == {"email": "rita@example.org", "slack": "U1"}


def test_a_person_without_an_address_is_passed_over(root, rita) -> None:
    build.policy("p1", (5, rita), (600, hook("boss")))
    alert()
    assert [one[:2] for one in pass_time(0, 20)] == [(1, "default"), (7, "boss")]
    assert StepRun.objects.first().problem == "rita has no way out that is on"


def test_a_rota_tells_whoever_is_on_call(root, rita) -> None:
    ana = User.objects.create_user("ana", email="ana@example.org")
    User.objects.filter(pk=rita.pk).update(email="rita@example.org")
    rota = build.rota("ml", ana, rita)
    RotaOverride.objects.create(rota=rota, user=rita, starts_at=T0, ends_at=seconds(3600))
    build.policy("p1", (5, rota))
    alert()
    assert (6, "rita (personal)", ["1"], []) in pass_time(0, 10)


def test_the_living_message_of_the_next_one_told_shows_the_acknowledgement(root, rita) -> None:
    oncall = build.receiver("oncall")
    build.integration(oncall, target="#oncall")
    build.policy("p1", (5, oncall))
    row = alert()
    pass_time(0, 7)
    actions.acknowledge(row.pk, rita, seconds(8))
    edits = Notification.objects.filter(receiver_name="oncall", kind=Notification.Kind.UPDATE)
    assert [one.reason for one in edits] == ["Acknowledged by rita."]


@pytest.mark.django_db(transaction=True)
def test_a_step_does_not_run_while_somebody_is_answering() -> None:
    build.route(receiver=hook("default"), group_wait_seconds=1, group_interval_seconds=10)
    build.policy("p1", (5, hook("oncall")))
    row = alert()
    pass_time(0, 3)
    escalation = Escalation.objects.get()
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT id FROM alerts_alert WHERE id = %s FOR NO KEY UPDATE", [row.pk])
        assert escalate.look(escalation.pk, seconds(6)) == []
        other.rollback()
        assert len(escalate.look(escalation.pk, seconds(6))) == 1
    finally:
        other.close()
