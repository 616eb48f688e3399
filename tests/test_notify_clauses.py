"""The clauses of Alertmanager's semantics that no other file proves by name: ingest, limits, retry, restart, several
portals. Where the portal differs on purpose (ALERTING, section 19) the test says what it does instead.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import Client

from alerts import alert_rows, amingest, deliver, dispatch, metrics, policy, route_check
from alerts.models import Alert, Group, InhibitRule, Integration, Notification, NotifyLog, Silence
from tests import build
from tests import test_clauses as rules
from tests.build import T0
from tests.fakes import FakeSlack, FakeWebhook

pytestmark = pytest.mark.django_db
SENT, QUEUED, DEAD = Notification.State.SENT, Notification.State.QUEUED, Notification.State.DEAD


def seconds(n: float) -> datetime:
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


@pytest.fixture(autouse=True)
def _forget():
    """Memories of another test's rows must not meet reused ids."""
    forget_all()
    yield
    forget_all()


def forget_all() -> None:
    """What a process that was killed forgets."""
    alert_rows._memories.clear()
    policy._resolved.cache_clear()


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch):
    """A workspace where every channel exists."""
    with FakeSlack() as fake:
        monkeypatch.setattr(settings, "ENV", replace(settings.ENV, slack_api_base=fake.api_base))
        yield fake


@pytest.fixture
def pager():
    """A receiver of webhooks."""
    with FakeWebhook() as fake:
        yield fake


@pytest.fixture
def root():
    """A root route of 10 s, 60 s and 600 s."""
    return build.route(group_wait_seconds=10, group_interval_seconds=60, repeat_interval_seconds=600)


@pytest.fixture
def hook(root, pager: FakeWebhook) -> Integration:
    """One webhook behind the root route."""
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url=pager.hook_url())


def fire(tok: str = "1", at: datetime = T0, **fields: Any) -> Alert:
    """A firing alert that was routed when it began."""
    row = build.alert(fields.pop("name", "A"), at, labels={"tok": tok, **fields.pop("labels", {})}, **fields)
    dispatch.route([row], at)
    return row


def send(n: float) -> list[str]:
    """Send everything due at T0 + n seconds; what became of each."""
    outcomes = []
    while ids := deliver.due(seconds(n)):
        outcomes += [deliver.send(pk, seconds(n), "worker", clock=float) for pk in ids]
    return [outcome for outcome in outcomes if outcome != "not due"]


def tick(n: float) -> list[str]:
    """Flush and send everything due at T0 + n seconds."""
    dispatch.flush_due(seconds(n))
    return send(n)


def post(*alerts: dict[str, Any], now: float = 0, **fields: Any) -> amingest.Outcome:
    """Post alerts as a client does, at T0 + now seconds."""
    return amingest.ingest([{"labels": labels, **fields} for labels in alerts], seconds(now))


def api(path: str, body: Any = None) -> Any:
    """The answer of the API, to a POST where there is a body."""
    client = Client()
    if body is None:
        return client.get(f"/api/v2/{path}")
    return client.post(f"/api/v2/{path}", json.dumps(body), content_type="application/json")


# -- from rules to groups ----------------------------------------------------------------------------------------------


def test_PN_1_a_fire_and_a_resolve_are_routed_by_the_evaluation_that_found_them(root) -> None:
    rule = build.rule(expr="load > 80")
    fires, ends = rules.slot(rule), rules.slot(rule, 1)
    rules.send(fires, 90)
    rules.run(rule, fires)
    assert Group.objects.get().members.count() == 1
    rules.send(ends, 10)
    rules.run(rule, ends)
    assert Group.objects.get().members.get().alert.state == "resolved"


def test_PN_2_nothing_is_sent_again_while_an_alert_fires_on(root) -> None:
    rule = build.rule(expr="load > 80")
    slots = [rules.slot(rule, number) for number in range(8)]
    for at in slots:
        rules.send(at, 90)
        rules.run(rule, at)
    assert Alert.objects.get().updated_at == slots[0] and Group.objects.get().next_flush_at < slots[1]


# -- ingest ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [[], [{"labels": {"alertname": "A"}}]], ids=["nothing", "an alert"])
def test_AI_1_valid_alerts_are_taken_and_answered_with_nothing(body: list[Any]) -> None:
    answer = api("alerts", body)
    assert (answer.status_code, answer.content) == (200, b"")


def test_AI_8_a_resolved_alert_is_answered_no_more_while_its_group_still_has_it(root) -> None:
    api("alerts", [{"labels": {"alertname": "A"}}])
    row = Alert.objects.get()
    api("alerts", [{"labels": {"alertname": "A"}, "endsAt": (row.fired_at + timedelta(milliseconds=1)).isoformat()}])
    assert api("alerts").json() == []
    assert Group.objects.get().members.get().alert_id == row.pk


def test_AI_9_a_source_posted_with_its_target_mutes_it_at_once(pager: FakeWebhook) -> None:
    root = build.route(group_wait_seconds=0, group_by=["alertname"])
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url=pager.hook_url())
    InhibitRule.objects.create(source_matchers=['alertname="HostDown"'], target_matchers=['alertname="Slow"'])
    post({"alertname": "Slow"}, {"alertname": "HostDown"})
    tick(0)
    assert [body["groupLabels"]["alertname"] for body in pager.bodies()] == ["HostDown"]


# -- grouping ----------------------------------------------------------------------------------------------------------


def test_AG_7_a_tick_waits_for_no_receiver(hook: Integration, pager: FakeWebhook) -> None:
    pager.set_mode("default", "status", code=500)
    fire()
    tick(10)
    fire("2", seconds(20))
    tick(70)
    assert Group.objects.get().next_flush_at == seconds(130)
    assert list(Notification.objects.order_by("id").values_list("state", flat=True)) == ["superseded", "queued"]


@pytest.fixture
def few_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two groups."""
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, most_groups=2))


def many_routes(pager: FakeWebhook) -> None:
    root = build.route(group_wait_seconds=0, group_interval_seconds=60, group_by=["tok"])
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url=pager.hook_url())


def test_AG_10_alerts_beyond_the_most_groups_are_told_together(few_groups: None, pager: FakeWebhook) -> None:
    many_routes(pager)
    post(*({"alertname": "A", "tok": str(number)} for number in range(5)))
    tick(0)
    assert sorted(len(body["alerts"]) for body in pager.bodies()) == [1, 1, 3]


def test_AG_10_what_is_told_together_is_counted_and_named(few_groups: None, pager: FakeWebhook) -> None:
    many_routes(pager)
    before = metrics.GROUPS_OVER_LIMIT._value.get()
    post(*({"alertname": "A", "tok": str(number)} for number in range(5)))
    assert metrics.GROUPS_OVER_LIMIT._value.get() == before + 3
    assert "ALPHAQ_MOST_GROUPS" in route_check.words()[0]


def test_AG_10_groups_there_are_go_on_when_there_is_no_room(few_groups: None, pager: FakeWebhook) -> None:
    many_routes(pager)
    post({"alertname": "A", "tok": "0"}, {"alertname": "A", "tok": "1"}, {"alertname": "A", "tok": "2"})
    tick(0)
    post({"alertname": "B", "tok": "0"}, now=5)
    tick(60)
    assert pager.bodies()[-1]["groupLabels"] == {"tok": "0"} and Group.objects.count() == 3


def test_AG_10_a_resolve_finds_the_group_its_alert_was_told_in(few_groups: None, pager: FakeWebhook) -> None:
    many_routes(pager)
    post(*({"alertname": "A", "tok": str(number)} for number in range(3)))
    tick(0)
    post({"alertname": "A", "tok": "2"}, now=30, endsAt=seconds(30).isoformat())
    tick(60)
    assert [body["status"] for body in pager.bodies()][-1] == "resolved"


# -- retry -------------------------------------------------------------------------------------------------------------


def test_AX_1_tries_follow_each_other_at_growing_distances(hook: Integration, pager: FakeWebhook) -> None:
    pager.set_mode("default", "status", code=500)
    fire()
    tick(10)
    at, gaps = 10.0, []
    for _ in range(12):
        due = Notification.objects.get().not_before
        gaps.append((due - seconds(at)).total_seconds())
        at += gaps[-1]
        send(at)
    assert all(0.5 * 1.5**n <= gaps[n] <= 1.5 * 1.5**n for n in range(4))
    assert sum(gaps[6:]) > sum(gaps[:6])


def test_AX_4_a_receiver_that_hangs_holds_no_other_group(root, slack: FakeSlack, pager: FakeWebhook) -> None:
    build.integration(root.receiver, target="#slow")
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url=pager.hook_url())
    slack.set_mode("slow", "status", code=500)
    fire()
    tick(10)
    fire("2", seconds(20))
    tick(70)
    assert [sorted(a["labels"]["tok"] for a in body["alerts"]) for body in pager.bodies()] == [["1"], ["1", "2"]]


def test_AX_5_one_way_out_that_fails_neither_holds_nor_repeats_another(
    root, slack: FakeSlack, pager: FakeWebhook
) -> None:
    build.integration(root.receiver, target="#down")
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url=pager.hook_url())
    slack.set_mode("down", "status", code=500, times=2)
    fire()
    tick(10)
    for n in (13, 17, 30):
        send(n)
    assert (len(pager.bodies()), len(slack.messages("down"))) == (1, 1)


def test_AX_8_a_200_of_a_bot_that_says_no_is_an_error(root, slack: FakeSlack) -> None:
    build.integration(root.receiver)
    slack.set_mode("alerts", "ok_false", error="channel_not_found")
    fire()
    assert tick(10) == [DEAD]
    assert not NotifyLog.objects.exists()


def test_AX_8_a_200_of_a_webhook_that_is_not_ok_is_an_error(root, slack: FakeSlack) -> None:
    build.integration(root.receiver, Integration.Kind.SLACK_WEBHOOK, url=slack.webhook_url("hook"))
    slack.set_mode("hook", "ok_false", error="channel_is_archived")
    fire()
    assert tick(10) != [SENT]
    assert not NotifyLog.objects.exists()


# -- silences, restarts, several portals -------------------------------------------------------------------------------


def elsewhere(work: Any) -> list[Any]:
    """What `work` returned in another process's place: a thread with a database connection of its own."""
    found = []

    def thread() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    one = threading.Thread(target=thread)
    one.start()
    one.join(30)
    return found


@pytest.mark.django_db(transaction=True)
def test_AS_9_a_silence_is_kept_the_moment_it_is_answered() -> None:
    now = datetime.now(tz=T0.tzinfo)
    body = {
        "matchers": [{"name": "alertname", "value": "A", "isRegex": False}], "createdBy": "ana", "comment": "x",
        "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    answer = api("silences", body)
    assert elsewhere(lambda: str(Silence.objects.get().uuid)) == [answer.json()["silenceID"]]


def test_AL_1_a_restart_repeats_nothing(hook: Integration, pager: FakeWebhook) -> None:
    fire()
    tick(10)
    forget_all()
    tick(70)
    assert len(pager.bodies()) == 1


@pytest.mark.django_db(transaction=True)
def test_AL_2_a_kill_before_the_commit_of_a_tick_tells_once_and_forgets_nothing(
    root, hook: Integration, pager: FakeWebhook
) -> None:
    fire()
    with pytest.raises(RuntimeError), transaction.atomic():
        dispatch.flush_due(seconds(10))
        raise RuntimeError  # as a kill: nothing of the tick is kept
    forget_all()
    assert tick(11) == [SENT]
    forget_all()
    tick(130)
    assert len(pager.bodies()) == 1


def test_AC_1_an_alert_that_two_portals_get_is_told_once(hook: Integration, pager: FakeWebhook) -> None:
    post({"alertname": "A"})
    forget_all()  # another process, which has never seen it
    post({"alertname": "A"}, now=1)
    tick(10)
    assert len(pager.bodies()) == 1 and Alert.objects.count() == 1


def test_AC_2_another_worker_sends_what_a_dead_one_had_taken(hook: Integration, pager: FakeWebhook) -> None:
    fire()
    dispatch.flush_due(seconds(10))
    assert deliver.claim(seconds(10), "dies")
    assert send(49) == []
    assert send(51) == [SENT]
    assert len(pager.bodies()) == 1


@pytest.mark.django_db(transaction=True)
def test_AC_3_a_silence_of_one_portal_counts_at_the_next_tick_of_another(
    root, hook: Integration, pager: FakeWebhook
) -> None:
    fire()
    elsewhere(lambda: build.silence('alertname="A"').pk)
    tick(10)
    assert pager.bodies() == []


@pytest.mark.django_db(transaction=True)
def test_AC_3_the_log_of_one_portal_keeps_another_silent(root, hook: Integration, pager: FakeWebhook) -> None:
    fire()
    elsewhere(lambda: tick(10))
    tick(70)
    assert len(pager.bodies()) == 1
