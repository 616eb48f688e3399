"""Rules tried on the past from a terminal, and the limits of every run."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from alerts import backtest_runs
from alerts.models import Alert, Backtest, Notification, Rule
from tests import build
from tests.past import remember

pytestmark = pytest.mark.django_db
STEP = 15


def load_rule(**fields: Any) -> Rule:
    rule = build.rule("LoadHigh", "load", **fields)
    build.threshold(rule, 80, "warning")
    return rule


def an_hour_with_a_peak() -> None:
    values: list[float | None] = [10.0] * 241
    values[150:170] = [90.0] * 20
    remember(timezone.now(), STEP, {"ana": values})


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("backtest", *arguments, stdout=out)
    return out.getvalue()


def test_a_rule_is_tried_by_its_name():
    build.integration(build.route().receiver, target="#ml-alerts")
    load_rule()
    an_hour_with_a_peak()
    text = said("LoadHigh", "--range", "1h")
    assert "1 episodes, 0 ended while pending" in text
    assert "warning" in text and "peak 90, limit 80  host=ana" in text
    assert "1 messages" in text and "ml-team: 1 by" in text


def test_nothing_is_kept_and_nobody_is_told():
    build.integration(build.route().receiver)
    load_rule()
    an_hour_with_a_peak()
    said("LoadHigh", "--range", "1h")
    assert not any(model.objects.exists() for model in (Backtest, Alert, Notification))


def test_it_says_how_far_history_reaches():
    load_rule()
    an_hour_with_a_peak()
    assert "history begins" in said("LoadHigh", "--range", "24h")


def test_without_history_it_says_so():
    load_rule()
    assert "There is no history in this range." in said("LoadHigh", "--range", "1h")


def test_all_of_it_comes_as_json():
    rule = load_rule()
    an_hour_with_a_peak()
    assert json.loads(said(str(rule.pk), "--range", "1h", "--json"))["sides"][0]["episode_count"] == 1


def test_a_limit_is_suggested_with_its_marks():
    rule = load_rule(group=build.rule_group(interval_seconds=300))
    remember(timezone.now(), 300, {"ana": [float(place % 40) for place in range(5 * 288)]})
    text = said(rule.name, "--suggest", "--range", "7d")
    assert "one a day" in text and "p99" in text and "median + 4·MAD" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Nobody"], "There is no rule Nobody"),
        (["Twice"], "Several rules are called Twice; give the number of one"),
        (["LoadHigh", "--step", "soon"], "--step"),
        (["LoadHigh", "--suggest"], "from 3 days on"),
    ],
)
def test_what_cannot_be_tried_is_said(arguments: list[str], words: str):
    for name in ("Twice", "Twice"):
        build.rule(name)
    load_rule()
    an_hour_with_a_peak()
    with pytest.raises(CommandError, match=words):
        said(*arguments)


def test_a_run_over_its_samples_is_cut_and_says_up_to_when_it_holds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backtest_runs, "MOST_SAMPLES", 100)
    load_rule()
    an_hour_with_a_peak()
    text = said("LoadHigh", "--range", "1h")
    assert "samples: choose a shorter range or fewer series" in text and "UTC, 1 series" in text


def test_progress_is_written_while_it_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("alerts.history.FIRST_STEPS", 60)
    monkeypatch.setattr("alerts.history.MOST_STEPS", 60)
    rule = load_rule()
    an_hour_with_a_peak()
    run = backtest_runs.ask(backtest_runs.sides(rule, None), None, timezone.now(), span="1h")
    seen: list[float] = []
    times = iter(range(100))

    def clock() -> datetime:
        seen.append(Backtest.objects.get(pk=run.pk).progress)
        return timezone.now() + timedelta(seconds=2 * next(times))

    backtest_runs.run_next(clock)
    assert any(0 < share < 1 for share in seen)
