"""Pauses, buckets and breakers of the outbox."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import delivery
from alerts.engine.delivery import Bucket, ChannelView

T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SLACK = Bucket(rate_per_second=1.0, burst=3.0)
FREE = Bucket(rate_per_second=float("inf"), burst=float("inf"))


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def open_breaker(failures=5):
    """A channel that was stopped at T0 after transient failures."""
    channel = delivery.fresh(SLACK, T0)
    for _ in range(failures):
        channel = delivery.failed(channel, T0, "transient")
    return channel


def test_dl5_the_burst_goes_at_once_and_then_one_a_second():
    channel, sent = delivery.fresh(SLACK, T0), []
    for n in range(60):
        admission = delivery.admit(channel, SLACK, seconds(n / 10))
        channel = admission.channel
        sent += [n / 10] if admission.is_admitted else []
    assert sent == [0.0, 0.1, 0.2, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_dl5_who_must_wait_is_told_until_when():
    channel = replace(delivery.fresh(SLACK, T0), tokens=0.25)
    assert delivery.admit(channel, SLACK, T0).not_before == seconds(0.75)


@given(st.lists(st.floats(0, 5), max_size=60))
def test_dl5_no_span_has_more_messages_than_burst_and_rate_allow(gaps):
    channel, at, sent = delivery.fresh(SLACK, T0), T0, []
    for gap in gaps:
        at += timedelta(seconds=gap)
        admission = delivery.admit(channel, SLACK, at)
        channel = admission.channel
        sent += [at] if admission.is_admitted else []
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= 3 + (sent[last] - sent[first]).total_seconds() + 1e-3


def test_an_unlimited_channel_changes_nothing():
    channel = delivery.fresh(FREE, T0)
    assert delivery.admit(channel, FREE, seconds(9)).channel == channel


def test_dl5_a_channel_that_asked_for_a_pause_gets_it():
    channel = delivery.waited(delivery.fresh(SLACK, T0), T0, 30)
    assert delivery.admit(channel, SLACK, seconds(29)).not_before == seconds(30)
    assert delivery.admit(channel, SLACK, seconds(31)).is_admitted


def test_dl5_a_success_meanwhile_does_not_end_the_pause():
    channel = delivery.succeeded(delivery.waited(delivery.fresh(SLACK, T0), T0, 30))
    assert not delivery.admit(channel, SLACK, seconds(1)).is_admitted


def test_dl8_four_failures_do_not_stop_a_channel_and_the_fifth_does():
    assert [open_breaker(count).breaker for count in (4, 5)] == ["closed", "open"]


@pytest.mark.parametrize("fault", ["destination", "account"])
def test_dl8_what_no_try_can_help_stops_at_once(fault):
    assert delivery.failed(delivery.fresh(SLACK, T0), T0, fault).breaker == "open"


def test_dl8_one_message_tries_a_stopped_channel():
    first = delivery.admit(open_breaker(), SLACK, seconds(5))
    second = delivery.admit(first.channel, SLACK, seconds(5))
    assert (first.is_admitted, first.channel.breaker, second.is_admitted) == (True, "half", False)


def test_dl8_if_the_one_message_never_returns_another_may_try():
    half = delivery.admit(open_breaker(), SLACK, seconds(5)).channel
    assert delivery.admit(half, SLACK, seconds(36)).is_admitted


def test_dl8_success_closes_and_forgets():
    half = delivery.admit(open_breaker(), SLACK, seconds(5)).channel
    closed = delivery.succeeded(half)
    assert (closed.breaker, closed.failures, closed.opened_at, closed.blocked_until) == ("closed", 0, None, None)


def test_dl8_pauses_double_up_to_ten_minutes():
    channel, at, pauses = open_breaker(), T0, []
    for _ in range(9):
        until = channel.blocked_until
        pauses.append((until - at).total_seconds())
        at = until
        channel = delivery.failed(delivery.admit(channel, SLACK, at).channel, at, "transient")
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]


def test_dl8_the_moment_it_stopped_is_kept_through_the_tries():
    half = delivery.admit(open_breaker(), SLACK, seconds(5)).channel
    assert delivery.failed(half, seconds(6), "transient").opened_at == T0


@pytest.mark.parametrize(("attempts", "low", "high"), [(1, 0.5, 1.5), (2, 0.75, 2.25), (40, 150, 450)])
def test_dl3_pauses_grow_to_five_minutes_and_are_spread(attempts, low, high):
    assert delivery.retry_at(T0, attempts, 0.0) == seconds(low)
    assert delivery.retry_at(T0, attempts, 1.0) == seconds(high)


def test_dl3_a_named_time_is_never_undercut():
    assert delivery.retry_at(T0, 1, 0.0, retry_after_seconds=20) == seconds(20)


def test_dl3_a_message_is_given_up_after_a_day_or_its_tries():
    assert delivery.is_given_up(T0, seconds(86_400), 2, None)
    assert delivery.is_given_up(T0, seconds(1), 3, 3)
    assert not delivery.is_given_up(T0, seconds(86_000), 99, None)


@pytest.mark.parametrize(("count", "age", "is_storm"), [(21, 5, True), (20, 60, False), (50, 4, False)])
def test_dl7_more_than_twenty_for_five_seconds_are_a_storm(count, age, is_storm):
    assert delivery.is_storm([T0] * count, seconds(age)) is is_storm


def test_a_fresh_channel_is_closed():
    assert delivery.fresh(SLACK, T0) == ChannelView(tokens=3.0, refilled_at=T0)
