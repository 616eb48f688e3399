"""A replay of stored samples says what the evaluator recorded when it met them, slot by slot."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from alerts import alert_rows, evaluate, prepared
from alerts.engine.state import Kind, Transition
from alerts.models import Event, Rule
from alerts.replay import Replay
from monitoring import query, store
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
INTERVAL = 15
HOSTS = ("ana", "ben", "cleo")
Told = list[tuple[datetime, str, str]]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Each test has its own rows; memories of another test's groups must not meet reused ids."""
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


def measure(at: datetime, by_host: dict[str, float | None]) -> None:
    """One scrape a host; None: the host answers, but without this metric, so that its series ends at once."""
    rows = [
        store.Scrape(
            f"host:{host}", {"host": host}, evaluate.to_ms(at),
            ["up" if value is None else "load"], np.array([1.0 if value is None else value]),
        )
        for host, value in by_host.items()
    ]  # fmt: skip
    store.append(rows, now_ms=evaluate.to_ms(at))


def walk(chance: random.Random, count: int) -> list[dict[str, float | None]]:
    """Values of each host at each slot: wandering around the limits, with gaps and silent hosts."""
    values = dict.fromkeys(HOSTS, 50.0)
    silent = dict.fromkeys(HOSTS, 0)
    found = []
    for _ in range(count):
        row: dict[str, float | None] = {}
        for host in HOSTS:
            values[host] = min(max(values[host] + chance.choice((-25, -10, 0, 0, 0, 10, 25)), 0), 100)
            silent[host] = silent[host] - 1 if silent[host] > 0 else chance.choice((0,) * 30 + (3, 25, 70))
            if silent[host] == 0:
                row[host] = values[host] if chance.random() > 0.08 else None
        found.append(row)
    return found


def any_rule(chance: random.Random) -> Rule:
    """A rule of any kind: plain or with rows, holding, keeping, with any policy for lack of data."""
    fields: dict[str, Any] = {
        "hold_seconds": chance.choice((0, 0, 30, 75)),
        "keep_firing_seconds": chance.choice((0, 0, 45)),
        "no_data": chance.choice(("keep", "fire", "resolve", "resolve_after")),
        "no_data_resolve_seconds": 120,
        "group": build.rule_group(limit=chance.choice((0, 0, 0, 3)), interval_seconds=INTERVAL),
    }
    if chance.random() < 0.2:
        return build.rule("LoadHigh", f"load > {chance.choice((60, 80))}", **fields)
    rule = build.rule("LoadHigh", chance.choice(("load", "avg_over_time(load[1m])")), **fields)
    for severity in chance.sample(("info", "warning", "critical"), chance.choice((1, 2, 3))):
        operator = chance.choice((">", ">=", "<", "outside", "inside", "!="))
        limit = {"value": 30.0, "upper": 70.0} if operator in ("outside", "inside") else {"value": 60.0}
        if chance.random() < 0.4 and operator in (">", "<"):
            limit["recover_value"] = 45.0 if operator == ">" else 75.0
        build.threshold(rule, severity=severity, operator=operator, **limit)
    if chance.random() < 0.5:
        build.threshold(
            rule, 80, "warning", selector='{host="ana"}', reason="batch host", hold_seconds=chance.choice((None, 30)),
            expires_at=chance.choice((None, T0 + timedelta(seconds=INTERVAL * 60))),
        )  # fmt: skip
    return rule


def recorded(rule: Rule, samples: list[dict[str, float | None]]) -> Told:
    """What the evaluator wrote down while it met the samples one slot after the other.

    Read slot by slot: the events of a pending alert go with its row when it is dropped.
    """
    kinds = ("pending", "firing", "resolved", "dropped", "keep_firing", "no_data", "data_back")
    at, found, last = first_slot(rule), [], 0
    for row in samples:
        measure(at, row)
        evaluate.due(at)
        assert evaluate.evaluate(rule.group_id, at) is not None
        events = Event.objects.filter(rule=rule, kind__in=kinds, pk__gt=last).order_by("pk")
        for last, *event in events.values_list("pk", "at", "kind", "reason"):  # noqa: B007
            found.append(tuple(event))
        at += timedelta(seconds=INTERVAL)
    return sorted(found)


def first_slot(rule: Rule) -> datetime:
    return prepared.latest_slot(rule.group, T0) + timedelta(seconds=INTERVAL)


def replayed(rule: Rule, count: int, chunk: int, *, every_slot: bool) -> Told:
    """What the replay says about the same time, read in pieces of `chunk` slots."""
    limits = [prepared.limit_of(row) for row in rule.thresholds.all()]
    ready = prepared.ready(rule, rule.group, limits, {})
    found: list[Transition] = []
    replay = Replay(ready, listener=found.extend, every_slot=every_slot)
    first = first_slot(rule)
    for begin in range(0, count, chunk):
        start = first + timedelta(seconds=INTERVAL * begin)
        end = first + timedelta(seconds=INTERVAL * (min(begin + chunk, count) - 1))
        assert ready.query is not None
        replay.run(query.range_(ready.query, start, end, INTERVAL))
    # Data that is back for a pending alert that ends in the same slot: that event goes with the alert's row.
    gone = {(one.at, one.labels) for one in found if one.kind is Kind.DROPPED}
    told = [one for one in found if one.kind is not Kind.DATA_BACK or (one.at, one.labels) not in gone]
    return sorted((one.at, one.kind.value, _words(one)) for one in told)


def _words(one: Transition) -> str:
    """The words of its event; one that outlives its alert names it."""
    return f"{one.labels}: {one.reason}" if one.kind is Kind.DROPPED else one.reason


@pytest.mark.parametrize("seed", range(12))
def test_a_replay_says_what_the_evaluator_recorded(seed: int) -> None:
    chance = random.Random(seed)
    rule = any_rule(chance)
    samples = walk(chance, 110)
    said = recorded(rule, samples)
    chunk = chance.choice((17, 50, 110))
    assert replayed(rule, len(samples), chunk, every_slot=False) == said
    assert replayed(rule, len(samples), chunk, every_slot=True) == said
