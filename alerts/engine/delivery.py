"""When the outbox sends: pauses between tries, token buckets, breakers, and what becomes of a message that failed.

Source of the rules: ALERTING DL-3, DL-5, DL-8. Pure: times come in as aware datetimes, chance as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isinf
from typing import Literal

Breaker = Literal["closed", "open", "half"]
Fault = Literal["transient", "destination", "account"]

# Alertmanager grows its pauses by 1.5 (AX-1): doubling would let a receiver that is back wait as long as it was away.
RETRY_FIRST_SECONDS = 1.0
RETRY_FACTOR = 1.5
RETRY_CAP_SECONDS = 300.0
RETRY_LIFE = timedelta(hours=24)
# Retryable failures in a row that open a breaker; a broken destination or account opens it at once.
BREAKER_FAILURES = 5
# Short at first: an outage of seconds must not cost half a minute. Doubles with each try that fails.
BREAKER_FIRST_SECONDS = 5.0
BREAKER_CAP_SECONDS = 600.0
PROBE_LIFE = timedelta(seconds=30)
# So many messages of different groups in one channel, waiting for so long, are told in one (DL-7).
DIGEST_ABOVE = 20
DIGEST_AFTER = timedelta(seconds=5)


_WAITS: dict[Breaker, str] = {
    "closed": "the channel asked us to wait",
    "open": "the channel is stopped after errors",
    "half": "another message is trying whether the channel works again",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """How fast a channel may be written to; an infinite rate is no limit."""

    rate_per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class ChannelView:
    """The state of one channel, shared by all workers."""

    tokens: float
    refilled_at: datetime
    blocked_until: datetime | None = None
    breaker: Breaker = "closed"
    failures: int = 0
    opened_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a message may go now; else from when, and why it waits. `channel` is the state afterwards."""

    is_admitted: bool
    channel: ChannelView
    not_before: datetime | None = None
    reason: str = ""


def fresh(bucket: Bucket, at: datetime) -> ChannelView:
    """The state of a channel that was never written to."""
    return ChannelView(tokens=0.0 if isinf(bucket.rate_per_second) else bucket.burst, refilled_at=at)


def admit(channel: ChannelView, bucket: Bucket, at: datetime) -> Admission:
    """Take one token if the channel is not stopped, not told to wait, and has one (DL-5, DL-8).

    An open breaker whose time is over becomes half open and lets exactly one message through.
    """
    if channel.blocked_until is not None and channel.blocked_until > at:
        until, words = channel.blocked_until, _WAITS[channel.breaker]
        if channel.breaker == "half":
            until = min(until, at + timedelta(seconds=BREAKER_FIRST_SECONDS))
        return Admission(False, channel, until, words)
    after = replace(channel, blocked_until=None)
    if not isinf(bucket.rate_per_second):
        elapsed = max(0.0, (at - channel.refilled_at).total_seconds())
        tokens = min(bucket.burst, channel.tokens + elapsed * bucket.rate_per_second)
        if tokens < 1:
            wait = timedelta(seconds=(1 - tokens) / bucket.rate_per_second)
            return Admission(False, channel, at + wait, "the channel's limit of messages in a time")
        after = replace(after, tokens=tokens - 1, refilled_at=at)
    if channel.breaker != "closed":
        # Were the worker of this one message killed, another message may try once it would have had its answer.
        after = replace(after, breaker="half", blocked_until=at + PROBE_LIFE)
    return Admission(True, after)


def succeeded(channel: ChannelView) -> ChannelView:
    """The state after a message arrived: failures are forgotten, the breaker closes."""
    if channel.breaker == "closed":  # a pause that another message was told to make still holds
        return replace(channel, failures=0)
    return replace(channel, breaker="closed", failures=0, opened_at=None, blocked_until=None)


def waited(channel: ChannelView, at: datetime, seconds: float) -> ChannelView:
    """The state after the channel asked for a pause (429): no failure, but nothing goes out until it is over."""
    until = at + timedelta(seconds=seconds)
    held = max(until, channel.blocked_until) if channel.blocked_until else until
    # The one message of a half-open breaker got an answer: the channel works.
    return replace(succeeded(channel), blocked_until=held, tokens=0.0, refilled_at=at)


def failed(channel: ChannelView, at: datetime, fault: Fault) -> ChannelView:
    """The state after a try that failed: the breaker opens after enough of them, at once when no try can help."""
    failures = channel.failures + 1
    is_hopeless = fault != "transient"
    if not is_hopeless and failures < BREAKER_FAILURES and channel.breaker != "half":
        return replace(channel, failures=failures)
    threshold = 1 if is_hopeless else BREAKER_FAILURES
    doubled = BREAKER_FIRST_SECONDS * 2.0 ** min(max(failures - threshold, 0), 20)
    until = at + timedelta(seconds=min(BREAKER_CAP_SECONDS, doubled))
    return replace(channel, breaker="open", failures=failures, blocked_until=until, opened_at=channel.opened_at or at)


def retry_at(at: datetime, attempts: int, chance: float, *, retry_after_seconds: float | None = None) -> datetime:
    """When to try again after `attempts` failures; `chance` in [0, 1) spreads it over half to one and a half (DL-3)."""
    pause = min(RETRY_CAP_SECONDS, RETRY_FIRST_SECONDS * RETRY_FACTOR ** min(max(attempts - 1, 0), 50))
    return at + timedelta(seconds=max(pause * (0.5 + chance), retry_after_seconds or 0.0))


def is_given_up(created_at: datetime, at: datetime, attempts: int, max_attempts: int | None) -> bool:
    """Whether a message has been tried long enough (DL-3), or as often as its error deserves."""
    return at - created_at >= RETRY_LIFE or (max_attempts is not None and attempts >= max_attempts)


def is_storm(created: Sequence[datetime], at: datetime) -> bool:
    """Whether messages waiting for one channel, made at these times, are better told in one (DL-7)."""
    return len(created) > DIGEST_ABOVE and min(created) <= at - DIGEST_AFTER
