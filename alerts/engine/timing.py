"""When a group is told: its ticks, and whether a tick says anything given what was said before.

Source of the rules: Alertmanager 0.25, dispatch/dispatch.go (ticks), notify/notify.go DedupStage and nflog (log).
Times compared here are planned ticks, never the moment the work ran, so a repeat_interval that is an exact multiple
of the group_interval repeats exactly then (AD-5; upstream takes this tick or the next by a race of milliseconds).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

# nflog keeps an entry for data.retention, 120 h by default (AD-11).
LOG_RETENTION_SECONDS = 120 * 3600.0
# Upstream looks for entries that have run out every 15 minutes and counts them until then: without this, the end of an
# alert that was silenced for longer than two repeat_intervals would not be told after the silence.
LOG_SWEEP_SECONDS = 15 * 60.0
# Upstream sweeps empty groups every 30 s (AG-8); we keep each for that long, so that the outcome has no phase.
EMPTY_GROUP_KEPT_SECONDS = 30.0

Fingerprints = frozenset[str]
NONE: Fingerprints = frozenset()

Why = Literal[
    "first", "new_alerts", "some_resolved", "all_resolved", "repeat", "fired_and_resolved",
    "flapping", "unchanged", "only_resolved", "nothing_left", "resolved_not_wanted", "still_queued", "overtaken",
    "held",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class NextTick:
    """The next planned tick of a group, and how many were skipped because their time was already past."""

    at: datetime
    missed: int


@dataclass(frozen=True, slots=True)
class TimingSettings:
    """What a route and one integration of its receiver say about time."""

    group_interval_seconds: float
    repeat_interval_seconds: float
    send_resolved: bool = True
    retention_seconds: float = LOG_RETENTION_SECONDS
    # Upstream keeps quiet when an alert resolves under a silence and fires again later (AS-6, oracle S04). True takes
    # the resolve that nobody heard out of the log, so that the next firing is told.
    announce_after_swallowed_resolve: bool = False
    # Upstream never tells of an alert that fired and resolved while the receiver was down (AX-7, oracle D07). True
    # tells it late as one closed message.
    tell_missed_episodes: bool = False


@dataclass(frozen=True, slots=True)
class GroupView:
    """What is in a group at a tick, by fingerprint: what may be told, and what muting took away."""

    firing: Fingerprints
    resolved: Fingerprints = NONE
    muted_firing: Fingerprints = NONE
    muted_resolved: Fingerprints = NONE
    muted_words: str = ""  # why, for the reason of a tick that says nothing

    @property
    def dropped_after(self) -> Fingerprints:
        """Alerts that leave the group once the tick is told: all resolved ones, muted or not (AG-6, AS-5).

        While a message waits to be sent they must stay: a tick that overtakes it has to name them again.
        """
        return self.resolved | self.muted_resolved


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What one integration was last told about a group (AD-10)."""

    firing: Fingerprints
    resolved: Fingerprints
    planned_tick: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a tick sends, why in words, and the log as it stands once that is done.

    `log_after` equals the log that was asked about when there is nothing to write. When `send` is true it counts from
    the moment the message is delivered; until then it is the `unsent` of the next tick.
    """

    send: bool
    why: Why
    reason: str
    firing: Fingerprints
    resolved: Fingerprints
    log_after: LogEntry | None
    withdraw_unsent: bool = False  # a queued message has been overtaken and must not go out


def first_tick(starts_at: datetime, at: datetime, group_wait_seconds: float) -> datetime:
    """When a group made at `at` ticks first: after group_wait, or at once for an alert that began earlier (AG-3, 4)."""
    wait = timedelta(seconds=group_wait_seconds)
    return at if starts_at + wait < at or not group_wait_seconds else at + wait


def tick_after_arrival(
    next_tick_at: datetime, has_ticked: bool, starts_at: datetime, at: datetime, group_wait_seconds: float
) -> datetime:
    """When a group ticks next once another alert came; only a group that never ticked can be hurried (AG-4, AG-5)."""
    if not has_ticked and starts_at + timedelta(seconds=group_wait_seconds) < at:
        return min(next_tick_at, at)
    return next_tick_at


def next_tick(planned_tick: datetime, at: datetime, group_interval_seconds: float) -> NextTick:
    """The first tick after `at` on the grid that `planned_tick` is on; ticks already past are skipped and counted."""
    step = timedelta(seconds=group_interval_seconds)
    following = planned_tick + step
    if following > at:
        return NextTick(following, 0)
    missed = (at - following) // step + 1
    return NextTick(following + missed * step, missed)


def is_swept(emptied_at: datetime, at: datetime) -> bool:
    """Whether a group that has been empty since `emptied_at` is gone, so that the next alert makes a new one (AG-8)."""
    return at - emptied_at >= timedelta(seconds=EMPTY_GROUP_KEPT_SECONDS)


def decide(
    group: GroupView,
    log: LogEntry | None,
    planned_tick: datetime,
    settings: TimingSettings,
    *,
    unsent: LogEntry | None = None,
    hold: str = "",
) -> Decision:
    """Whether one integration is told about `group` at `planned_tick`, and what its log says afterwards.

    `log` is the last message delivered, or on its way and not to be recalled. `unsent` is a queued message that can
    still be withdrawn: a tick that differs from it overtakes it, and is then compared with `log` alone (DL-1, DL-6).
    `hold` is a reason (acknowledged, snoozed) that keeps repeats back; changes are told all the same.
    """
    log = _alive(log, planned_tick)
    if unsent is None:
        return _against_log(group, log, planned_tick, settings, hold)
    if _says_the_same(group, unsent, settings):
        return Decision(False, "still_queued", _quiet("the same is still queued", group), NONE, NONE, log)
    fresh = _against_log(group, log, planned_tick, settings, hold)
    if fresh.send:
        return replace(fresh, withdraw_unsent=True)
    return _overtaken(group, log, unsent, planned_tick, settings)


def turned(
    group: GroupView, decision: Decision, planned_tick: datetime, settings: TimingSettings, words: str
) -> Decision:
    """The decision of a tick at which alerts began or ceased to flap: told although nothing else has changed.

    What is still queued, held back or not wanted stays as it was decided.
    """
    if decision.why != "unchanged" or not group.firing:
        return decision
    entry = log_entry(group.firing, group.resolved, planned_tick, settings)
    return Decision(True, "flapping", words, group.firing, NONE, entry)


def log_entry(
    firing: Fingerprints, resolved: Fingerprints, planned_tick: datetime, settings: TimingSettings
) -> LogEntry:
    """The entry for a message about `firing` and `resolved`, with the time until which it counts (AD-11)."""
    # At least two ticks, or a repeat_interval below the group_interval would forget before anybody can compare.
    least = max(2 * settings.group_interval_seconds, LOG_SWEEP_SECONDS)
    life = max(min(2 * settings.repeat_interval_seconds, settings.retention_seconds), least)
    return LogEntry(firing, resolved, planned_tick, planned_tick + timedelta(seconds=life))


def _alive(log: LogEntry | None, planned_tick: datetime) -> LogEntry | None:
    return None if log is None or planned_tick >= log.expires_at else log


def _against_log(
    group: GroupView, log: LogEntry | None, planned_tick: datetime, settings: TimingSettings, hold: str
) -> Decision:
    """The decision when nothing is queued (notify/notify.go needsUpdate, in its order of questions)."""
    if not group.firing and not group.resolved:
        # Everything was muted, or nothing is left: upstream's pipeline ends here without touching the log.
        return _silent(group, log, "nothing_left", "nothing to tell", settings)
    why, words = _change(group, log, settings)
    if why in ("unchanged", "only_resolved"):
        repeat = _repeat(group, log, planned_tick, settings) if why == "unchanged" else ""
        if not repeat:
            return _silent(group, log, why, words, settings)
        if hold:
            return _silent(group, log, "held", f"{repeat}, held back: {hold}", settings)
        why, words = "repeat", repeat
    log_after = _without_swallowed(log_entry(group.firing, group.resolved, planned_tick, settings), group, settings)
    if not settings.send_resolved and not group.firing:
        words = "all resolved, and this receiver does not want resolves"
        return Decision(False, "resolved_not_wanted", _quiet(words, group), NONE, NONE, log_after)
    return Decision(True, why, words, group.firing, group.resolved if settings.send_resolved else NONE, log_after)


def _change(group: GroupView, log: LogEntry | None, settings: TimingSettings) -> tuple[Why, str]:
    """What is new against the log, AD-1 to AD-6 but for the repeat."""
    if log is None:
        if group.firing:
            return "first", f"first message: {_count(group.firing)} firing"
        return "only_resolved", "resolved, and nobody was told that it fired"
    fresh = group.firing - log.firing
    if fresh:
        return "new_alerts", f"{_count(fresh)} newly firing"
    if not group.firing:
        if log.firing:
            return "all_resolved", f"all resolved: {_count(group.resolved)}"
        return "only_resolved", "resolved, and the last message had nothing firing"
    ended = group.resolved - log.resolved
    if settings.send_resolved and ended:
        return "some_resolved", f"{_count(ended)} resolved, {_count(group.firing)} still firing"
    return "unchanged", "nothing changed since the last message"


def _repeat(group: GroupView, log: LogEntry | None, planned_tick: datetime, settings: TimingSettings) -> str:
    """Why the group is due to be repeated, "" while it is not (AD-5)."""
    if log is None or planned_tick - log.planned_tick < timedelta(seconds=settings.repeat_interval_seconds):
        return ""
    return f"repeat: {_count(group.firing)} still firing after {settings.repeat_interval_seconds:g} s"


def _says_the_same(group: GroupView, unsent: LogEntry, settings: TimingSettings) -> bool:
    """Whether a message made now would tell what the queued one tells; resolved alerts left the group with it."""
    if group.firing != unsent.firing:
        return False
    return group.resolved <= unsent.resolved or (bool(group.firing) and not settings.send_resolved)


def _overtaken(
    group: GroupView, log: LogEntry | None, unsent: LogEntry, planned_tick: datetime, settings: TimingSettings
) -> Decision:
    """The group is back where the last delivered message left it: the queued one has nothing left to say."""
    missed = unsent.firing & group.resolved
    is_episode = log is None and not group.firing
    if is_episode and missed and settings.tell_missed_episodes and settings.send_resolved:
        words = f"{_count(missed)} fired and resolved before the message could be delivered"
        entry = log_entry(NONE, missed | group.resolved, planned_tick, settings)
        return Decision(True, "fired_and_resolved", words, NONE, missed | group.resolved, entry, withdraw_unsent=True)
    words = "the queued message was overtaken: the last delivered one still holds"
    return Decision(False, "overtaken", _quiet(words, group), NONE, NONE, log, withdraw_unsent=True)


def _silent(group: GroupView, log: LogEntry | None, why: Why, words: str, settings: TimingSettings) -> Decision:
    after = None if log is None else _without_swallowed(log, group, settings)
    return Decision(False, why, _quiet(words, group), NONE, NONE, after)


def _without_swallowed(log: LogEntry, group: GroupView, settings: TimingSettings) -> LogEntry:
    if not settings.announce_after_swallowed_resolve or not log.firing & group.muted_resolved:
        return log
    return replace(log, firing=log.firing - group.muted_resolved)


def _quiet(words: str, group: GroupView) -> str:
    muted = len(group.muted_firing) + len(group.muted_resolved)
    return f"{words}; {muted} muted ({group.muted_words or 'no reason given'})" if muted else words


def _count(fingerprints: Fingerprints) -> str:
    return f"{len(fingerprints)} alert" + ("" if len(fingerprints) == 1 else "s")
