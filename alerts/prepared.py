"""A rule group made ready to evaluate: rows turned into what the engine takes, remembered while no row changes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db.models import Count, Max, Prefetch, Q

from alerts import scope
from alerts.engine import identity, template
from alerts.engine.state import NoDataPolicy, RuleSpec
from alerts.engine.thresholds import Operator, Resolver
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import PLAIN, unit_of
from alerts.models import GroupClock, Rule, RuleGroup, Threshold
from alerts.outgoing import Outgoing, current
from monitoring import promql
from monitoring.promql import Labels

EVALUATED = (Rule.Life.LIVE, Rule.Life.SHADOW)
# How the store's names of what groups write begin.
RULES_SOURCE = "rules:"


@dataclass
class PreparedRule:
    """One rule with its query parsed and its templates compiled; `problem` says why it cannot be evaluated."""

    rule: Rule
    query: promql.Query | None
    problem: str
    spec: RuleSpec
    limits: tuple[Limit, ...]
    has_thresholds: bool
    identities: identity.IdentityBuilder
    annotations: Mapping[str, template.Template]
    resolver: Resolver = field(default_factory=Resolver)
    outgoing: Outgoing = field(default_factory=Outgoing)
    # Which element of the answer an alert came from; its templates speak of that element's labels.
    elements: dict[Labels, Labels] = field(default_factory=dict)
    reported: frozenset[Labels] | None = None  # identities with data lately; only the no-data policy “fire” asks

    @property
    def is_recording(self) -> bool:
        """Whether the answer becomes series instead of alerts."""
        return self.rule.kind == Rule.Kind.RECORD


@dataclass(frozen=True)
class PreparedGroup:
    """A group with its rules in order; `stamp` changes with any edit of group, rule or threshold."""

    group: RuleGroup
    rules: tuple[PreparedRule, ...]
    stamp: tuple[object, ...]


_remembered: dict[int, PreparedGroup] = {}


def prepare(group: RuleGroup) -> PreparedGroup:
    """Return the group ready to evaluate; three small queries when nothing changed."""
    outgoing = current()
    stamp = (*_stamp(group), outgoing)
    known = _remembered.get(group.pk)
    if known is None or known.stamp != stamp:
        known = PreparedGroup(group, tuple(_prepare_rules(group, outgoing)), stamp)
        _remembered[group.pk] = known
    return known


def _stamp(group: RuleGroup) -> tuple[object, ...]:
    """What every edit changes: history grows by a row with each save, and bulk edits move updated_at or counts."""
    rules = group.rules.aggregate(Count("id"), Max("updated_at"), Max("revision"))
    rows = Threshold.objects.filter(rule__group=group)
    has_objects = Q(model__isnull=False) | Q(version__isnull=False) | Q(host__isnull=False)
    scoped = Count("id", filter=has_objects)
    thresholds = rows.aggregate(Count("id"), Max("id"), Max("updated_at"), scoped=scoped)
    objects = scope.state_of_registry(group.rules.all()) if thresholds["scoped"] else ()
    terms = (group.interval_seconds, group.query_offset_seconds, group.limit, group.name)
    return (*terms, *rules.values(), *thresholds.values(), *objects)


def _prepare_rules(group: RuleGroup, outgoing: Outgoing) -> Iterable[PreparedRule]:
    rows = Threshold.objects.select_related(*scope.RELATED)
    rules = (
        group.rules.filter(life__in=EVALUATED).prefetch_related(Prefetch("thresholds", rows)).order_by("position", "id")
    )
    return [_prepare_rule(rule, group, outgoing) for rule in rules]


def _prepare_rule(rule: Rule, group: RuleGroup, outgoing: Outgoing) -> PreparedRule:
    limits = [limit_of(row) for row in rule.thresholds.all()]
    found = ready(rule, group, limits, {name: template.compile(text) for name, text in rule.annotations.items()})
    found.outgoing = outgoing
    return found


def ready(
    rule: Rule, group: RuleGroup, limits: Sequence[Limit], annotations: Mapping[str, template.Template]
) -> PreparedRule:
    """One rule ready to evaluate, saved or not; raises TemplateError when a template of its labels is wrong."""
    query, problem = None, ""
    try:
        query = promql.parse(rule.expr)
    except promql.ParseError as error:
        problem = f"Line {error.line}, column {error.column}: {error.message}"
    return PreparedRule(
        rule=rule,
        query=query,
        problem=problem,
        spec=RuleSpec(
            hold_seconds=rule.hold_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            no_data=NoDataPolicy(rule.no_data),
            no_data_seconds=rule.no_data_resolve_seconds,
            limit=group.limit,
            unit=unit_of(query) if query else PLAIN,
        ),
        limits=tuple(limits),
        has_thresholds=bool(limits),
        identities=identity.IdentityBuilder(rule.name, rule.labels),
        annotations=annotations,
    )


def limit_of(row: Threshold) -> Limit:
    """The engine's form of a threshold row; one whose objects have no series now, as an empty stage, does not count."""
    of_objects = scope.matchers_of(row)
    return Limit(
        id=row.pk or 0,
        severity=row.severity,
        operator=Operator(row.operator),
        value=row.value,
        upper=row.upper,
        recover_value=row.recover_value,
        hold_seconds=row.hold_seconds,
        matchers=(*(of_objects or ()), *promql.parse_matchers(row.selector or "{}")),
        priority=row.priority,
        reason=row.reason,
        created_seq=row.pk or 0,
        expires_at=row.expires_at,
        is_enabled=row.is_enabled and of_objects is not None,
    )


def slot_offset_seconds(group: RuleGroup, clock: GroupClock | None = None) -> float:
    """Seconds in [0, interval) at which the slots of a group lie: where its clock says, which is read when not given.

    Before a clock has settled, a stable number from the name spreads groups over the interval (Prometheus, PR-3).
    """
    clock = clock or getattr(group, "clock", None)
    interval_ms = max(int(group.interval_seconds * 1000), 1)
    if clock is not None and clock.offset_seconds is not None:
        return round(clock.offset_seconds * 1000) % interval_ms / 1000
    return zlib.crc32(f"{group.managed_by}\xff{group.name}".encode()) % interval_ms / 1000


def latest_slot(group: RuleGroup, at: datetime, clock: GroupClock | None = None) -> datetime:
    """The newest planned evaluation time that is not after `at`; the clock is read when it is not given."""
    offset, interval = slot_offset_seconds(group, clock), group.interval_seconds
    count = (at.timestamp() - offset) // interval
    return datetime.fromtimestamp(round(count * interval + offset, 3), UTC)
