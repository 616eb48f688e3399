"""The rows that say who is told and who is muted, as values of the engine: routes, intervals, silences, inhibition.

Hides how matchers, intervals and trees are stored, and that a tree is rebuilt only when its rows have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import Q

from alerts import dependencies, models
from alerts.engine.intervals import TimeInterval, parse_interval
from alerts.engine.matching import parse_alertmanager_matchers
from alerts.engine.muting import SEVERITY_ORDER, Inhibitor, InhibitRule, Muter, Subject
from alerts.engine.routing import Route, RouteNode, Tree, resolve_tree
from alerts.engine.silences import Recurrence, Silence
from monitoring.promql import Labels, Matcher

# The root of a tree that nobody has made yet, and the receiver of a root that has none: the engine wants a name.
BUILT_IN_ROOT_ID = 0
NOBODY = "nobody (no receiver is set)"
_BUILT_IN_ROOT = RouteNode(BUILT_IN_ROOT_ID, name="built-in root", receiver=NOBODY, group_by=("alertname",))


@dataclass(frozen=True)
class Routing:
    """The route tree as it is now, with the ids of the receivers it names and its time intervals."""

    tree: Tree
    routes: Mapping[int, Route]
    receiver_ids: Mapping[str, int]
    intervals: Mapping[str, Sequence[TimeInterval]]

    def route_of(self, route_id: int | None) -> Route:
        """The route of a group; a group of the built-in root outlives it until its alerts are routed again."""
        return self.routes.get(route_id or BUILT_IN_ROOT_ID, self.tree.root)

    def receiver_of(self, route_id: int | None) -> int | None:
        """The id of the receiver that a group of this route is told to; None where that is nobody."""
        return self.receiver_ids.get(self.route_of(route_id).receiver)


# A digest of the rows a tree is made of: reading fifty routes anew takes longer than the rest of a tick.
_DIGEST = """
SELECT (SELECT md5(string_agg(t::text, E'\n' ORDER BY id)) FROM alerts_receiver t),
       (SELECT md5(string_agg(t::text, E'\n' ORDER BY id)) FROM alerts_route t),
       (SELECT md5(string_agg(t::text, E'\n' ORDER BY id)) FROM alerts_route_mute_intervals t),
       (SELECT md5(string_agg(t::text, E'\n' ORDER BY id)) FROM alerts_route_active_intervals t),
       (SELECT md5(string_agg(t::text, E'\n' ORDER BY id)) FROM alerts_timeinterval t)
"""
# The tree that was read last, and the digest of its rows.
_last: tuple[tuple[Any, ...], Routing] | None = None


def routing() -> Routing:
    """The current route tree; the built-in root alone while there are no routes. Raises RouteError for a broken one."""
    global _last
    digest, known = _digest(), _last
    if known is not None and known[0] == digest:
        return known[1]
    receivers = dict(models.Receiver.objects.values_list("name", "id"))
    tree, routes = _resolved(tuple(_nodes()))
    found = Routing(tree, routes, receivers, intervals())
    if _digest() == digest:  # nobody has changed them meanwhile
        _last = digest, found
    return found


def _digest() -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(_DIGEST)
        return tuple(cursor.fetchone())


def destinations() -> tuple[Tree, Mapping[int, Route]]:
    """The current route tree for who is told, without when: one query. Raises RouteError for a broken one."""
    return _resolved(tuple(_nodes(has_times=False)))


def intervals() -> dict[str, tuple[TimeInterval, ...]]:
    """All named time intervals."""
    rows = models.TimeInterval.objects.values_list("name", "spec")
    return {name: tuple(parse_interval(item) for item in spec) for name, spec in rows}


def silence_value(row: models.Silence) -> Silence:
    """One silence as the engine sees it."""
    return Silence(
        id=str(row.uuid), matchers=matchers(row.matchers), starts_at=row.starts_at, ends_at=row.ends_at,
        author=row.created_by, comment=row.comment,
        recurrence=recurrence(row.recur_at, row.recur_seconds, row.recur_weekdays, row.recur_location),
    )  # fmt: skip


def recurrence(
    opens_at: time | None, seconds: float | None, weekdays: Iterable[int] = (), location: str = "UTC"
) -> Recurrence | None:
    """The recurrence of a silence, None for one that holds from its start to its end."""
    if opens_at is None:
        return None
    return Recurrence(opens_at.hour * 60 + opens_at.minute, seconds or 0.0, tuple(sorted(weekdays)), location or "UTC")


def recurrence_columns(value: Recurrence | None) -> dict[str, Any]:
    """What a silence's row keeps of its recurrence."""
    if value is None:
        return {}
    opens_at = time(value.start_minute // 60, value.start_minute % 60)
    return {
        "recur_at": opens_at, "recur_seconds": value.duration_seconds, "recur_weekdays": list(value.weekdays),
        "recur_location": value.location,
    }  # fmt: skip


def silences(at: datetime) -> list[Silence]:
    """The silences that hold at `at`."""
    rows = models.Silence.objects.filter(starts_at__lte=at, ends_at__gt=at).order_by("id")
    return [silence_value(row) for row in rows]


def inhibit_rules() -> list[InhibitRule]:
    """The inhibit rules that are switched on."""
    return [
        InhibitRule(
            str(row.pk), matchers(row.source_matchers), matchers(row.target_matchers), tuple(row.equal), name=row.name
        )
        for row in models.InhibitRule.objects.filter(is_enabled=True)
    ]


def muter(at: datetime, rule_ids: Iterable[int | None], time_intervals: Mapping[str, Sequence[TimeInterval]]) -> Muter:
    """What can mute alerts of the rules `rule_ids` (None: posted ones) at `at`.

    Reads every firing alert that may be a source; read the targets before calling, so that no source committed
    together with its target is overlooked (AI-9).
    """
    rules, below = inhibit_rules(), dependencies.now(at)
    inhibitor = Inhibitor([*rules, *below.rules])
    for source in below.sources:
        inhibitor.add(source)
    for source in _sources(rules, {rule_id for rule_id in rule_ids if rule_id is not None}, at):
        inhibitor.add(source)
    return Muter(at, inhibitor, silences(at), time_intervals)


def is_resolved(alert: models.Alert, at: datetime) -> bool:
    """Whether an alert has ended at `at`: so it was decided, or the end its sender gave has come (AI-3)."""
    if alert.state == models.Alert.State.RESOLVED:
        return True
    return alert.source == models.Alert.Source.API and alert.ends_at is not None and alert.ends_at <= at


def subject(alert: models.Alert, at: datetime, *, is_told: bool = False) -> Subject:
    """One alert as muting sees it."""
    return Subject(alert.label_set, alert.rule_id, is_resolved(alert, at), is_told)


def matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    """The matchers of a JSON list in Alertmanager's text form; raises MatcherError."""
    return tuple(matcher for text in texts for matcher in _parsed(text))


_parsed = lru_cache(maxsize=4096)(parse_alertmanager_matchers)


@lru_cache(maxsize=4)
def _resolved(nodes: tuple[RouteNode, ...]) -> tuple[Tree, dict[int, Route]]:
    tree = resolve_tree(nodes or (_BUILT_IN_ROOT,))
    return tree, {route.id: route for route in tree.routes()}


def _nodes(*, has_times: bool = True) -> Iterable[RouteNode]:
    rows = models.Route.objects.select_related("receiver")
    if has_times:
        rows = rows.prefetch_related("mute_intervals", "active_intervals")
    for row in rows:
        receiver = row.receiver.name if row.receiver else None
        yield RouteNode(
            id=row.pk,
            parent_id=row.parent_id,
            position=row.position,
            matchers=matchers(row.matchers),
            receiver=receiver if receiver or row.parent_id else NOBODY,
            group_by=tuple(row.group_by or ()),
            continues=row.goes_on,
            group_wait_seconds=row.group_wait_seconds,
            group_interval_seconds=row.group_interval_seconds,
            repeat_interval_seconds=row.repeat_interval_seconds,
            mute_intervals=tuple(one.name for one in row.mute_intervals.all()) if has_times else (),
            active_intervals=tuple(one.name for one in row.active_intervals.all()) if has_times else (),
        )


def _sources(rules: Sequence[InhibitRule], rule_ids: set[int], at: datetime) -> Iterable[Subject]:
    """Firing alerts that can mute: higher severities of `rule_ids`, and what the equalities of `rules` let through."""
    wanted = Q(rule_id__in=rule_ids, rule__mutes_lower=True, severity__in=SEVERITY_ORDER[1:])
    for rule in rules:
        wanted |= Q(labels__contains={matcher.name: matcher.value for matcher in rule.source if _is_pinned(matcher)})
    firing = models.Alert.objects.filter(wanted, state=models.Alert.State.FIRING, is_shadow=False)
    live = firing.exclude(source=models.Alert.Source.API, ends_at__lte=at)
    for labels, rule_id, mutes_lower in live.values_list("labels", "rule_id", "rule__mutes_lower").iterator():
        yield Subject(Labels.of(labels), rule_id if mutes_lower else None)


def _is_pinned(matcher: Matcher) -> bool:
    # An equality with "" holds for labels that are absent, which containment cannot say.
    return matcher.op == "=" and bool(matcher.value)
