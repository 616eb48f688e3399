"""Pages of rules tried on the past: who may ask, what the form sends, what is shown, what it costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import backtest_runs, tasks
from alerts.models import Backtest, Rule
from tests import build
from tests.past import remember
from tests.people import member, signed_in, superuser

pytestmark = pytest.mark.django_db
STEP = 15
JSON = {"HTTP_ACCEPT": "application/json"}


@pytest.fixture
def editor() -> Client:
    return signed_in(member("Editor", "edith"))


def load_rule(limit: float = 80, **fields: Any) -> Rule:
    rule = build.rule("LoadHigh", "load", **fields)
    build.threshold(rule, limit, "warning")
    return rule


def an_hour_with_a_peak() -> None:
    values: list[float | None] = [10.0] * 241
    values[150:170] = [90.0] * 20
    remember(timezone.now(), STEP, {"ana": values})


def typed(rule: Rule, **changes: Any) -> dict[str, Any]:
    """What the form of a rule with one row sends."""
    row = rule.thresholds.get()
    return {
        "name": rule.name, "group": rule.group_id, "life": "live", "kind": "alert", "expr": rule.expr, "position": 0,
        "hold_seconds": "0", "keep_firing_seconds": "0", "no_data": "keep", "no_data_resolve_seconds": "1h",
        "labels": "{}", "annotations": "{}", "thresholds-TOTAL_FORMS": 1, "thresholds-INITIAL_FORMS": 1,
        "thresholds-0-id": row.pk, "thresholds-0-rule": rule.pk, "thresholds-0-severity": row.severity,
        "thresholds-0-operator": row.operator, "thresholds-0-value": row.value, "thresholds-0-priority": 0,
        "thresholds-0-is_enabled": "on", "backtest_span": "1h", **changes,
    }  # fmt: skip


def done(rule: Rule, **more: Any) -> Backtest:
    """A finished run of a rule over the hour with a peak."""
    run = backtest_runs.ask(backtest_runs.sides(rule, None), None, timezone.now(), span="1h", **more)
    backtest_runs.run_next(timezone.now)
    run.refresh_from_db()
    return run


def test_the_form_asks_for_what_is_typed_beside_what_is_saved(editor: Client) -> None:
    rule = load_rule()
    url = f"{reverse('admin:alerts_rule_backtest')}?rule={rule.pk}"
    answer = editor.post(url, typed(rule, **{"thresholds-0-value": 95}), **JSON)
    run = Backtest.objects.get()
    assert answer.json()["url"] == reverse("alerts:backtest", args=[run.pk])
    assert [(side["name"], side["limits"][0]["value"]) for side in run.content] == [("saved", 80), ("as typed", 95)]
    assert rule.thresholds.get().value == 80
    assert run.asked_by == User.objects.get(username="edith")


def test_without_a_script_the_form_leads_to_the_page(editor: Client) -> None:
    rule = load_rule()
    answer = editor.post(f"{reverse('admin:alerts_rule_backtest')}?rule={rule.pk}", typed(rule))
    assert answer.status_code == 302 and "/backtests/" in answer["Location"]


def test_a_row_that_is_not_complete_is_told(editor: Client) -> None:
    rule = load_rule()
    data = typed(rule, **{"thresholds-0-value": "much"})
    answer = editor.post(f"{reverse('admin:alerts_rule_backtest')}?rule={rule.pk}", data, **JSON)
    assert answer.status_code == 422
    assert "Complete the rows of limits first" in answer.json()["error"]


def test_a_suggestion_is_asked_for_the_row_that_is_meant(editor: Client) -> None:
    rule = load_rule()
    data = typed(rule, suggest_row="thresholds-0")
    answer = editor.post(f"{reverse('admin:alerts_rule_suggest')}?rule={rule.pk}", data, **JSON)
    run = Backtest.objects.get()
    assert (run.kind, run.content[0]["row"]) == ("suggest", 0)
    backtest_runs.run_next(timezone.now)
    state = editor.get(answer.json()["state"]).json()
    assert (state["state"], "3 days" in state["problem"]) == ("failed", True)


def test_a_viewer_sees_runs_but_may_not_start_one() -> None:
    rule = load_rule()
    run = done(rule)
    viewer = signed_in(member("Viewer"))
    assert viewer.get(reverse("alerts:backtest", args=[run.pk])).status_code == 200
    assert viewer.post(reverse("alerts:backtest_again", args=[run.pk])).status_code == 403
    assert viewer.post(reverse("alerts:backtest_stop", args=[run.pk])).status_code == 403
    assert viewer.post(f"{reverse('admin:alerts_rule_backtest')}?rule={rule.pk}", typed(rule)).status_code == 403


def test_strangers_are_sent_to_sign_in(client: Client) -> None:
    run = done(load_rule())
    assert client.get(reverse("alerts:backtest", args=[run.pk])).status_code == 302
    assert client.get(reverse("alerts:backtest_state", args=[run.pk])).status_code == 401


def test_the_page_shows_episodes_with_a_link_to_their_time(editor: Client) -> None:
    an_hour_with_a_peak()
    run = done(load_rule())
    text = editor.get(reverse("alerts:backtest", args=[run.pk])).content.decode()
    assert "host=ana" in text and "limit 80" in text
    assert "/explore/?expr=load&amp;from=" in text


def test_the_page_says_how_far_history_reaches(editor: Client) -> None:
    an_hour_with_a_peak()
    run = backtest_runs.ask(backtest_runs.sides(load_rule(), None), None, timezone.now(), span="24h")
    backtest_runs.run_next(timezone.now)
    assert "History only reaches back" in editor.get(reverse("alerts:backtest", args=[run.pk])).content.decode()


def test_a_run_that_waits_says_how_many_come_first(editor: Client) -> None:
    rule = load_rule()
    for _ in range(3):
        last = backtest_runs.ask(backtest_runs.sides(rule, None), None, timezone.now())
    text = editor.get(f"{reverse('alerts:backtest', args=[last.pk])}?fragment=1").content.decode()
    assert "2 other runs first" in text and "<html" not in text


def test_a_label_of_a_series_is_no_markup(editor: Client) -> None:
    remember(timezone.now(), STEP, {"<b>x</b></script>": [90.0] * 241})
    run = done(load_rule())
    text = editor.get(reverse("alerts:backtest", args=[run.pk])).content.decode()
    assert "<b>x</b>" not in text


def test_a_run_is_asked_for_again_over_another_range(editor: Client) -> None:
    run = done(load_rule())
    asked = {"backtest_span": "24h", "backtest_step": "300"}
    answer = editor.post(reverse("alerts:backtest_again", args=[run.pk]), asked)
    again = Backtest.objects.latest("pk")
    assert answer["Location"] == reverse("alerts:backtest", args=[again.pk])
    assert (again.span, again.step_seconds, again.content) == ("24h", 300, run.content)


def test_several_rules_are_tried_by_an_action_of_the_list(editor: Client) -> None:
    rules = [load_rule(), build.rule("Other", "load > 50"), build.rule("a:b", "load", kind="record")]
    data = {"action": "backtest_selected", "_selected_action": [rule.pk for rule in rules]}
    answer = editor.post(reverse("admin:alerts_rule_changelist"), data)
    runs = Backtest.objects.all()
    assert {run.name for run in runs} == {"LoadHigh", "Other"}
    assert answer["Location"].endswith(f"?batch={runs[0].batch}")


def test_the_list_tells_the_outcome_of_each_run(editor: Client) -> None:
    an_hour_with_a_peak()
    done(load_rule(), batch="b1")
    text = editor.get(reverse("alerts:backtests") + "?batch=b1").content.decode()
    assert "LoadHigh" in text and "<b>1</b>" in text


def test_the_list_costs_few_queries_however_many_runs(editor: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(60):
        Backtest.objects.create(name=f"r{number}", content=[], span="1h", asked_at=timezone.now(), state="done")
    with django_assert_max_num_queries(15):
        assert editor.get(reverse("alerts:backtests")).status_code == 200


def test_an_empty_list_says_how_to_begin(editor: Client) -> None:
    assert "No rule was tried yet" in editor.get(reverse("alerts:backtests")).content.decode()


def test_a_worker_runs_one_after_the_other(transactional_db: None) -> None:
    rule = load_rule()
    for _ in range(2):
        backtest_runs.ask(backtest_runs.sides(rule, None), None, timezone.now(), span="1h")
    first, second = sorted(Backtest.objects.values_list("pk", flat=True))
    assert [tasks.run_backtests() for _ in range(3)] == [first, second, None]


def test_house_keeping_notices_runs_without_a_worker() -> None:
    run = Backtest.objects.create(
        name="x", content=[], span="1h", asked_at=timezone.now(), state="running",
        beat_at=timezone.now() - timedelta(hours=1),
    )  # fmt: skip
    tasks.keep_house()
    run.refresh_from_db()
    assert run.state == "failed"


def test_the_form_has_its_panel() -> None:
    rule = load_rule()
    client = signed_in(superuser())
    text = client.get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    assert "Try on the past" in text
