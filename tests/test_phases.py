"""Rule groups follow their sources: slots just after the scrapes, and a moment of patience for late ones."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from alerts import evaluate, phases, prepared
from alerts.engine.phase import LANDING_MS
from alerts.models import GroupClock, Rule, RuleGroup
from monitoring import store
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
INTERVAL = 15
PHASE = timedelta(seconds=4)
LANDING = timedelta(milliseconds=LANDING_MS)


@pytest.fixture(autouse=True)
def _forget():
    yield
    prepared._remembered.clear()
    evaluate._quiet.clear()


def scrape(*numbers: int, source: str = "target:1", value: float = 1.0) -> None:
    """Store the scrapes of these numbers: PHASE past each interval from T0 on."""
    times = [evaluate.to_ms(T0 + PHASE + timedelta(seconds=INTERVAL * number)) for number in numbers]
    keys = [store.sample_key("load", {})]
    store.append([store.Scrape(source, {}, at, keys, np.array([value])) for at in times], now_ms=max(times))


def group_of(expr: str = "load > 80") -> RuleGroup:
    """A group with one rule, whose clock was made at T0."""
    group: RuleGroup = build.rule(
        expr=expr, group=build.rule_group(name="one that moves", interval_seconds=INTERVAL)
    ).group
    evaluate.due(T0)
    return group


def clock_of(group: RuleGroup) -> GroupClock:
    return GroupClock.objects.get(group=group)


def settled(at: datetime = T0 + timedelta(seconds=INTERVAL)) -> RuleGroup:
    """A group that has found its offset after three scrapes."""
    group = group_of()
    scrape(-1, 0)
    phases.settle(at)
    return group


def test_slots_lie_just_after_the_scrapes():
    group = settled()
    at = T0 + timedelta(minutes=10)
    assert (
        prepared.latest_slot(RuleGroup.objects.get(pk=group.pk), at)
        == at - timedelta(seconds=INTERVAL) + PHASE + LANDING
    )


def test_the_step_to_the_new_offset_is_between_half_and_one_and_a_half_intervals():
    group = group_of()
    before = clock_of(group).next_slot_at
    scrape(-1, 0)
    phases.settle(T0 + timedelta(seconds=INTERVAL))
    assert abs(clock_of(group).next_slot_at - before) <= timedelta(seconds=INTERVAL / 2)


def test_a_moved_group_is_evaluated_at_its_new_slot():
    group = settled()
    slot = clock_of(group).next_slot_at
    assert evaluate.evaluate(group.pk, slot - timedelta(milliseconds=1)) is None
    outcome = evaluate.evaluate(group.pk, slot)
    assert outcome is not None and (outcome.slot, outcome.missed_slots) == (slot, 0)
    assert clock_of(group).next_slot_at == slot + timedelta(seconds=INTERVAL)


def test_a_group_without_regular_sources_keeps_the_offset_of_its_name():
    group = group_of("nothing_here > 1")
    before = clock_of(group).next_slot_at
    phases.settle(T0)
    assert (clock_of(group).offset_seconds, clock_of(group).next_slot_at) == (None, before)


def test_a_group_of_recorded_series_does_not_run_after_itself():
    group = group_of()
    scrape(-1, 0, source=f"rules:{group.pk}")
    phases.settle(T0 + timedelta(seconds=INTERVAL))
    assert clock_of(group).offset_seconds is None


def test_a_rule_that_cannot_be_read_is_no_reason_not_to_look():
    group = group_of()
    Rule.objects.filter(group=group).update(expr="load >")
    assert phases.settle(T0) == 1


def test_a_group_is_looked_at_again_after_a_while_only():
    settled()
    again = T0 + timedelta(seconds=INTERVAL) + phases.LOOK_AGAIN_FIRST
    assert phases.settle(again - timedelta(seconds=1)) == 0
    assert phases.settle(again) == 1


def test_a_target_that_moves_is_followed():
    group = settled()
    late = timedelta(seconds=5)
    times = [evaluate.to_ms(T0 + PHASE + late + timedelta(seconds=INTERVAL * number)) for number in range(10, 14)]
    store.append(
        [store.Scrape("target:1", {}, at, [store.sample_key("load", {})], np.array([1.0])) for at in times],
        now_ms=max(times),
    )
    phases.settle(T0 + timedelta(seconds=14 * INTERVAL))
    assert clock_of(group).offset_seconds == ((PHASE + late + LANDING) / timedelta(seconds=1))


def test_a_slot_waits_for_samples_that_are_about_to_come():
    group = settled()
    scrape(1)
    slot = T0 + 2 * timedelta(seconds=INTERVAL) + PHASE + LANDING
    GroupClock.objects.filter(group=group).update(next_slot_at=slot)
    assert evaluate.due(slot) == evaluate.Due([], [], slot)
    scrape(2)
    assert evaluate.due(slot) == evaluate.Due([group.pk], [])


def test_a_slot_does_not_wait_for_long():
    group = settled()
    scrape(1)
    slot = T0 + 2 * timedelta(seconds=INTERVAL) + PHASE + LANDING
    GroupClock.objects.filter(group=group).update(next_slot_at=slot)
    assert evaluate.due(slot + phases.MOST_WAIT).quick == [group.pk]


def test_a_slot_does_not_wait_for_a_target_that_was_down_before():
    group = settled()
    slot = T0 + 2 * timedelta(seconds=INTERVAL) + PHASE + LANDING
    GroupClock.objects.filter(group=group).update(next_slot_at=slot)
    assert evaluate.due(slot).quick == [group.pk]
