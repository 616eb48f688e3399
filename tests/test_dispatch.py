"""From alerts to groups, and what a group says when it is due; clause ids are those of the alerting spec."""

from datetime import timedelta

import pytest

from alerts import dispatch, housekeeping, policy
from alerts import flush as flush_module
from alerts.models import (
    Alert,
    Event,
    Group,
    GroupAlert,
    InhibitRule,
    Integration,
    Notification,
    Receiver,
    Route,
    TimeInterval,
)
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def flush(n):
    """The messages made at T0 + n seconds."""
    ids = dispatch.flush_due(seconds(n))
    return list(Notification.objects.filter(pk__in=ids).order_by("id"))


def tell(n):
    """Flush at T0 + n seconds and let every message arrive: (firing, resolved) by the alerts' `tok` label."""
    messages = flush(n)
    build.arrive(seconds(n))
    return [told(message) for message in messages]


def told(message):
    """What a message says, by the alerts' `tok` labels."""
    lines = message.message["alerts"]
    toks = [(line["ends_at"] is None, line["labels"].get("tok", "")) for line in lines]
    return sorted(t for is_firing, t in toks if is_firing), sorted(t for is_firing, t in toks if not is_firing)


def alert(tok="1", at=T0, **fields):
    """An alert told apart by its `tok` label, routed at the moment it began."""
    labels = {"tok": tok} | fields.pop("labels", {})
    row = build.alert(fields.pop("name", "A"), at, labels=labels, **fields)
    dispatch.route([row], at)
    return row


def webhook(route=None, **fields):
    """A way out for the receiver of a route."""
    return build.integration(
        route.receiver if route else None, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook/x", **fields
    )


@pytest.fixture
def root():
    """A root route of 10 s, 60 s and 600 s."""
    return build.route(group_wait_seconds=10, group_interval_seconds=60, repeat_interval_seconds=600)


@pytest.fixture
def way(root):
    """One webhook behind the root route."""
    return webhook(root)


def test_ag1_alerts_group_by_route_and_group_labels(way):
    rows = [build.alert("A", labels={"tok": "1"}), build.alert("A", labels={"tok": "2"}), build.alert("B")]
    assert dispatch.route(rows, T0) == 3
    assert sorted(group.labels["alertname"] for group in Group.objects.all()) == ["A", "B"]


def test_ag3_a_new_group_waits_its_group_wait(way):
    alert()
    assert flush(9.9) == []
    assert tell(10) == [(["1"], [])]


def test_ag4_an_alert_that_began_long_ago_is_told_at_once(way):
    row = build.alert("A", seconds(-60), labels={"tok": "old"})
    dispatch.route([row], T0)
    assert tell(0) == [(["old"], [])]


def test_ag4_a_waiting_group_is_hurried_by_an_old_alert(way):
    alert()
    dispatch.route([build.alert("A", seconds(-60), labels={"tok": "old"})], seconds(3))
    assert tell(3) == [(["1", "old"], [])]


def test_ag5_arrivals_do_not_move_the_grid(way):
    alert()
    tell(10)
    alert("2", seconds(30))
    assert flush(69) == []
    assert tell(70) == [(["1", "2"], [])]


def test_ag5_a_late_flush_skips_slots_and_counts_them(way):
    alert()
    tell(10)
    flush(250)
    group = Group.objects.get()
    assert (group.missed_flushes, group.next_flush_at) == (3, seconds(310))


def test_ag6_a_told_resolve_leaves_the_group(way):
    row = alert()
    tell(10)
    build.resolve(row, seconds(30))
    assert tell(70) == [([], ["1"])]
    assert not GroupAlert.objects.exists()


def test_ag6_a_resolve_that_did_not_arrive_stays_in_the_group(way):
    row = alert()
    tell(10)
    build.resolve(row, seconds(30))
    flush(70)
    assert GroupAlert.objects.count() == 1


def test_ag8_an_alert_that_returns_before_the_sweep_waits_for_the_next_tick(way):
    build.resolve(alert(), seconds(5))
    tell(10)
    alert(at=seconds(20))
    assert flush(30) == []
    assert tell(70) == [(["1"], [])]


def test_ag8_after_the_sweep_it_waits_its_group_wait(way):
    build.resolve(alert(), seconds(5))
    tell(10)
    assert housekeeping.sweep_groups() == 1
    alert(at=seconds(20))
    assert tell(30) == [(["1"], [])]


def test_the_sweep_leaves_groups_with_members(way):
    alert()
    assert housekeeping.sweep_groups() == 0


def test_ad1_nothing_new_is_not_told(way):
    alert()
    tell(10)
    assert tell(70) == []


def test_ad2_a_new_member_is_told_with_the_whole_group(way):
    alert()
    tell(10)
    alert("2", seconds(30))
    assert tell(70) == [(["1", "2"], [])]


def test_ad3_a_partial_resolve_is_told_with_those_still_firing(way):
    alert()
    second = alert("2")
    tell(10)
    build.resolve(second, seconds(30))
    assert tell(70) == [(["1"], ["2"])]


def test_ad5_a_repeat_comes_exactly_on_its_multiple(way):
    alert()
    tell(10)
    assert [n for n in range(70, 700, 60) if tell(n)] == [610]


def test_ad5_any_message_restarts_the_clock_of_repeats(way):
    alert()
    tell(10)
    alert("2", seconds(30))
    assert [n for n in range(70, 900, 60) if tell(n)] == [70, 670]


def test_ad6_fired_and_resolved_before_the_first_tick_is_not_told(way):
    build.resolve(alert(), seconds(5))
    assert tell(10) == []


def test_ad8_without_send_resolved_an_end_is_noted_but_not_told(root):
    webhook(root, send_resolved=False)
    row = alert()
    tell(10)
    build.resolve(row, seconds(30))
    assert tell(70) == []
    alert(at=seconds(80))
    assert tell(130) == [(["1"], [])]


def test_ad10_each_way_out_has_its_own_log(root, way):
    alert()
    tell(10)
    webhook(root)
    assert tell(70) == [(["1"], [])]


def test_ad12_a_message_that_never_arrived_is_not_logged(way):
    alert()
    (message,) = flush(10)
    Notification.objects.filter(pk=message.pk).update(state=Notification.State.DEAD)
    assert tell(70) == [(["1"], [])]


def test_ad13_two_routes_of_the_same_matchers_do_not_share_a_group(root):
    webhook(root)
    build.route(root, matchers=["alertname=A"], goes_on=True)
    build.route(root, matchers=["alertname=A"], position=1)
    alert()
    assert tell(10) == [(["1"], []), (["1"], [])]


def test_ah1_an_inhibited_alert_is_not_told_and_says_why(way):
    InhibitRule.objects.create(source_matchers=["alertname=Source"], target_matchers=["alertname=A"], equal=["dc"])
    alert("s", name="Source", labels={"dc": "x"})
    target = alert(labels={"dc": "x"})
    assert [toks for toks, _ in tell(10)] == [["s"]]
    assert "another alert fires" in target.events.get(kind=Event.Kind.NOT_NOTIFIED).reason


def test_ah4_when_the_source_resolves_the_target_speaks_at_the_next_tick(way):
    InhibitRule.objects.create(source_matchers=["alertname=Source"], target_matchers=["alertname=A"])
    source = alert("s", name="Source")
    alert()
    tell(10)
    build.resolve(source, seconds(30))
    assert (["1"], []) in tell(70)


def test_a_higher_severity_of_the_same_rule_mutes_the_lower(way):
    rule = build.rule("A")
    alert("1", rule=rule, severity="warning")
    alert("1", rule=rule, severity="critical")
    (message,) = flush(10)
    assert [line["labels"]["severity"] for line in message.message["alerts"]] == ["critical"]


def test_as3_a_silenced_alert_is_told_when_the_silence_is_over(way):
    build.silence("tok=1", ends_at=seconds(50))
    alert()
    assert tell(10) == []
    assert tell(70) == [(["1"], [])]


def test_as4_other_alerts_of_the_group_go_on(way):
    build.silence("tok=1")
    alert()
    alert("2")
    assert tell(10) == [(["2"], [])]


def test_as5_an_end_under_a_silence_is_never_told(way):
    row = alert()
    tell(10)
    build.silence("tok=1", starts_at=seconds(20), ends_at=seconds(100))
    build.resolve(row, seconds(30))
    assert tell(70) == [] and not GroupAlert.objects.exists()


def test_as6_the_firing_after_a_swallowed_end_is_told(way):
    row = alert()
    tell(10)
    build.silence("tok=1", starts_at=seconds(20), ends_at=seconds(100))
    build.resolve(row, seconds(30))
    tell(70)
    alert(at=seconds(110))
    assert tell(130) == [(["1"], [])]


def test_at1_a_route_is_mute_during_its_interval(root, way):
    noon = TimeInterval.objects.create(name="noon", spec=[{"times": [{"start_time": "12:00", "end_time": "12:01"}]}])
    child = build.route(root, matchers=["alertname=A"])
    child.mute_intervals.add(noon)
    alert()
    assert tell(10) == []
    assert tell(70) == [(["1"], [])]


def test_at4_the_firing_after_an_end_inside_an_interval_is_not_told(root, way):
    times = [{"start_time": "12:01", "end_time": "12:02"}]
    child = build.route(root, matchers=["alertname=A"])
    child.mute_intervals.add(TimeInterval.objects.create(name="later", spec=[{"times": times}]))
    row = alert()
    tell(10)
    build.resolve(row, seconds(65))
    tell(70)
    alert(at=seconds(125))
    assert tell(130) == []


def test_why_an_alert_is_muted_is_noted_once(way):
    build.silence("tok=1")
    row = alert()
    flush(10)
    flush(70)
    assert row.events.filter(kind=Event.Kind.NOT_NOTIFIED).count() == 1


def test_ai3_a_posted_alert_is_told_as_resolved_after_its_end(way):
    alert(source=Alert.Source.API, ends_at=seconds(40))
    assert tell(10) == [(["1"], [])]
    assert tell(70) == [([], ["1"])]


def test_al4_reroute_keeps_what_did_not_change_silent(root, way):
    alert()
    tell(10)
    root.repeat_interval_seconds = 700
    root.save()
    assert dispatch.reroute(seconds(20)) == 0
    assert tell(70) == []


def test_al5_reroute_announces_under_the_new_key(root, way):
    alert()
    tell(10)
    root.group_by = ["alertname", "tok"]
    root.save()
    dispatch.reroute(seconds(20))
    assert tell(21) == [(["1"], [])]
    assert GroupAlert.objects.count() == 1


def test_without_routes_messages_are_kept_as_they_would_look():
    alert()
    (message,) = flush(30)
    assert message.state == Notification.State.KEPT and message.integration is None
    assert message.message["title"] == "A"


def test_a_kept_message_is_not_kept_again_while_nothing_changes(root):
    alert()
    assert len(flush(10)) == 1
    assert [n for n in range(70, 2000, 60) if flush(n)] == []


def test_when_a_way_out_appears_a_group_that_still_fires_is_told(root):
    alert()
    flush(10)
    webhook(root)
    assert tell(70) == [(["1"], [])]
    assert Notification.objects.filter(state=Notification.State.KEPT).count() == 1


def test_a_kept_end_leaves_the_group(root):
    row = alert()
    flush(10)
    build.resolve(row, seconds(30))
    assert told(flush(70)[0]) == ([], ["1"])
    assert not GroupAlert.objects.exists()


def test_pending_and_shadow_alerts_go_nowhere(way):
    alert(state=Alert.State.PENDING)
    alert("2", is_shadow=True)
    assert not Group.objects.exists()


def test_the_same_series_firing_again_replaces_its_earlier_life(way):
    row = alert()
    tell(10)
    build.resolve(row, seconds(30))
    alert(at=seconds(40))
    assert tell(70) == []
    assert GroupAlert.objects.count() == 1


def test_equal_alerts_of_two_rules_are_over_when_neither_fires(way):
    first, second = alert(rule=build.rule("A")), alert(rule=build.rule("A2"))
    assert tell(10) == [(["1"], [])]
    build.resolve(second, seconds(20))
    assert tell(70) == []
    build.resolve(first, seconds(80))
    assert tell(130) == [([], ["1"])]


def test_the_equal_alert_of_another_rule_is_not_told_anew(way):
    alert(rule=build.rule("A"))
    assert tell(10) == [(["1"], [])]
    alert(rule=build.rule("A2"), at=seconds(20))
    assert tell(70) == []


def test_a_queued_message_is_replaced_by_a_newer_state(way):
    alert()
    flush(10)
    alert("2", seconds(30))
    flush(70)
    states = list(Notification.objects.order_by("id").values_list("state", flat=True))
    assert states == [Notification.State.SUPERSEDED, Notification.State.QUEUED]


def test_the_same_state_does_not_pile_up_behind_a_slow_channel(way):
    alert()
    flush(10)
    assert [flush(n) for n in (70, 130, 190)] == [[], [], []]


def test_ax6_an_end_that_was_overtaken_is_named_by_the_next_message(way):
    first = alert()
    alert("2")
    tell(10)
    build.resolve(first, seconds(30))
    flush(70)
    alert("3", seconds(80))
    assert tell(130) == [(["2", "3"], ["1"])]


def test_ax7_fired_and_resolved_while_nothing_could_be_sent_is_told_as_over(way):
    row = alert()
    flush(10)
    build.resolve(row, seconds(30))
    assert tell(70) == [([], ["1"])]
    assert Notification.objects.filter(state=Notification.State.SENT).count() == 1


def test_dl1_a_group_is_flushed_once_a_tick(way):
    alert()
    assert len(flush(10)) == 1
    assert dispatch.flush(Group.objects.get().pk, seconds(10)) == []


def test_an_acknowledged_group_is_not_repeated(way):
    row = alert()
    tell(10)
    Alert.objects.filter(pk=row.pk).update(acknowledged_at=seconds(20))
    assert [n for n in range(70, 1300, 60) if tell(n)] == []


def test_a_worse_alert_is_told_in_an_acknowledged_group(way):
    row = alert()
    tell(10)
    Alert.objects.filter(pk=row.pk).update(acknowledged_at=seconds(20))
    alert("2", seconds(30), severity="critical")
    assert tell(70) == [(["1", "2"], [])]


def test_a_told_alert_has_it_in_its_timeline(way):
    row = alert()
    tell(10)
    assert row.events.get(kind=Event.Kind.NOTIFIED).reason.startswith("ml-team")


def test_a_tree_that_has_not_changed_is_not_read_again(way, django_assert_num_queries):
    policy.routing()
    with django_assert_num_queries(1):
        policy.routing()


@pytest.mark.parametrize("change", ["route", "receiver", "interval", "window"])
def test_a_tree_is_read_again_when_any_of_its_rows_has_changed(way, change):
    interval = TimeInterval.objects.create(name="nights", spec=[])
    child = build.route(Route.objects.get(), matchers=['team="b"'])
    before = policy.routing()
    if change == "route":
        Route.objects.update(group_wait_seconds=77)
    elif change == "receiver":
        Receiver.objects.update(name="others")
    elif change == "interval":
        TimeInterval.objects.update(name="weekends")
    else:
        child.mute_intervals.add(interval)
    assert policy.routing() != before


def test_many_groups_are_flushed_in_the_same_number_of_queries(way, django_assert_max_num_queries):
    for number in range(20):
        alert(name=f"A{number}")
    with django_assert_max_num_queries(35):
        assert len(dispatch.flush_due(seconds(10))) == 20


def test_a_transaction_takes_no_more_groups_once_it_has_many_members(way, monkeypatch):
    """So that others may flush, and posts come in, while it composes."""
    monkeypatch.setattr(flush_module, "_MOST_MEMBERS", 3)
    monkeypatch.setattr(flush_module, "_LOCKED_AT_ONCE", 2)
    for number in range(7):
        alert(name=f"A{number}")
    assert [len(dispatch.flush_due(seconds(10))) for _ in range(3)] == [3, 3, 1]


def test_routing_many_alerts_takes_a_fixed_number_of_queries(way, django_assert_max_num_queries):
    rows = [build.alert(f"A{number}") for number in range(50)]
    with django_assert_max_num_queries(20):
        assert dispatch.route(rows, T0) == 50
    with django_assert_max_num_queries(10):
        assert dispatch.route(rows, T0) == 0


def test_a_broken_group_holds_no_other_back(way):
    broken = alert("1", name="Broken")
    Alert.objects.filter(pk=broken.pk).update(annotations=["no mapping"])
    alert("2")
    assert [told(message) for message in flush(10)] == [(["2"], [])]
    group = broken.groups.get()
    assert group.next_flush_at == seconds(70) and "could not be flushed" in group.last_reason
