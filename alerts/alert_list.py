"""The list of alerts as people look at it: filtered, searched, a page at a time, with what was told about each.

Hides: what the chips mean in rows, and that a page of fifty out of ten thousand costs five queries.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from django.core.paginator import Page, Paginator
from django.db.models import (
    Case,
    Count,
    F,
    Func,
    IntegerField,
    Max,
    Min,
    Model,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
    Window,
)

from alerts import compose, graph, stopped
from alerts.engine.fingerprint import fingerprint
from alerts.engine.units import PLAIN
from alerts.engine.units import unit_of as unit_of_query
from alerts.models import Alert, GroupAlert, Notification
from monitoring import promql
from monitoring.promql import Labels

PER_PAGE = 50
# Pages end here; what is older is found by its filters.
REACH = 10_000
SEVERITIES = ("critical", "warning", "info")
STATES = ("active", "firing", "pending", "acknowledged", "snoozed", "resolved", "shadow")
HIDDEN_LABELS = frozenset({"alertname", "severity"})
_PAIR = re.compile(r'([a-zA-Z_]\w*)=("?)(.*)\2')
_ACTIVE = (Alert.State.FIRING, Alert.State.PENDING)
_FIRST = {"firing": 0, "pending": 1, "resolved": 2}


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to see; unknown words are dropped, so any address works."""

    state: str = "active"
    severities: tuple[str, ...] = ()
    rule_id: int | None = None
    text: str = ""

    @classmethod
    def of(cls, state: str, severities: Sequence[str], rule: str, text: str) -> Wanted:
        """The wish that an address spells."""
        known = tuple(one for one in SEVERITIES if one in severities)
        rule_id = int(rule) if rule.isascii() and rule.isdigit() and len(rule) < 10 else None
        return cls(state if state in STATES else "active", known, rule_id, text.strip().replace("\x00", "")[:200])


@dataclass(frozen=True)
class Row:
    """One line of the list."""

    alert: Alert
    labels: tuple[tuple[str, str], ...]
    unit: str
    seconds: float  # how long it has fired, waits, or fired
    told: int = 0
    told_at: datetime | None = None
    kept: int = 0  # messages that wait for a way out
    trouble: str = ""  # the answer to the last message that did not arrive
    muted: str = ""  # why nobody is told
    stale_since: datetime | None = None  # when its rule was last evaluated, if that is too long ago
    milder: tuple[Alert, ...] = ()  # the same problem at lower severities, which stand in this line


@dataclass
class Listing:
    """One page of the list, with the numbers on the chips."""

    rows: list[Row]
    page: Page
    wanted: Wanted
    states: dict[str, int] = field(default_factory=dict)
    severities: dict[str, int] = field(default_factory=dict)
    is_cut: bool = False


class BoundedPaginator(Paginator):
    """Pages over the first REACH rows: the database counts no further, however many there are."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most REACH."""
        rows = cast("QuerySet[Model]", self.object_list)
        return rows.order_by()[:REACH].count()


def listing(wanted: Wanted, at: datetime, page: int | str | None = 1) -> Listing:
    """A page of alerts, the worst and newest first."""
    rows = _matching(wanted, at)
    paginator = BoundedPaginator(_ordered(rows), PER_PAGE)
    shown = paginator.get_page(page)
    alerts = list(shown.object_list)
    told, muted, milder = _told(alerts), _muted(alerts), _milder(alerts)
    states, severities = _numbers(wanted, at)
    found = [
        _row(alert, told.get(alert.pk, {}), muted.get(alert.pk, ""), at, milder.get(problem(alert), ()))
        for alert in alerts
    ]
    return Listing(found, shown, wanted, states, severities, paginator.count >= REACH)


def _matching(wanted: Wanted, at: datetime) -> QuerySet[Alert]:
    rows = Alert.objects.filter(_state(wanted.state, at))
    if wanted.state != "resolved":
        rows = problems(rows)
    if wanted.severities:
        rows = rows.filter(severity__in=wanted.severities)
    if wanted.rule_id:
        rows = rows.filter(rule_id=wanted.rule_id)
    return rows.filter(_search(wanted.text))


def _state(state: str, at: datetime) -> Q:
    is_told = Q(is_shadow=False)
    active = Q(state__in=_ACTIVE)
    return {
        "active": is_told & active,
        "firing": is_told & Q(state=Alert.State.FIRING),
        "pending": is_told & Q(state=Alert.State.PENDING),
        "acknowledged": is_told & active & Q(acknowledged_at__isnull=False),
        "snoozed": is_told & active & Q(snoozed_until__gt=at),
        "resolved": is_told & Q(state=Alert.State.RESOLVED),
        "shadow": Q(is_shadow=True) & active,
    }[state]


def _search(text: str) -> Q:
    """Every word must be found: `host=gpu-1` in that label, anything else in the name or any label."""
    wanted = Q()
    for word in text.split():
        pair = _PAIR.fullmatch(word)
        wanted &= (
            Q(labels__contains={pair[1]: pair[3]}) if pair else Q(name__icontains=word) | Q(labels__icontains=word)
        )
    return wanted


def _ordered(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    by_state = Case(
        *(When(state=state, then=Value(rank)) for state, rank in _FIRST.items()), output_field=IntegerField()
    )
    by_severity = _rank()
    # What has resolved is history, and history is read from its end.
    is_over = Case(When(state=Alert.State.RESOLVED, then=Value(0)), default=by_severity, output_field=IntegerField())
    related = rows.select_related("rule__group__clock", "acknowledged_by")
    return related.order_by(by_state, is_over, "-fired_at", "-id")


def _rank(severity: Any = None) -> Func:
    """The place of a severity, the worst first; unknown ones come last."""
    names = ", ".join(f"'{name}'" for name in SEVERITIES)
    place = f"COALESCE(array_position(ARRAY[{names}]::text[], %(expressions)s::text), {len(SEVERITIES) + 1})"
    return Func(severity or F("severity"), template=place, output_field=IntegerField())


def _series(labels: Any) -> Func:
    """Labels without the severity, as jsonb writes them: keys in order, so that equal ones are equal texts."""
    return Func(labels, template="((%(expressions)s - 'severity')::text)", output_field=TextField())


def _outranked() -> Any:
    """Ids of active alerts whose series fires at a worse severity of the same rule, which mutes them.

    Rules that do not mute their lower severities, as imported ones, tell each; so does the list. A window sorts each
    series once, whatever the planner knows of the table; joining the table with itself took minutes in a fresh storm.
    """
    series: list[F | Func] = [F("rule_id"), F("is_shadow"), _series(F("labels"))]
    worst = Window(Min(_rank(), filter=Q(state=Alert.State.FIRING)), partition_by=series)
    rows = Alert.objects.filter(rule__mutes_lower=True, state__in=_ACTIVE).order_by()
    return rows.annotate(rank=_rank(), worst=worst).filter(rank__gt=F("worst")).values("pk")


def problems(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    """Of these active alerts one for each problem: those that no worse severity of the same series speaks for."""
    return rows.exclude(pk__in=_outranked())


def problem(alert: Alert) -> tuple[int | None, frozenset[tuple[str, str]]]:
    """What alerts of one series have in common whatever their severity: the rule, and the other labels."""
    return alert.rule_id, frozenset((name, value) for name, value in alert.labels.items() if name != "severity")


def _milder(alerts: Sequence[Alert]) -> dict[Any, tuple[Alert, ...]]:
    """The alerts that have no line of their own because one of these is the same problem and worse, by problem."""
    prints = {
        fingerprint(Labels.of({**alert.labels, "severity": severity})): problem(alert)
        for alert in alerts
        if alert.rule_id and alert.state == Alert.State.FIRING and alert.severity in SEVERITIES
        for severity in SEVERITIES[SEVERITIES.index(alert.severity) + 1 :]
    }
    rows = Alert.objects.filter(fingerprint__in=prints, rule__mutes_lower=True, state__in=_ACTIVE)
    found: dict[Any, tuple[Alert, ...]] = {}
    for row in rows.order_by(_rank(), "id"):
        if prints[row.fingerprint] == problem(row):
            found[problem(row)] = (*found.get(problem(row), ()), row)
    return found


def _numbers(wanted: Wanted, at: datetime) -> tuple[dict[str, int], dict[str, int]]:
    """How many alerts each chip would show, but for the history, which may be long."""
    active = problems(Alert.objects.filter(state__in=_ACTIVE)).order_by()
    if wanted.rule_id:
        active = active.filter(rule_id=wanted.rule_id)
    counts = {state: Count("pk", filter=_state(state, at)) for state in STATES if state != "resolved"}
    severities = {f"severity_{name}": Count("pk", filter=Q(severity=name, is_shadow=False)) for name in SEVERITIES}
    found: dict[str, int] = active.aggregate(**counts, **severities)
    return (
        {state: found[state] for state in counts},
        {name: found[f"severity_{name}"] for name in SEVERITIES},
    )


def _told(alerts: Sequence[Alert]) -> dict[int, dict[str, Any]]:
    """How often each was told, when last, and the answer to what did not arrive."""
    links = Notification.alerts.through.objects.filter(alert_id__in=[alert.pk for alert in alerts]).order_by()
    sent, dead = Q(notification__state=Notification.State.SENT), Q(notification__state=Notification.State.DEAD)
    counted = links.values("alert_id").annotate(
        told=Count("pk", filter=sent),
        kept=Count("pk", filter=Q(notification__state=Notification.State.KEPT)),
        told_at=Max("notification__sent_at", filter=sent),
        trouble=Max("notification__last_error", filter=dead),
    )
    return {row["alert_id"]: row for row in counted}


def _muted(alerts: Sequence[Alert]) -> dict[int, str]:
    ids = [alert.pk for alert in alerts]
    rows = GroupAlert.objects.filter(alert_id__in=ids).exclude(muted_reason="").order_by("pk")
    return dict(rows.values_list("alert_id", "muted_reason"))


def _row(alert: Alert, told: dict[str, Any], muted: str, at: datetime, milder: tuple[Alert, ...]) -> Row:
    return Row(
        alert=alert,
        labels=tuple(graph.telling(telling_labels(alert.labels)).items()),
        unit=unit_of(alert),
        seconds=lasted_seconds(alert, at),
        told=told.get("told", 0),
        told_at=told.get("told_at"),
        trouble=told.get("trouble") or "",
        kept=told.get("kept", 0),
        muted=muted,
        stale_since=stopped.stale_since(alert, at),
        milder=tuple(one for one in milder if one.pk != alert.pk),
    )


def unit_of(alert: Alert) -> str:
    """The unit of an alert's value in the browser's words: of its rule's expression, else as its annotation says."""
    try:
        unit = unit_of_query(promql.parse(alert.rule.expr)) if alert.rule else PLAIN
    except promql.QueryError:
        unit = PLAIN
    return graph.unit_name(unit) if unit != PLAIN else compose.unit_of(alert.annotations, "") or "short"


def lasted_seconds(alert: Alert, at: datetime) -> float:
    """How long an alert has been active, or was; from its firing if it fired."""
    return ((alert.resolved_at or at) - (alert.fired_at or alert.active_since)).total_seconds()


def telling_labels(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The labels without name and severity; the host comes first, since it is looked for first."""
    rest = [(name, value) for name, value in labels.items() if name not in HIDDEN_LABELS]
    return tuple(sorted(rest, key=lambda pair: (pair[0] != "host", pair[0])))
