"""What the list of rules shows of each at a glance: its value against its limit, and who is told.

Both come from the evaluation records, so nothing is asked of the store however heavy the rules are. Hides that what
was read once is remembered: a record of the past does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from alerts import outgoing, policy, records
from alerts.engine.identity import ALERT_NAME, SEVERITY
from alerts.engine.routing import Route, RouteError, Tree
from alerts.models import Integration, Rule
from monitoring.promql import Labels

POINTS = 24
_STEP = timedelta(minutes=15)
# Points of all rules that a process remembers: some 100 bytes each.
_MOST_REMEMBERED = 200_000


class Point(NamedTuple):
    """The series nearest to its limit at one moment."""

    value: float
    limit: float | None
    is_past: bool


@dataclass(frozen=True)
class Hearing:
    """One receiver of a rule's alerts: how people call its ways out, and the route that leads there."""

    receiver: str
    ways: tuple[str, ...]
    route: str


@dataclass(frozen=True)
class Glance:
    """One rule: POINTS moments over six hours and now, None where nothing was recorded; and who is told."""

    points: tuple[Point | None, ...] = (None,) * (POINTS + 1)
    hearings: tuple[Hearing, ...] = ()


Place = tuple[int, datetime]  # a group and a moment
_remembered: dict[Place, dict[int, Point]] = {}
# Who goes through a list turns its pages; routes need not be read for each of them.
_ROUTES_KEPT = timedelta(seconds=10)
_last: list[tuple[datetime, _Hearings]] = []


def forget() -> None:
    """Read everything anew; for tests."""
    _remembered.clear()
    _last.clear()


def glances(rules: Sequence[Rule], at: datetime) -> dict[int, Glance]:
    """Each rule at a glance; four queries for all of them together."""
    moments = _moments(at)
    # A group that is evaluated less often than the lines have points goes on with its last record.
    ages = {rule.group_id: max(_STEP, 2 * timedelta(seconds=rule.group.interval_seconds)) for rule in rules}
    latest = _read(
        {(group_id, moment): age for group_id, age in ages.items() for moment in moments},
        {(group_id, at): age for group_id, age in ages.items()},
    )
    hearings = _hearings(at)
    found = {}
    for rule in rules:
        past = (_remembered.get((rule.group_id, moment), {}).get(rule.pk) for moment in moments)
        near = latest.get((rule.group_id, at), {}).get(rule.pk, [])
        found[rule.pk] = Glance((*past, _point(near)), hearings.of(rule, near) if rule.kind == Rule.Kind.ALERT else ())
    return found


def _moments(at: datetime) -> list[datetime]:
    """The last moments on the grid, the oldest first; each is long enough ago to be evaluated."""
    step = _STEP.total_seconds()
    last = datetime.fromtimestamp((at.timestamp() - 60) // step * step, UTC)
    return [last - _STEP * back for back in range(POINTS - 1, -1, -1)]


def _read(past: Mapping[Place, timedelta], now: Mapping[Place, timedelta]) -> dict[Place, records.Nearest]:
    """Bring into memory what is not there, and return what was found for `now`, which is not kept.

    Both say how old a record may be. A moment without a record is looked for again.
    """
    if sum(map(len, _remembered.values())) > _MOST_REMEMBERED:
        _remembered.clear()
    missing = {place: age for place, age in past.items() if place not in _remembered}
    found = records.nearest_at({**missing, **now})
    for place in missing:
        if place in found:
            _remembered[place] = dict(_points(found[place]))
    return {place: found[place] for place in now if place in found}


def _points(found: records.Nearest) -> Iterator[tuple[int, Point]]:
    for rule_id, near in found.items():
        point = _point(near)
        if point is not None:
            yield rule_id, point


def _point(near: Sequence[Sequence[object]]) -> Point | None:
    for _, value, limit, _, _, after, _ in near:
        if isinstance(value, float | int):
            return Point(float(value), float(limit) if isinstance(limit, float | int) else None, bool(after))
    return None


def _hearings(at: datetime) -> _Hearings:
    """Whom the routes tell, as they are or were a moment ago."""
    if not _last or not timedelta() <= at - _last[0][0] < _ROUTES_KEPT:
        _last[:] = [(at, _Hearings())]
    return _last[0][1]


class _Hearings:
    """Whom the routes tell; asked once for a whole list."""

    _tree: Tree | None
    _routes: Mapping[int, Route]

    def __init__(self) -> None:
        self._outgoing = outgoing.current()
        try:
            self._tree, self._routes = policy.destinations()
        except RouteError:  # the page of routes says what is wrong with the tree
            self._tree, self._routes = None, {}
        self._ways: dict[str, list[str]] = {}
        for row in Integration.objects.filter(is_enabled=True).select_related("receiver").order_by("pk"):
            self._ways.setdefault(row.receiver.name, []).append(way_name(row))

    def of(self, rule: Rule, near: Sequence[Sequence[object]]) -> tuple[Hearing, ...]:
        """Receivers in the order of the routes, each once; of a rule without series by its own labels."""
        if self._tree is None:
            return ()
        found: dict[str, Hearing] = {}
        for identity in [Labels.of(one[0]) for one in near] or list(_own(rule)):  # type: ignore[arg-type]
            labels = self._outgoing.labels(identity)
            for destination in self._tree.match(labels) if labels is not None else ():
                name, title = destination.receiver, self._routes[destination.route_id].title
                found.setdefault(name, Hearing(name, tuple(self._ways.get(name, ())), title))
        return tuple(found.values())


def _own(rule: Rule) -> Iterable[Labels]:
    """The labels that a rule gives its alerts itself, for each of its severities; templates have no value yet."""
    own: Mapping[str, str] = rule.labels if isinstance(rule.labels, dict) else {}
    plain = {name: text for name, text in own.items() if "{{" not in text} | {ALERT_NAME: rule.name}
    severities = {row.severity for row in rule.thresholds.all() if row.is_enabled}
    for severity in sorted(severities) or [plain.get(SEVERITY, "")]:
        yield Labels.of({**plain, SEVERITY: severity})


def way_name(row: Integration) -> str:
    """A way out as people call it: the channel or the address, else its kind and target."""
    is_plain = row.kind in (Integration.Kind.SLACK, Integration.Kind.EMAIL) and row.target
    return row.target if is_plain else str(row)
