"""Who keeps an alert from being told, and why: inhibition, time intervals, silences.

Source of the rules: Alertmanager 0.25, inhibit/inhibit.go and notify/notify.go. Two kinds of inhibition are the
portal's own: a higher severity of one rule mutes the lower ones of the same series, and a parent in the registry
(host, deployment, model) mutes what is new below it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from alerts.engine.fingerprint import fingerprint
from alerts.engine.intervals import TimeInterval, containing
from alerts.engine.matching import MatcherIndex
from alerts.engine.silences import Silence, SilenceIndex
from monitoring.promql import Labels, Matcher

_SourceKey = tuple[int, bool, tuple[str, ...]]
_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
MuteKind = Literal["inhibited", "severity", "dependency", "time", "silenced"]
SEVERITY = "severity"
_SEVERITY_LABEL = frozenset({SEVERITY})
SEVERITY_ORDER = ("info", "warning", "critical")  # lowest first; the caller may bring another order


@dataclass(frozen=True, slots=True)
class Subject:
    """An alert as muting sees it."""

    labels: Labels
    rule_id: int | None = None  # the portal's own rule that made it, None for a posted alert
    is_resolved: bool = False
    is_told: bool = False  # somebody has already been told that it fires


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """While a source fires, its targets with equal values of the `equal` labels are muted (AH-1).

    `only_new` makes it a dependency: it mutes alerts that nobody was told of yet, and never a resolve.
    """

    id: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()
    name: str = ""
    only_new: bool = False


@dataclass(frozen=True, slots=True)
class MuteReason:
    """Why nothing is said about an alert: what kind of muting, by whose id, until when if that is known."""

    kind: MuteKind
    by: tuple[str, ...]  # silence ids, the fingerprint of the inhibiting alert, or names of time intervals
    words: str
    until: datetime | None = None


class Inhibitor:
    """All firing alerts that can mute others, kept by rule and by the values that must be equal (AH-6, AH-8).

    Alerts may be added and removed one by one; whether a source is itself muted does not matter.
    """

    def __init__(self, rules: Sequence[InhibitRule] = (), severity_order: Sequence[str] = SEVERITY_ORDER) -> None:
        """Know `rules` and the order of severities, lowest first."""
        self._rules = list(rules)
        self._sources = MatcherIndex([rule.source for rule in self._rules])
        self._targets = MatcherIndex([rule.target for rule in self._rules])
        self._rank = {severity: rank for rank, severity in enumerate(severity_order)}
        # Per rule, whether they are on the target side too (AH-3), and equal values: the firing sources in order.
        self._firing: dict[_SourceKey, dict[Labels, None]] = {}
        # Never taken out again: it only spares the look-up for rules that had no source at all, which are most.
        self._rules_with_sources: set[int] = set()
        # Per rule and series: the firing labels of each severity rank; per rule, the highest rank there ever was.
        self._severities: dict[tuple[int, Labels], dict[int, Labels]] = {}
        self._highest: dict[int, int] = {}

    def is_source(self, labels: Labels) -> bool:
        """Whether an alert with `labels` can mute others through a rule; the rest need not be kept for that."""
        return next(self._sources.matching(labels), None) is not None

    @property
    def dependencies(self) -> list[InhibitRule]:
        """The rules by which a parent mutes what is new below it."""
        return [rule for rule in self._rules if rule.only_new]

    def is_parent(self, labels: Labels) -> bool:
        """Whether an alert with `labels` can mute what hangs on it in the registry."""
        return any(self._rules[position].only_new for position in self._sources.matching(labels))

    def add(self, subject: Subject) -> None:
        """Take a firing alert in; a resolved one is taken out, since only firing ones mute."""
        if subject.is_resolved:
            self.remove(subject)
            return
        labels = subject.labels
        for key in self._source_keys(labels):
            self._firing.setdefault(key, {})[labels] = None
            self._rules_with_sources.add(key[0])
        rank = self._rank.get(labels.get(SEVERITY))
        if subject.rule_id is not None and rank is not None:
            series = (subject.rule_id, labels.without(_SEVERITY_LABEL))
            self._severities.setdefault(series, {})[rank] = labels
            self._highest[subject.rule_id] = max(rank, self._highest.get(subject.rule_id, rank))

    def remove(self, subject: Subject) -> None:
        """Forget an alert; one that was never added is no error."""
        labels = subject.labels
        for key in self._source_keys(labels):
            _discard(self._firing, key, labels)
        rank = self._rank.get(labels.get(SEVERITY))
        if subject.rule_id is not None and rank is not None:
            _discard(self._severities, (subject.rule_id, labels.without(_SEVERITY_LABEL)), rank)

    def reason(self, subject: Subject) -> MuteReason | None:
        """Which firing alert mutes `subject`, None when none does."""
        return self._by_severity(subject) or self._by_rule(subject)

    def may_mute(self, known: Mapping[str, str], rule_ids: Iterable[int], severities: Iterable[str]) -> bool:
        """Whether `reason` may have something to say about an alert with these labels, rules and severities."""
        lowest = min((self._rank[severity] for severity in severities if severity in self._rank), default=None)
        if lowest is not None and any(self._highest.get(rule_id, lowest) > lowest for rule_id in rule_ids):
            return True
        return any(position in self._rules_with_sources for position in self._targets.reaching(known))

    def _by_rule(self, subject: Subject) -> MuteReason | None:
        labels = subject.labels
        for position in self._targets.matching(labels):
            rule = self._rules[position]
            if rule.only_new and (subject.is_resolved or subject.is_told):
                continue
            if position not in self._rules_with_sources:
                continue
            values = self._equal_values(position, labels)
            sources = self._firing.get((position, False, values))
            # A target that is also a source may only be muted by a source that is not also a target (AH-3).
            if not sources and not self._sources.holds(position, labels):
                sources = self._firing.get((position, True, values))
            if sources:
                return _inhibited(rule, next(iter(sources)))
        return None

    def _by_severity(self, subject: Subject) -> MuteReason | None:
        own = self._rank.get(subject.labels.get(SEVERITY))
        if subject.rule_id is None or own is None:
            return None
        firing = self._severities.get((subject.rule_id, subject.labels.without(_SEVERITY_LABEL)))
        if not firing:
            return None
        highest = max(firing)
        if highest <= own:
            return None
        higher = firing[highest].get(SEVERITY)
        words = f"the same series of this rule already fires as {higher}"
        return MuteReason("severity", (fingerprint(firing[highest]),), words)

    def _source_keys(self, labels: Labels) -> Iterator[_SourceKey]:
        for position in self._sources.matching(labels):
            yield position, self._targets.holds(position, labels), self._equal_values(position, labels)

    def _equal_values(self, position: int, labels: Labels) -> tuple[str, ...]:
        return tuple(labels.get(name) for name in self._rules[position].equal)


class Muter:
    """Everything that can keep an alert silent at one moment, asked alert by alert."""

    def __init__(
        self,
        at: datetime,
        inhibitor: Inhibitor,
        silences: Iterable[Silence] = (),
        intervals: Mapping[str, Sequence[TimeInterval]] | None = None,
    ) -> None:
        """Hold the inhibitor, those of `silences` that hold at `at`, and the time intervals by name."""
        self.inhibitor = inhibitor
        self._at = at
        self._silences = SilenceIndex(silences, at)
        self._intervals = intervals or {}

    def reason(
        self, subject: Subject, active_intervals: Sequence[str] = (), mute_intervals: Sequence[str] = ()
    ) -> MuteReason | None:
        """Why `subject` is not told by a route with these intervals: inhibition first, then time, then silences."""
        return (
            self.inhibitor.reason(subject)
            or time_reason(active_intervals, mute_intervals, self._intervals, self._at)
            or self.silenced(subject.labels)
        )

    def may_mute(
        self,
        known: Mapping[str, str],
        rule_ids: Iterable[int] = (),
        severities: Iterable[str] = (),
        active_intervals: Sequence[str] = (),
        mute_intervals: Sequence[str] = (),
    ) -> bool:
        """Whether there may be a reason for some alert of which only this much is known; False is certain.

        known: labels that it surely has, such as those of its group; rule_ids, severities: what it may be of, posted
        alerts left out.
        """
        return (
            time_reason(active_intervals, mute_intervals, self._intervals, self._at) is not None
            or self._silences.may_cover(known)
            or self.inhibitor.may_mute(known, rule_ids, severities)
        )

    def inhibited(self, subject: Subject) -> MuteReason | None:
        """Which alert inhibits `subject`, None when none does."""
        return self.inhibitor.reason(subject)

    def silenced(self, labels: Labels) -> MuteReason | None:
        """Which silences cover `labels`, None when none does; `until` is when the last of them ends."""
        covering = self._silences.covering(labels)
        if not covering:
            return None
        first = covering[0][0]
        words = f"silenced by {first.author or 'somebody'}" + (f": {first.comment}" if first.comment else "")
        if len(covering) > 1:
            words += f" (and {len(covering) - 1} more silences)"
        until = max(window.ends_at for _, window in covering)
        return MuteReason("silenced", tuple(silence.id for silence, _ in covering), words, until)


def time_reason(
    active_intervals: Sequence[str],
    mute_intervals: Sequence[str],
    intervals: Mapping[str, Sequence[TimeInterval]],
    at: datetime,
) -> MuteReason | None:
    """Why a route says nothing at `at` because of the time; the active intervals are asked first (AT-1)."""
    if active_intervals and containing(active_intervals, intervals, at) is None:
        names = " or ".join(active_intervals)
        return MuteReason("time", tuple(active_intervals), f"the route only speaks during {names}")
    muted_by = containing(mute_intervals, intervals, at)
    if muted_by is not None:
        return MuteReason("time", (muted_by,), f"the route is mute during {muted_by}")
    return None


def mutes(
    subject: Subject,
    firing: Iterable[Subject],
    silences: Iterable[Silence],
    inhibit_rules: Sequence[InhibitRule],
    at: datetime,
    severity_order: Sequence[str] = SEVERITY_ORDER,
) -> MuteReason | None:
    """Why `subject` is muted at `at`, for one question; for many, keep an Inhibitor and a Muter."""
    inhibitor = Inhibitor(inhibit_rules, severity_order)
    for source in firing:
        inhibitor.add(source)
    return Muter(at, inhibitor, silences).reason(subject)


def dependency(
    edge_id: str, parent: Sequence[Matcher], child: Sequence[Matcher], equal: Sequence[str] = (), name: str = ""
) -> InhibitRule:
    """The rule of one registry edge: a firing parent mutes new alerts of the child, never a resolve."""
    return InhibitRule(edge_id, tuple(parent), tuple(child), tuple(equal), name, only_new=True)


def muted_children(parents: Collection[Labels], rules: Sequence[InhibitRule], alerts: Iterable[Labels]) -> list[Labels]:
    """Those of `alerts` that firing `parents` mute, for the parents' message ("suppressed: 11 model alerts")."""
    inhibitor, own = Inhibitor(rules), set(parents)
    for parent in own:
        inhibitor.add(Subject(parent))
    return [labels for labels in alerts if labels not in own and inhibitor.reason(Subject(labels)) is not None]


def _discard(buckets: dict[_Key, dict[_Item, _Value]], key: _Key, item: _Item) -> None:
    """Remove one item of one bucket, and the bucket with its last item: the keys are label values without a bound."""
    bucket = buckets.get(key)
    if bucket is not None:
        bucket.pop(item, None)
        if not bucket:
            del buckets[key]


def _inhibited(rule: InhibitRule, source: Labels) -> MuteReason:
    kind: MuteKind = "dependency" if rule.only_new else "inhibited"
    equal = ", ".join(f"{name}={source.get(name)!r}" for name in rule.equal)
    what = "its parent" if rule.only_new else "another alert"
    words = f"{what} fires: {source.get('alertname') or source}"
    words += f" (same {equal})" if equal else ""
    if rule.name:
        words += f", {rule.name} is down" if rule.only_new else f", rule {rule.name}"
    return MuteReason(kind, (fingerprint(source),), words)
