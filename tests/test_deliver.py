"""From the outbox to Slack, webhooks and mail, judged at the wire; clause ids are those of the alerting spec."""

import threading
import time
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections

from alerts import deliver, digest, dispatch
from alerts.alert_series import VALUE_SERIES
from alerts.models import Alert, ChannelState, Event, Group, Integration, Notification, NotifyLog
from alerts.transmit import Outcome, transmit
from monitoring import query, store
from tests import build
from tests.build import T0
from tests.fakes import FakeSlack, FakeWebhook

pytestmark = pytest.mark.django_db
SENT, QUEUED, DEAD = Notification.State.SENT, Notification.State.QUEUED, Notification.State.DEAD


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


@pytest.fixture
def slack(monkeypatch):
    """A workspace where every channel exists."""
    with FakeSlack() as fake:
        monkeypatch.setattr(settings, "ENV", replace(settings.ENV, slack_api_base=fake.api_base))
        yield fake


@pytest.fixture
def root():
    """A root route of 10 s, 60 s and 600 s."""
    return build.route(group_wait_seconds=10, group_interval_seconds=60, repeat_interval_seconds=600)


@pytest.fixture
def bot(slack, root):
    """A way out to #alerts by bot token."""
    return build.integration(root.receiver)


@pytest.fixture
def hook(slack, root):
    """A way out by a Slack incoming webhook called `hook`."""
    return build.integration(root.receiver, Integration.Kind.SLACK_WEBHOOK, url=slack.webhook_url("hook"))


def fire(tok="1", at=T0, **fields):
    """A firing alert that was routed when it began."""
    row = build.alert(fields.pop("name", "A"), at, labels={"tok": tok}, **fields)
    dispatch.route([row], at)
    return row


def send(n, owner="worker"):
    """Send everything due at T0 + n seconds; what became of each."""
    at, outcomes = seconds(n), []
    while ids := deliver.due(at):
        outcomes += [deliver.send(pk, at, owner, clock=float) for pk in ids]
    return [outcome for outcome in outcomes if outcome != "not due"]


def tick(n):
    """Flush and send everything due at T0 + n seconds."""
    dispatch.flush_due(seconds(n))
    return send(n)


def only():
    """The one notification there is."""
    return Notification.objects.get()


# One living message on a bot token.


def test_dl10_the_first_firing_is_a_new_message(slack, bot):
    fire()
    assert tick(10) == [SENT]
    (message,) = slack.messages("alerts")
    assert message.event["firing"] == ["A/1"]


def test_dl10_a_new_member_edits_the_message_and_adds_a_line(slack, bot):
    fire()
    tick(10)
    fire("2", seconds(30))
    assert tick(70) == [SENT, SENT]
    message, line = slack.messages("alerts")
    assert message.event["firing"] == ["A/1", "A/2"] and len(message.edits) == 1
    assert line.thread_ts == message.ts


def test_dl10_the_end_edits_the_message_and_adds_a_line(slack, bot):
    row = fire()
    tick(10)
    build.resolve(row, seconds(30))
    tick(70)
    message, line = slack.messages("alerts")
    assert message.event["status"] == "resolved" and line.says("Resolved")


def test_dl10_a_line_is_broadcast_when_the_severity_rises(slack, bot):
    fire(severity="warning")
    tick(10)
    fire("2", seconds(30), severity="critical")
    tick(70)
    assert slack.messages("alerts", replies=True)[0].payload["reply_broadcast"] is True


def test_dl10_a_repeat_is_a_new_message_that_links_the_old(slack, bot):
    fire()
    for n in (10, *range(70, 611, 60)):
        tick(n)
    first, second = slack.messages("alerts", replies=False)
    assert second.says(f"p{first.ts.replace('.', '')}")


def test_dl10_changes_do_not_put_off_the_repeat(slack, bot):
    fire()
    tick(10)
    fire("2", seconds(30))
    for n in range(70, 611, 60):
        tick(n)
    assert len(slack.messages("alerts", replies=False)) == 2


def test_dl10_after_the_end_the_next_problem_is_a_new_message(slack, bot):
    row = fire()
    tick(10)
    build.resolve(row, seconds(30))
    tick(70)
    fire(at=seconds(80))
    tick(130)
    assert len(slack.messages("alerts", replies=False)) == 2


def test_dl10_a_message_that_is_gone_is_posted_anew_and_lives_on(slack, bot):
    row = fire()
    tick(10)
    slack.delete("alerts", slack.messages("alerts")[0].ts)
    fire("2", seconds(30))
    tick(70)
    (message,) = slack.messages("alerts", replies=False)
    assert NotifyLog.objects.get().slack_ts == message.ts
    assert row.events.filter(kind=Event.Kind.NOTIFIED).count() == 1


def test_a_webhook_posts_each_change(slack, hook):
    row = fire()
    tick(10)
    build.resolve(row, seconds(30))
    tick(70)
    assert [message.says("Resolved") for message in slack.messages("hook")] == [False, True]


def test_a_generic_webhook_gets_alertmanagers_json(root):
    with FakeWebhook() as fake:
        build.integration(root.receiver, Integration.Kind.WEBHOOK, url=fake.hook_url())
        fire()
        tick(10)
        (body,) = fake.bodies()
    assert body["groupKey"] == '{}:{alertname="A"}' and body["alerts"][0]["labels"]["tok"] == "1"


def test_mail_goes_to_the_address(root, mailoutbox):
    build.integration(root.receiver, Integration.Kind.EMAIL, target="ana@example.org")
    fire()
    tick(10)
    assert mailoutbox[0].to == ["ana@example.org"] and "A" in mailoutbox[0].subject


def test_a_receivers_own_text_takes_the_place_of_ours(slack, hook):
    hook.text_template = "{{ range .Alerts }}{{ .Status }} {{ .Labels.alertname }}/{{ .Labels.tok }}{{ end }}"
    hook.save()
    fire()
    tick(10)
    assert slack.messages("hook")[0].says("firing A/1")


def test_a_text_that_cannot_be_expanded_leaves_ours_and_says_so(slack, hook):
    hook.text_template = '{{ template "nowhere" . }}'
    hook.save()
    fire()
    tick(10)
    (message,) = slack.messages("hook")
    assert message.says("own text cannot be used") and message.says("Firing: A")


def test_a_test_message_goes_the_same_way(slack, bot):
    message = deliver.send_test(bot, T0, "ana")
    assert deliver.send(message.pk, T0, "worker", clock=float) == SENT
    assert slack.messages("alerts")[0].says("Sent by ana")


def test_the_end_tells_the_peak_of_the_series(slack, bot):
    rule = build.rule("A", expr="gpu_temperature")
    row = fire(rule=rule, value=91.0, limit_value=90.0)
    for n, value in ((0, 91.0), (30, 97.5), (45, 92.0)):
        key = store.sample_key(VALUE_SERIES, row.labels)
        at_ms = query.to_ms(seconds(n))
        store.append([store.Scrape("rules:1", {}, at_ms, [key], np.array([value]))], now_ms=at_ms)
    tick(10)
    build.resolve(row, seconds(60))
    tick(70)
    assert slack.messages("alerts", replies=False)[0].says("peak 97.5")


def test_a_firing_message_tells_the_value_of_now(slack, bot):
    row = fire(rule=build.rule("A", expr="gpu_temperature"), value=91.0, limit_value=90.0)
    key, at_ms = store.sample_key(VALUE_SERIES, row.labels), query.to_ms(seconds(9))
    store.append([store.Scrape("rules:1", {}, at_ms, [key], np.array([95.5]))], now_ms=at_ms)
    tick(10)
    assert slack.messages("alerts")[0].says("95.5 &gt; 90")


def test_what_somebody_did_shows_in_the_message_and_its_thread(slack, bot, django_user_model):
    row = fire(severity="critical")
    tick(10)
    row.acknowledged_at, row.acknowledged_by = seconds(20), django_user_model.objects.create(username="ana")
    row.save()
    dispatch.restate(row, seconds(20), "Acknowledged by ana <!channel>")
    assert send(20) == [SENT, SENT]
    message, line = slack.messages("alerts")
    assert message.says("acknowledged by ana") and line.text == "Acknowledged by ana &lt;!channel&gt;"


def test_what_somebody_did_does_not_count_as_telling(slack, bot):
    row = fire()
    tick(10)
    dispatch.restate(row, seconds(20), "A note")
    send(20)
    log = NotifyLog.objects.get()
    assert (log.flushed_at, log.told_at) == (seconds(10), seconds(10))
    assert [n for n in range(70, 700, 60) if tick(n)] == [610]


def test_nothing_is_restated_where_nothing_was_told(slack, bot, hook):
    row = fire()
    assert dispatch.restate(row, seconds(5), "A note") == []


# Failures.


def test_dl3_a_failed_send_is_tried_again_later(slack, bot):
    slack.set_mode("alerts", "status", code=503, times=1)
    fire()
    assert tick(10) == [QUEUED]
    assert send(10.4) == []
    assert send(12) == [SENT]
    assert only().attempts == 2


def test_dl3_after_a_day_a_message_is_given_up(slack, bot):
    slack.set_mode("alerts", "status", code=503)
    fire()
    tick(10)
    assert send(86_500) == [DEAD]


def test_dl5_a_429_waits_as_long_as_slack_says_and_is_no_attempt(slack, bot):
    slack.set_mode("alerts", "ratelimit", retry_after=7, times=1)
    fire()
    assert tick(10) == [QUEUED]
    assert send(16.9) == []
    assert send(17) == [SENT]
    assert only().attempts == 1


def test_dl5_a_channel_takes_five_at_once_and_then_one_a_second(slack, bot):
    for number in range(8):
        fire(name=f"A{number}")
    assert tick(10) == [SENT] * 5
    assert send(11) == [SENT]


def test_dl5_a_webhook_that_is_not_slack_has_no_limit(root):
    with FakeWebhook() as fake:
        build.integration(root.receiver, Integration.Kind.WEBHOOK, url=fake.hook_url())
        for number in range(10):
            fire(name=f"A{number}")
        assert tick(10) == [SENT] * 10


def test_sl9_a_message_slack_finds_too_large_is_sent_once_more_as_text(slack, bot):
    slack.set_mode("alerts", "ok_false", error="invalid_blocks", times=1)
    fire()
    assert tick(10) == [QUEUED, SENT]
    assert not slack.messages("alerts")[0].blocks


def test_sl9_a_message_whose_metadata_is_too_large_goes_again_without_its_list(slack, bot):
    slack.set_mode("alerts", "ok_false", error="metadata_too_large", times=1)
    fire()
    assert tick(10) == [QUEUED, SENT]
    (message,) = slack.messages("alerts")
    assert message.blocks
    assert message.event == {"outbox_id": only().dedup_key}


def test_sl9_a_message_that_is_refused_without_its_list_too_is_sent_as_text(slack, bot):
    slack.set_mode("alerts", "ok_false", error="metadata_too_large", times=2)
    fire()
    assert tick(10) == [QUEUED, QUEUED, SENT]
    assert not slack.messages("alerts")[0].blocks


def test_sl2_a_message_by_webhook_lists_a_thousand_alerts_for_machines(slack, hook):
    rows = [build.alert("A", T0, labels={"tok": f"{number:04}"}) for number in range(1000)]
    dispatch.route(rows, T0)
    assert tick(10) == [SENT]
    assert len(slack.messages("hook")[0].event["firing"]) == 1000


def test_sl9_a_message_that_is_refused_even_as_text_is_dead(slack, bot):
    slack.set_mode("alerts", "ok_false", error="invalid_blocks")
    fire()
    assert tick(10) == [QUEUED, DEAD]


def test_dl4_a_broken_destination_is_dead_at_once_and_shows_why(slack, bot):
    slack.set_mode("alerts", "ok_false", error="channel_not_found")
    row = fire()
    assert tick(10) == [DEAD]
    bot.refresh_from_db()
    assert "channel_not_found" in bot.last_error
    assert row.events.filter(kind=Event.Kind.FAILED).exists()


def test_dl4_the_next_tick_tries_again_after_a_dead_letter(slack, bot):
    slack.set_mode("alerts", "ok_false", error="channel_not_found", times=1)
    fire()
    tick(10)
    assert tick(70) == [SENT]


def test_dl4_the_fallback_receiver_is_told_instead(slack, bot):
    build.integration(build.receiver("fallback"), target="#fallback")
    slack.set_mode("alerts", "ok_false", error="is_archived")
    fire()
    tick(10)
    assert any(message.event["firing"] == ["A/1"] for message in slack.messages("fallback"))


def test_dl4_the_receivers_own_fallback_goes_before_the_general_one(slack, bot):
    build.integration(build.receiver("fallback"), Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/general")
    own = build.receiver("lead")
    build.integration(own, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/own")
    bot.receiver.fallback = own
    bot.receiver.save()
    slack.set_mode("alerts", "ok_false", error="is_archived")
    fire()
    tick(10)
    assert list(Notification.objects.filter(why="fallback").values_list("receiver_name", flat=True)) == ["lead"]


def test_dl4_a_dead_letter_can_be_sent_again(slack, bot):
    slack.set_mode("alerts", "ok_false", error="is_archived", times=1)
    fire()
    tick(10)
    assert deliver.retry(only(), seconds(20))
    assert send(20) == [SENT]


def test_dl4_a_discarded_letter_stays_unsent(slack, bot):
    slack.set_mode("alerts", "ok_false", error="is_archived", times=1)
    fire()
    tick(10)
    assert deliver.discard(only())
    assert not deliver.retry(only(), seconds(20)) and send(20) == []


def test_what_was_switched_off_waits_but_can_be_tested(slack, bot):
    fire()
    dispatch.flush_due(seconds(10))
    bot.is_enabled = False
    bot.save()
    deliver.send_test(bot, seconds(10))
    assert send(10) == [SENT]
    assert [message.says("TestMessage") for message in slack.messages("alerts")] == [True]
    bot.is_enabled = True
    bot.save()
    assert send(11) == [SENT]


def test_dl6_a_newer_message_of_a_group_waits_for_the_older(slack, bot):
    fire()
    tick(10)
    slack.set_mode("alerts", "status", code=503, times=1, method="chat.update")
    fire("2", seconds(30))
    dispatch.flush_due(seconds(70))
    later = Notification.objects.latest("id")
    Notification.objects.filter(pk=later.pk).update(state=Notification.State.SENDING, lease_until=seconds(500))
    fire("3", seconds(80))
    dispatch.flush_due(seconds(130))
    assert deliver.due(seconds(130)) == []


def test_dl8_five_failures_stop_a_channel_and_one_message_tries_it(slack, bot):
    slack.set_mode("alerts", "status", code=503)
    fire()
    tick(10)
    n = 10
    while ChannelState.objects.get(channel_key=bot.channel_key).breaker == "closed":
        n += 1
        send(n)
    fire(name="B", at=seconds(n))
    dispatch.flush_due(seconds(n + 10))
    before = len(slack.requests)
    slack.set_mode("alerts", "ok")
    assert len(deliver.due(seconds(n + 10))) == 2
    assert deliver.send(deliver.due(seconds(n + 10))[0], seconds(n + 10), "worker", clock=float) == SENT
    assert len(slack.requests) == before + 1
    assert ChannelState.objects.get(channel_key=bot.channel_key).breaker == "closed"


def test_dl8_while_one_message_tries_a_stopped_channel_others_wait(slack, bot):
    fire()
    fire(name="B")
    dispatch.flush_due(seconds(10))
    ChannelState.objects.create(
        channel_key=bot.channel_key, breaker="open", failures=5, refilled_at=T0, blocked_until=seconds(9)
    )
    assert len(deliver.claim(seconds(10), "worker")) == 1


def test_dl8_bad_credentials_stop_everything_of_the_app(slack, bot):
    build.integration(build.receiver("other"), target="#other")
    slack.set_mode("alerts", "ok_false", error="token_revoked")
    fire()
    tick(10)
    assert ChannelState.objects.get(channel_key=f"slack-app:{bot.slack_app_id}").breaker == "open"


def test_dl8_the_fallback_receiver_hears_once_that_a_channel_stopped(slack, bot):
    build.integration(build.receiver("fallback"), Integration.Kind.SLACK_WEBHOOK, url=slack.webhook_url("fallback"))
    slack.set_mode("alerts", "status", code=503)
    fire()
    tick(10)
    for n in range(11, 80):
        send(n)
    assert len([message for message in slack.messages("fallback") if message.says("ChannelStopped")]) == 1


# Lost answers and killed workers.


def test_dl2_a_lost_answer_is_looked_up_and_not_posted_again(slack, bot):
    slack.set_mode("alerts", "accept_reset", times=1, method="chat.postMessage")
    fire()
    assert tick(10) == [QUEUED]
    assert send(12) == [SENT]
    (message,) = slack.messages("alerts")
    assert NotifyLog.objects.get().slack_ts == message.ts


def test_dl2_a_worker_killed_after_sending_leaves_one_message(slack, bot):
    fire()
    dispatch.flush_due(seconds(10))
    (parcel,) = deliver.claim(seconds(10), "killed")
    transmit(parcel)
    assert send(20, "another") == []
    assert send(51, "another") == [SENT]
    assert len(slack.messages("alerts")) == 1


def test_dl2_a_worker_killed_before_sending_loses_nothing(slack, bot):
    fire()
    dispatch.flush_due(seconds(10))
    deliver.claim(seconds(10), "killed")
    assert send(51, "another") == [SENT]
    assert len(slack.messages("alerts")) == 1


def test_dl2_without_the_right_to_read_it_is_sent_again_and_says_so(slack, bot):
    slack.scopes -= {"channels:history", "groups:history"}
    slack.set_mode("alerts", "accept_reset", times=1, method="chat.postMessage")
    fire()
    tick(10)
    send(12)
    assert [message.says("may be a repeat") for message in slack.messages("alerts")] == [False, True]


def test_dl2_a_webhook_sends_again_and_says_so(slack, hook):
    slack.set_mode("hook", "accept_reset", times=1)
    fire()
    tick(10)
    send(12)
    assert [message.says("may be a repeat") for message in slack.messages("hook")] == [False, True]


def test_dl2_a_line_of_a_thread_is_looked_up_as_well(slack, bot):
    row = fire()
    tick(10)
    build.resolve(row, seconds(30))
    slack.set_mode("alerts", "accept_reset", times=1, method="chat.postMessage")
    tick(70)
    send(72)
    assert len(slack.messages("alerts", replies=True)) == 1


def test_dl2_a_receipt_that_comes_after_the_lease_changes_nothing(slack, bot):
    fire()
    dispatch.flush_due(seconds(10))
    (parcel,) = deliver.claim(seconds(10), "slow")
    outcome = transmit(parcel)
    assert send(51, "another") == [SENT]
    assert deliver.settle([(parcel, outcome, 41.0)], seconds(51), "slow") == ["taken over"]


def test_dl6_what_was_perhaps_sent_is_not_replaced_but_settled_first(slack, bot):
    slack.set_mode("alerts", "accept_reset", times=1, method="chat.postMessage")
    fire()
    tick(10)
    fire("2", seconds(11))
    dispatch.flush_due(seconds(70))
    send(70)
    (message,) = slack.messages("alerts", replies=False)
    assert message.event["firing"] == ["A/1", "A/2"]


# Storms.


def storm(count):
    """As many groups as `count` that tick at T0 + 10 s."""
    return [fire(name=f"A{number}") for number in range(count)]


def test_dl7_a_crowded_channel_gets_one_summary(slack, bot):
    storm(40)
    dispatch.flush_due(seconds(10))
    send(10)
    digest.gather(seconds(16))
    send(16)
    messages = slack.messages("alerts")
    assert messages[-1].says("35 groups firing") and len(messages) == 6


def test_dl7_what_a_summary_told_counts_as_told(slack, bot):
    storm(40)
    dispatch.flush_due(seconds(10))
    send(10)
    digest.gather(seconds(16))
    send(16)
    assert NotifyLog.objects.count() == 40
    assert not Notification.objects.filter(state=QUEUED).exists()
    assert dispatch.flush_due(seconds(70)) == []


def test_dl7_a_problem_told_by_a_summary_is_over_with_a_message_of_its_own(slack, bot):
    rows = storm(40)
    dispatch.flush_due(seconds(10))
    send(10)
    digest.gather(seconds(16))
    send(16)
    build.resolve(rows[-1], seconds(30))
    tick(70)
    assert slack.messages("alerts")[-1].event["resolved"] == ["A39/1"]


def test_dl7_a_summary_that_is_given_up_frees_its_messages(slack, bot):
    storm(40)
    dispatch.flush_due(seconds(10))
    digest.gather(seconds(16))
    slack.set_mode("alerts", "ok_false", error="is_archived", times=1)
    send(16)
    assert Notification.objects.filter(state=QUEUED, digest__isnull=True).count() == 40


def test_dl7_a_summary_of_nothing_is_not_sent(slack, bot):
    rows = storm(40)
    dispatch.flush_due(seconds(10))
    digest.gather(seconds(16))
    for row in rows:
        build.resolve(row, seconds(20))
    dispatch.flush_due(seconds(70))
    send(70)
    assert not any(message.says("groups firing") for message in slack.messages("alerts"))


def test_dl7_twenty_messages_are_no_storm(slack, bot):
    storm(20)
    dispatch.flush_due(seconds(10))
    assert digest.gather(seconds(16)) == []


def test_many_messages_are_sent_side_by_side(root):
    with FakeWebhook() as fake:
        build.integration(root.receiver, Integration.Kind.WEBHOOK, url=fake.hook_url())
        storm(50)
        dispatch.flush_due(seconds(10))
        assert deliver.run(seconds(10), "worker", threads=8) == {SENT: 50}
        assert len(fake.bodies()) == 50


def test_what_waited_too_long_for_a_thread_is_handed_back_unsent(slack, bot):
    fire()
    dispatch.flush_due(seconds(10))
    (parcel,) = deliver.claim(seconds(10), "busy")
    assert deliver.settle([(parcel, Outcome(parcel.kind, is_unsent=True), 0.0)], seconds(20), "busy") == [QUEUED]
    assert send(20) == [SENT] and only().attempts == 1


def test_a_channel_that_must_wait_holds_no_other_back(slack, bot, root):
    with FakeWebhook() as fake:
        storm(40)
        dispatch.flush_due(seconds(10))
        build.integration(root.receiver, Integration.Kind.WEBHOOK, url=fake.hook_url())
        fire(name="B", at=seconds(1))
        dispatch.flush_due(seconds(11))
        deliver.run(seconds(11), "worker", threads=2)
        assert len(fake.bodies()) == 1


# Several workers.


def side_by_side(count, work):
    """What `work` returned in as many threads at once, each with a database connection of its own."""
    barrier, results = threading.Barrier(count), []

    def thread():
        barrier.wait(10)
        try:
            results.append(work())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=thread) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    return results


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_a_message_once(slack, bot):
    fire()
    (pk,) = dispatch.flush_due(seconds(10))
    outcomes = side_by_side(2, lambda: deliver.send(pk, seconds(10), str(threading.get_ident()), clock=float))
    assert sorted(outcomes) == ["not due", SENT]
    assert len(slack.messages("alerts")) == 1


@pytest.mark.django_db(transaction=True)
def test_ac4_two_workers_flush_a_group_once(slack, bot):
    fire()
    group = Group.objects.get()
    made = side_by_side(2, lambda: dispatch.flush(group.pk, seconds(10)))
    assert sorted(map(len, made)) == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_a_message_that_arrives_while_its_group_is_looked_at_is_not_told_again(slack, bot):
    row = fire()
    tick(10)
    build.resolve(row, seconds(30))
    dispatch.flush_due(seconds(70))
    (parcel,) = deliver.claim(seconds(71), "worker")
    arrived = []

    def settle():
        try:
            deliver.settle([(parcel, transmit(parcel), 0.1)], seconds(72), "worker")
        finally:
            connections.close_all()

    def between(execute, sql, *rest):
        found = execute(sql, *rest)
        if not arrived and ('FROM "alerts_notification' in sql or 'FROM "alerts_notifylog' in sql):
            arrived.append(threading.Thread(target=settle))  # before the rest: settling asks for the same tables
            arrived[0].start()
            arrived[0].join(1)  # it waits for the end of the tick where this has locked the message
        return found

    with connection.execute_wrapper(between):
        assert dispatch.flush_due(seconds(130)) == []
    assert arrived
    arrived[0].join(30)
    assert not arrived[0].is_alive()
    assert [message.event["status"] for message in slack.messages("alerts", replies=False)] == ["resolved"]


@pytest.mark.django_db(transaction=True)
def test_dl6_a_message_that_a_tick_withdraws_is_not_claimed_meanwhile(slack, bot):
    fire()
    (first,) = dispatch.flush_due(seconds(10))
    fire("2", seconds(30))
    claims = []

    def between(execute, sql, *rest):
        found = execute(sql, *rest)
        if not claims and 'FROM "alerts_notification"' in sql and "FOR NO KEY UPDATE" in sql:
            claims.append("asked")
            claims.extend(side_by_side(1, lambda: deliver.claim(seconds(70), "worker")))
        return found

    with connection.execute_wrapper(between):
        dispatch.flush_due(seconds(70))
    assert claims == ["asked", []]
    assert Notification.objects.get(pk=first).state == Notification.State.SUPERSEDED


@pytest.mark.django_db(transaction=True)
def test_two_evaluations_may_make_the_same_group(root):
    rows = iter([build.alert("A", labels={"tok": "1"}), build.alert("A", labels={"tok": "2"})])
    lock = threading.Lock()

    def work():
        with lock:
            row = next(rows)
        return dispatch.route([row], T0)

    assert side_by_side(2, work) == [1, 1]
    assert Group.objects.get().members.count() == 2 and Alert.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_dl2_a_receipt_waits_for_a_database_that_went_away(slack, hook):
    slack.set_mode("hook", "slow", seconds=1.5)
    fire()
    dispatch.flush_due(seconds(10))
    outcomes = []
    sending = threading.Thread(target=lambda: outcomes.extend(side_by_side(1, lambda: deliver.run(seconds(10), "w"))))
    sending.start()
    slack.wait_for(lambda fake: fake.requests or Notification.objects.filter(state=Notification.State.SENDING).exists())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchall()
    sending.join(30)
    assert outcomes == [{SENT: 1}]
    assert (only().state, len(slack.messages("hook"))) == (SENT, 1)


@pytest.mark.django_db(transaction=True)
def test_dl2_a_claim_that_finds_no_database_forgets_nothing_that_is_being_sent(slack, hook, monkeypatch):
    slack.set_mode("hook", "slow", seconds=1.3)
    real, claims = deliver.claim, []

    def claim(*args, **named):
        claims.append(args)
        if len(claims) == 2:
            raise OperationalError("the database system is in recovery mode")
        return real(*args, **named)

    monkeypatch.setattr(deliver, "claim", claim)
    fire()
    dispatch.flush_due(seconds(10))
    assert deliver.run(seconds(10), "w") == {SENT: 1}
    assert len(claims) > 2
    assert (only().state, len(slack.messages("hook"))) == (SENT, 1)


@pytest.mark.django_db(transaction=True)
def test_dl2_what_is_claimed_goes_as_composed_when_the_database_goes_then(slack, hook, monkeypatch):
    def measured(parcels, at):
        if parcels:
            raise OperationalError("server closed the connection unexpectedly")
        return parcels

    monkeypatch.setattr(deliver, "_measured", measured)
    fire()
    dispatch.flush_due(seconds(10))
    assert deliver.run(seconds(10), "w") == {SENT: 1}
    assert (only().state, only().is_ambiguous, len(slack.messages("hook"))) == (SENT, False, 1)


@pytest.mark.django_db(transaction=True)
def test_what_becomes_due_while_a_channel_hangs_is_not_held_up(slack, bot, root):
    other = build.integration(build.receiver("other"), target="#other")
    build.route(root, matchers=['team="b"'], receiver=other.receiver)
    slack.set_mode("alerts", "slow", seconds=6)
    fire()
    dispatch.flush_due(seconds(10))

    def work():
        try:
            deliver.run(seconds(10), "worker")
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    until = time.monotonic() + 5
    while not Notification.objects.filter(state=Notification.State.SENDING).exists():
        assert time.monotonic() < until, "nothing was claimed"
        time.sleep(0.01)
    late = build.alert("B", T0, labels={"team": "b"})
    dispatch.route([late], T0)
    dispatch.flush_due(seconds(10))
    assert slack.wait_for_message("other", "B", timeout=5)
    assert not slack.messages("alerts")
    thread.join()
    assert slack.messages("alerts")
