"""The state machine against promtool: random rules over random series, minute by minute."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.engine import template
from alerts.engine.durations import parse_duration
from alerts.engine.identity import IdentityBuilder
from alerts.engine.state import ActiveSet, AlertState, RuleSpec, State, advance
from alerts.engine.template import Context
from monitoring.promql import Labels

from .promtool import Alert, firing, needs_promtool

pytestmark = [pytest.mark.oracle, needs_promtool]

START = datetime(1970, 1, 1, tzinfo=UTC)
MINUTES = 40
HOSTS = [Labels.of({"__name__": "x", "host": host}) for host in ("a", "b", "c")]
SEVERITY = "{{ if gt $value 90.0 }}critical{{ else }}warning{{ end }}"
SUMMARY = "{{ $labels.host }} at {{ $value | humanize }}"


def rule_of(number: int, dice: random.Random) -> dict[str, object]:
    labels = {"team": "ml", "host": ""} if dice.random() < 0.1 else {"team": "{{ $labels.host }}"}
    if dice.random() < 0.3:
        labels["severity"] = SEVERITY
    return {
        "alert": f"A{number}",
        "expr": f'x{{host="{dice.choice("abc")}"}} > 80' if "host" in labels else "x > 80",
        "for": dice.choice(["0s", "0s", "1m", "90s", "2m", "5m"]),
        "keep_firing_for": dice.choice(["0s", "0s", "1m", "150s", "4m"]),
        "labels": labels,
        "annotations": {"summary": SUMMARY},
    }


def series_of(dice: random.Random) -> list[float | None]:
    """Return values by minute that stay on a side for a while; None is a stale marker."""
    values: list[float | None] = []
    while len(values) < MINUTES:
        value = dice.choice([50.0, 85.0, 85.0, 95.0, float("nan"), None])
        values += [value] * dice.choice([1, 1, 2, 3, 6])
    return values[:MINUTES]


def played(rule: dict[str, object], series: dict[Labels, list[float | None]], minutes: int) -> list[set[Alert]]:
    """Return what our state machine has firing at each minute."""
    name, expr = str(rule["alert"]), str(rule["expr"])
    builder = IdentityBuilder(name, rule["labels"])  # type: ignore[arg-type]
    summary = template.compile(SUMMARY)
    spec = RuleSpec(parse_duration(str(rule["for"])), parse_duration(str(rule["keep_firing_for"])))
    wanted = [labels for labels in series if "{" not in expr or f'host="{labels.get("host")}"' in expr]
    states: dict[Labels, AlertState] = {}
    told = []
    for minute in range(minutes):
        now = [(labels, series[labels][minute]) for labels in wanted]
        over = [(labels, value) for labels, value in now if value is not None and value > 80]
        elements, values = [labels for labels, _ in over], [value for _, value in over]
        notes = [(("summary", template.expand(summary, Context(labels, value))),) for labels, value in over]
        columns = ActiveSet(builder.many(elements, values), values, annotations=notes)
        states = advance(states, columns, spec, START + timedelta(minutes=minute)).states
        told.append({alert_of(state) for state in states.values() if state.state is State.FIRING})
    return told


def alert_of(state: AlertState) -> Alert:
    return frozenset(pair for pair in state.labels if pair[0] != "alertname"), frozenset(state.annotations)


@pytest.mark.parametrize("seed", range(6))
def test_random_rules_fire_when_promtool_says(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    rules = [rule_of(number, dice) for number in range(12)]
    series = {labels: series_of(dice) for labels in HOSTS}
    written = {
        str(labels).replace(" ", ""): " ".join("stale" if v is None else str(v) for v in values)
        for labels, values in series.items()
    }
    expected = firing(tmp_path, rules, written, range(MINUTES))
    assert any(expected.values()), "no alert fired at all: the comparison would prove nothing"
    for rule in rules:
        for minute, alerts in enumerate(played(rule, series, MINUTES)):
            assert alerts == expected[str(rule["alert"]), minute], (rule, minute)
