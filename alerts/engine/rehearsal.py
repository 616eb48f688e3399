"""Who would have been told: the changes of alerts played through routing, muting and timing, without a message sent.

The same functions as production decide; every message counts as delivered at once. Source of the order of things:
alerts.dispatch and alerts.flush.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.engine import timing
from alerts.engine.fingerprint import fingerprint
from alerts.engine.intervals import TimeInterval
from alerts.engine.muting import Inhibitor, InhibitRule, Muter, MuteReason, Subject
from alerts.engine.routing import Destination, Tree
from alerts.engine.silences import Silence
from alerts.engine.timing import Decision, GroupView, LogEntry, TimingSettings
from monitoring.promql import Labels

# Changes that edit the living message of a bot (alerts.flush, DL-10).
_EDITS = frozenset(("new_alerts", "some_resolved", "all_resolved"))
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    """One alert that fires or resolves; a `is_source` one belongs to another rule and can only inhibit."""

    at: datetime
    labels: Labels
    is_firing: bool
    is_source: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a receiver; a living one edits its message instead of sending another.

    `id` tells it from the others of its receiver, whose names may be equal.
    """

    name: str
    send_resolved: bool = True
    is_living: bool = False
    id: int = 0


@dataclass(frozen=True)
class Policy:
    """What decides who is told: routes, ways out by receiver, and everything that mutes."""

    tree: Tree
    ways: Mapping[str, Sequence[Way]] = field(default_factory=dict)
    inhibit_rules: Sequence[InhibitRule] = ()
    silences: Sequence[Silence] = ()
    intervals: Mapping[str, Sequence[TimeInterval]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """One message: when, to whom, by which way, why, about how many alerts; an edit notifies nobody."""

    at: datetime
    receiver: str
    way: str
    why: str
    reason: str
    firing: int
    resolved: int
    is_edit: bool


@dataclass
class Rehearsal:
    """All messages in order, and how many firings were held back by what; cut when there were too many ticks."""

    told: list[Told] = field(default_factory=list)
    muted: Counter[str] = field(default_factory=Counter)
    cut_at: datetime | None = None


@dataclass
class _Member:
    labels: Labels
    fired_at: datetime
    is_resolved: bool = False


@dataclass
class _Group:
    where: Destination
    next_tick_at: datetime
    last_tick_at: datetime | None = None
    emptied_at: datetime | None = None
    is_asleep: bool = False
    members: dict[str, _Member] = field(default_factory=dict)


NO_WAY_OUT = Way("no way out is configured")


def rehearse(
    changes: Sequence[Change], policy: Policy, end: datetime, rule_id: int | None = None, most_ticks: int = 200_000
) -> Rehearsal:
    """Play changes, in order of time, up to `end`; `rule_id` lets higher severities of the rule mute its lower ones."""
    stage = _Stage(policy, rule_id, end)
    for change in changes:
        if not stage.tick_until(change.at, most_ticks):
            return stage.found
        stage.take(change)
    stage.tick_until(end, most_ticks)
    return stage.found


class _Stage:
    """One rehearsal at work."""

    def __init__(self, policy: Policy, rule_id: int | None, end: datetime) -> None:
        self.policy, self.rule_id = policy, rule_id
        self.found = Rehearsal()
        self._inhibitor = Inhibitor(policy.inhibit_rules)
        self._groups: dict[str, _Group] = {}
        self._logs: dict[tuple[str, int], LogEntry] = {}
        self._held_back: set[tuple[Labels, datetime, str]] = set()
        edges = {at for one in policy.silences for at in (one.starts_at, one.ends_at) if at <= end}
        self._edges = sorted(edges)
        self._recurs = any(one.recurrence is not None for one in policy.silences)
        self._ticks = 0

    def take(self, change: Change) -> None:
        """Let an alert fire or resolve."""
        subject = Subject(change.labels, None if change.is_source else self.rule_id, not change.is_firing)
        self._inhibitor.add(subject)
        self._wake(change.at)
        if change.is_source:
            return
        key = fingerprint(change.labels)
        for where in self.policy.tree.match(change.labels):
            group = self._groups.get(where.group_key)
            if change.is_firing:
                group = self._joined(group, where, change.at)
                group.members[key] = _Member(change.labels, change.at)
            elif group is not None and key in group.members:
                group.members[key].is_resolved = True

    def _joined(self, group: _Group | None, where: Destination, at: datetime) -> _Group:
        """The group an alert joins, made where it is not there; one that was empty is gone (AG-8)."""
        if group is None or (group.emptied_at is not None and timing.is_swept(group.emptied_at, at)):
            group = _Group(where, timing.first_tick(at, at, where.group_wait_seconds))
            self._groups[where.group_key] = group
        if group.next_tick_at < at and group.last_tick_at is not None:
            step = where.group_interval_seconds
            group.next_tick_at = timing.next_tick(group.last_tick_at, at - _INSTANT, step).at
        group.emptied_at = None
        return group

    def _wake(self, at: datetime) -> None:
        for group in self._groups.values():
            if group.is_asleep and group.last_tick_at is not None:
                step = group.where.group_interval_seconds
                group.next_tick_at = timing.next_tick(group.last_tick_at, at - _INSTANT, step).at
                group.is_asleep = False

    def tick_until(self, until: datetime, most_ticks: int) -> bool:
        """Tick every group that is due before `until`; False when there were too many ticks."""
        while True:
            # A group that is empty ticks in vain until the sweep takes it.
            due = [group for group in self._groups.values() if group.next_tick_at < until and group.members]
            if not due:
                return True
            group = min(due, key=lambda one: one.next_tick_at)
            self._ticks += 1
            if self._ticks > most_ticks:
                self.found.cut_at = group.next_tick_at
                return False
            self._tick(group, group.next_tick_at)

    def _tick(self, group: _Group, at: datetime) -> None:
        view, reasons = self._view(group, at)
        where = group.where
        decisions = {way: self._tell(group, way, view, reasons, at) for way in self._ways(group)}
        for key in _ended(view, decisions):
            del group.members[key]
        group.emptied_at = None if group.members else at
        group.last_tick_at = at
        group.next_tick_at = timing.next_tick(at, at, where.group_interval_seconds).at
        self._sleep(group, at)

    def _view(self, group: _Group, at: datetime) -> tuple[GroupView, dict[str, MuteReason]]:
        muter = Muter(at, self._inhibitor, self.policy.silences, self.policy.intervals)
        where, reasons = group.where, {}
        told = {key for way in self._ways(group) if (log := self._log(group, way)) is not None for key in log.firing}
        sets: dict[tuple[bool, bool], set[str]] = {}
        for key, member in group.members.items():
            subject = Subject(member.labels, self.rule_id, member.is_resolved, key in told)
            reason = muter.reason(subject, where.active_intervals, where.mute_intervals)
            if reason is not None:
                reasons[key] = reason
                self._note_muted(member, reason)
            sets.setdefault((reason is not None, member.is_resolved), set()).add(key)
        return _group_view(sets, reasons), reasons

    def _note_muted(self, member: _Member, reason: MuteReason) -> None:
        seen = (member.labels, member.fired_at, reason.kind)
        if seen not in self._held_back:
            self._held_back.add(seen)
            self.found.muted[reason.kind] += 1

    def _ways(self, group: _Group) -> Sequence[Way]:
        return self.policy.ways.get(group.where.receiver) or (NO_WAY_OUT,)

    def _log(self, group: _Group, way: Way) -> LogEntry | None:
        return self._logs.get((group.where.group_key, way.id))

    def _tell(
        self, group: _Group, way: Way, view: GroupView, reasons: Mapping[str, MuteReason], at: datetime
    ) -> Decision:
        """Decide for one way out; notes the message and what the log says afterwards."""
        log = self._log(group, way)
        # A firing that a silence swallowed whole must not keep the next one quiet (AS-6).
        by_silence = all(reasons[key].kind == "silenced" for key in view.muted_resolved)
        settings = TimingSettings(
            group.where.group_interval_seconds, group.where.repeat_interval_seconds, way.send_resolved,
            announce_after_swallowed_resolve=by_silence, tell_missed_episodes=True,
        )  # fmt: skip
        decision = timing.decide(view, log, at, settings)
        after = decision.log_after
        if decision.send:
            is_edit = way.is_living and decision.why in _EDITS and log is not None and bool(log.firing)
            self._send(group, way, decision, at, is_edit)
            if is_edit and log is not None and after is not None:
                after = replace(after, planned_tick=log.planned_tick)  # repeats count from the last new message
        if after is not None:
            self._logs[group.where.group_key, way.id] = after
        return decision

    def _send(self, group: _Group, way: Way, decision: Decision, at: datetime, is_edit: bool) -> None:
        counts = len(decision.firing), len(decision.resolved)
        self.found.told.append(
            Told(at, group.where.receiver, way.name, decision.why, decision.reason, *counts, is_edit)
        )

    def _sleep(self, group: _Group, at: datetime) -> None:
        """Skip the ticks that cannot say anything: until a change, a silence's edge, a repeat or a log that ran out."""
        where = group.where
        if where.active_intervals or where.mute_intervals or self._recurs:
            return
        if not group.members or any(member.is_resolved for member in group.members.values()):
            return
        wake = [edge for edge in self._edges if edge > at][:1]
        for way in self._ways(group):
            log = self._log(group, way)
            if log is not None:
                repeat = log.planned_tick + timedelta(seconds=where.repeat_interval_seconds)
                wake += [repeat, log.expires_at]
        group.is_asleep = True
        first = max(min(wake, default=datetime.max.replace(tzinfo=at.tzinfo)), at + _INSTANT)
        if first.year < datetime.max.year:
            group.next_tick_at = timing.next_tick(at, first - _INSTANT, where.group_interval_seconds).at
        else:
            group.next_tick_at = first


def _ended(view: GroupView, decisions: Mapping[Way, Decision]) -> timing.Fingerprints:
    """The resolved alerts that leave the group after a tick.

    All of them when nothing is on its way (alerts.flush), else those that an arrived message told (alerts.receipts);
    what is only kept for want of a way out is not on its way.
    """
    sent = [decision for way, decision in decisions.items() if decision.send and way is not NO_WAY_OUT]
    return frozenset[str]().union(*(decision.resolved for decision in sent)) if sent else view.dropped_after


def _group_view(sets: Mapping[tuple[bool, bool], set[str]], reasons: Mapping[str, MuteReason]) -> GroupView:
    """The view of a group from its members by (is muted, is resolved)."""
    return GroupView(
        firing=frozenset(sets.get((False, False), ())),
        resolved=frozenset(sets.get((False, True), ())),
        muted_firing=frozenset(sets.get((True, False), ())),
        muted_resolved=frozenset(sets.get((True, True), ())),
        muted_words=", ".join(sorted({one.kind for one in reasons.values()})),
    )
