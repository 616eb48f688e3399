"""A rule tried on the past: episodes, who would have been told, how far history reaches, what stops it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from alerts import backtest, backtest_content, backtest_report, backtest_runs
from alerts.backtest import Outcome
from alerts.history import Meter, Stopped, aligned
from alerts.models import Alert, Backtest, Event, InhibitRule, Notification, Rule
from alerts.prepared import latest_slot
from tests import build
from tests.build import T0
from tests.past import remember

pytestmark = pytest.mark.django_db
STEP = 15


def forever(done: float, samples: int) -> None:
    """A watch that never ends anything."""


def tried(rule: Rule, seconds: float = 3600, *, watch: Any = forever, end: datetime = T0, **content: Any) -> Outcome:
    """The rule over the time before `end`."""
    frozen = backtest_content.freeze_saved(rule)
    group = rule.group
    span = aligned(end - timedelta(seconds=seconds), end, group.interval_seconds, latest_slot(group, end))
    return backtest.run(backtest_content.thaw({**frozen, **content}), span, Meter(watch))


def load_rule(limit: float = 80, **fields: Any) -> Rule:
    rule = build.rule("LoadHigh", "load", **fields)
    build.threshold(rule, limit, "warning")
    return rule


def hill(count: int, *peaks: tuple[int, int, float]) -> list[float | None]:
    """A quiet line of 10 with (from, to, value) on it."""
    values: list[float | None] = [10.0] * count
    for first, last, value in peaks:
        values[first:last] = [value] * (last - first)
    return values


def test_an_episode_has_start_duration_peak_limit_and_series() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85), (105, 106, 97)), "ben": hill(241)})
    found = backtest_report.side(tried(load_rule(hold_seconds=60)))
    (episode,) = found["episodes"]
    assert (episode["series"], episode["severity"], episode["peak"], episode["limit"]) == (
        "host=ana", "warning", "97", "80",
    )  # fmt: skip
    assert 225 <= episode["seconds"] <= 255  # 20 slots past the limit, of which four wait
    assert found["series"] == 2


def test_what_still_fires_at_the_end_has_no_end() -> None:
    remember(T0, STEP, {"ana": hill(241, (200, 241, 85))})
    found = backtest_report.side(tried(load_rule()))
    assert (found["firing_now"], found["episodes"][0]["end"]) == (1, None)


def test_a_pending_alert_that_never_fired_is_counted_apart() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 102, 85))})
    found = backtest_report.side(tried(load_rule(hold_seconds=300)))
    assert (found["episode_count"], found["waited"]) == (0, 1)


def test_the_peak_of_a_floor_is_its_lowest_value() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 5), (110, 111, 2))})
    rule = build.rule("LoadLow", "load")
    build.threshold(rule, 8, operator="<")
    assert backtest_report.side(tried(rule))["episodes"][0]["peak"] == "2"


def test_a_plain_condition_tells_the_value_behind_it() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85))})
    found = backtest_report.side(tried(build.rule("LoadHigh", "load > 80")))
    assert found["episodes"][0]["peak"] == "85"
    assert 10 in found["chart"]["series"][0]["values"]
    assert found["thresholds"] == [{"value": 80.0, "label": "limit", "severity": "warning"}]


def test_no_peak_is_lost_in_the_chart() -> None:
    remember(T0, STEP, {"ana": hill(5761, (3000, 3001, 99))})
    found = backtest_report.side(tried(load_rule(), 86_400))
    values = found["chart"]["series"][0]["values"]
    assert len(values) <= 600
    assert max(value for value in values if value is not None) == 99


def test_an_override_counts_for_its_series() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85)), "ben": hill(241, (100, 120, 85))})
    rule = load_rule()
    build.threshold(rule, 95, selector='{host="ben"}', reason="batch host")
    assert [one.labels.get("host") for one in tried(rule).book.episodes] == ["ana"]


def test_nothing_is_written_and_nobody_is_told() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85))})
    tried(load_rule())
    assert not (Alert.objects.exists() or Event.objects.exists() or Notification.objects.exists())


# -- who would have been told --------------------------------------------------------------------------------------


def test_a_firing_and_its_end_are_two_messages_to_a_webhook_and_one_with_an_edit_to_slack() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 160, 85))})
    build.route()
    build.integration(kind="webhook", url="http://127.0.0.1/hook")
    build.integration()
    told = backtest_report.side(tried(load_rule()))["told"]
    assert {(one["way"].split()[0], one["posts"], one["edits"]) for one in told["by_way"]} == {
        ("webhook", 2, 0), ("Slack", 1, 1),
    }  # fmt: skip


def test_alerts_of_one_group_are_one_message() -> None:
    remember(T0, STEP, {host: hill(241, (100, 240, 85)) for host in ("ana", "ben", "cleo")})
    build.route()
    outcome = tried(load_rule())
    assert [(one.firing, one.why) for one in outcome.told.told] == [(3, "first")]


def test_a_long_firing_is_repeated() -> None:
    remember(T0, STEP, {"ana": hill(5761, (1, 5761, 85))})
    build.route(repeat_interval_seconds=14_400)
    told = tried(load_rule(), 86_000).told.told
    assert [one.why for one in told] == ["first", *["repeat"] * 5]


def test_a_silence_of_that_time_holds_messages_back() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85)), "ben": hill(241, (100, 120, 85))})
    build.route(group_by=["alertname", "host"])
    build.silence('host="ana"', starts_at=T0 - timedelta(hours=2), ends_at=T0)
    outcome = tried(load_rule())
    assert {one.why for one in outcome.told.told} == {"first", "all_resolved"}
    assert outcome.told.muted == {"silenced": 1}


def test_an_alert_of_another_rule_holds_messages_back() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85))})
    build.route()
    InhibitRule.objects.create(
        source_matchers=['alertname="HostDown"'], target_matchers=['alertname="LoadHigh"'], equal=["host"]
    )
    build.alert("HostDown", T0 - timedelta(hours=3), labels={"host": "ana"})
    outcome = tried(load_rule())
    assert (outcome.told.told, outcome.told.muted) == ([], {"inhibited": 1})


def test_a_higher_severity_holds_the_lower_one_back() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 160, 97))})
    build.route()
    rule = load_rule()
    build.threshold(rule, 95, "critical")
    outcome = tried(rule)
    assert outcome.told.muted == {"severity": 1}
    assert [(one.firing, one.why) for one in outcome.told.told][:1] == [(1, "first")]


# -- history -------------------------------------------------------------------------------------------------------


def test_it_says_how_far_history_reaches() -> None:
    remember(T0, STEP, {"ana": hill(241)})
    coverage = backtest_report.side(tried(load_rule(), 86_400))["coverage"]
    assert coverage["is_short"] and 3500 <= coverage["reach_seconds"] <= 3700


def test_it_tells_gaps() -> None:
    values = hill(481)
    values[100:200] = [None] * 100
    remember(T0, STEP, {"ana": values})
    coverage = backtest_report.side(tried(load_rule(), 7200))["coverage"]
    assert coverage["gap_count"] == 1
    assert 1100 <= coverage["gap_seconds"] <= 1500  # 25 minutes, of which a value counts for five


def test_without_any_history_it_says_so() -> None:
    coverage = backtest_report.side(tried(load_rule()))["coverage"]
    assert coverage["first"] is None


def test_a_plain_condition_that_is_never_true_has_its_history_all_the_same() -> None:
    remember(T0, STEP, {"ana": hill(241)})
    coverage = backtest_report.side(tried(build.rule("X", "load > 80 and on() vector(1)")))["coverage"]
    assert coverage["first"] is not None


# -- what stops it -------------------------------------------------------------------------------------------------


def test_a_stopped_run_keeps_what_it_has() -> None:
    def stop(done: float, samples: int) -> None:
        if done > 0.2:
            raise Stopped("Stopped after 5 minutes")

    remember(T0, STEP, {"ana": hill(5761, (100, 120, 85), (5000, 5010, 85))})
    found = backtest_report.side(tried(load_rule(), 86_400, watch=stop))
    assert (found["problem"], found["episode_count"]) == ("Stopped after 5 minutes", 1)


def test_a_parse_error_is_told_with_its_place() -> None:
    found = backtest_report.side(tried(build.rule("X", "sum(load")))
    assert "Line 1, column 9" in found["problem"]


def test_a_recording_rule_is_refused() -> None:
    assert "raises no alerts" in tried(build.rule("a:b", "load", kind="record")).problem


def test_two_series_of_one_name_are_told_with_the_number_of_slots() -> None:
    remember(T0, STEP, {"ana": hill(41, (0, 41, 90)), "ben": hill(41, (0, 41, 90))})
    rule = build.rule("X", "load > 80", labels={"host": ""})
    (problem,) = backtest_report.side(tried(rule, 300))["problems"]
    assert problem["slots"] in (20, 21) and "same labelset" in problem["words"]


# -- runs ----------------------------------------------------------------------------------------------------------


def ask(rule: Rule, typed: dict[str, Any] | None = None, **more: Any) -> Backtest:
    return backtest_runs.ask(backtest_runs.sides(rule, typed), None, T0, span="1h", **more)


def run_all() -> None:
    while backtest_runs.run_next(lambda: T0) is not None:
        pass


def test_what_is_typed_is_tried_beside_what_is_saved() -> None:
    remember(T0, STEP, {"ana": hill(241, (100, 120, 85), (150, 170, 97))})
    rule = load_rule()
    row = rule.thresholds.get()
    row.value = 95
    run = ask(rule, backtest_content.freeze("as typed", rule, [row]))
    run_all()
    run.refresh_from_db()
    assert run.state == Backtest.State.DONE
    assert [side["episode_count"] for side in run.result["sides"]] == [2, 1]
    assert run.result["difference"] == {"kept": 1, "dropped": 1, "added": 0}


def test_what_is_typed_as_it_is_saved_is_tried_once() -> None:
    rule = load_rule()
    same = backtest_content.freeze("as typed", rule, list(rule.thresholds.all()))
    assert [one["name"] for one in backtest_runs.sides(rule, same)] == ["saved"]


def test_a_rule_that_was_never_saved_is_tried_alone() -> None:
    rule = Rule(name="New", expr="load > 80")
    typed = backtest_content.freeze("as typed", rule, [])
    run = ask(rule, typed)
    run_all()
    run.refresh_from_db()
    assert (run.state, run.rule, len(run.result["sides"])) == ("done", None, 1)


def test_a_run_survives_the_rule_it_was_asked_for() -> None:
    rule = load_rule()
    run = ask(rule)
    rule.delete()
    run_all()
    run.refresh_from_db()
    assert run.state == "done"


def test_a_stopped_run_does_not_start() -> None:
    run = ask(load_rule())
    assert backtest_runs.stop(run.pk, T0)
    assert backtest_runs.run_next(lambda: T0) is None


def test_a_run_that_takes_too_long_ends_with_words() -> None:
    remember(T0, STEP, {"ana": hill(241)})
    run = ask(load_rule())
    late = iter([T0, T0, *[T0 + timedelta(hours=1)] * 50])
    backtest_runs.run_next(lambda: next(late))
    run.refresh_from_db()
    assert "5 minutes" in run.result["sides"][0]["problem"]


def test_a_run_whose_worker_is_gone_says_so() -> None:
    run = ask(load_rule())
    Backtest.objects.update(state="running", beat_at=T0)
    assert backtest_runs.end_lost(T0 + timedelta(minutes=4)) == 1
    run.refresh_from_db()
    assert (run.state, "Run it again" in run.problem) == ("failed", True)


def test_only_the_newest_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest_runs, "KEPT", 2)
    rule = load_rule()
    for _ in range(4):
        ask(rule)
        run_all()
    assert Backtest.objects.count() == 3  # two old ones and the one that was just asked for


def test_an_unknown_range_is_refused() -> None:
    with pytest.raises(backtest_runs.Refused, match="choose one of 1h"):
        backtest_runs.ask(backtest_runs.sides(load_rule(), None), None, T0, span="3 fortnights")


def test_all_history_begins_at_the_first_sample() -> None:
    remember(T0, STEP, {"ana": hill(5761)})
    backtest_runs.ask(backtest_runs.sides(load_rule(), None), None, T0, span="all")
    run_all()
    start = datetime.fromisoformat(Backtest.objects.get().result["start"])
    assert timedelta(hours=24) <= T0 - start <= timedelta(hours=26)
