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
from django.db.models import Case, Count, IntegerField, Max, Model, Q, QuerySet, Value, When

from alerts import compose, graph, stopped
from alerts.engine.units import PLAIN
from alerts.engine.units import unit_of as unit_of_query
from alerts.models import Alert, GroupAlert, Notification
from monitoring import promql

PER_PAGE = 50
# Pages end here; what is older is found by its filters.
REACH = 10_000
SEVERITIES = ("critical", "warning", "info")
STATES = ("active", "firing", "pending", "acknowledged", "snoozed", "resolved", "shadow")
HIDDEN_LABELS = frozenset({"alertname", "severity"})
_PAIR = re.compile(r'([a-zA-Z_]\w*)=("?)(.*)\2')
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
    told, muted = _told(alerts), _muted(alerts)
    states, severities = _numbers(wanted, at)
    found = [_row(alert, told.get(alert.pk, {}), muted.get(alert.pk, ""), at) for alert in alerts]
    return Listing(found, shown, wanted, states, severities, paginator.count >= REACH)


def _matching(wanted: Wanted, at: datetime) -> QuerySet[Alert]:
    rows = Alert.objects.filter(_state(wanted.state, at))
    if wanted.severities:
        rows = rows.filter(severity__in=wanted.severities)
    if wanted.rule_id:
        rows = rows.filter(rule_id=wanted.rule_id)
    return rows.filter(_search(wanted.text))


def _state(state: str, at: datetime) -> Q:
    is_told = Q(is_shadow=False)
    active = Q(state__in=[Alert.State.FIRING, Alert.State.PENDING])
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
    by_severity = Case(
        *(When(severity=name, then=Value(rank)) for rank, name in enumerate(SEVERITIES)),
        default=Value(len(SEVERITIES)),
        output_field=IntegerField(),
    )
    # What has resolved is history, and history is read from its end.
    is_over = Case(When(state=Alert.State.RESOLVED, then=Value(0)), default=by_severity, output_field=IntegerField())
    related = rows.select_related("rule__group__clock", "acknowledged_by")
    return related.order_by(by_state, is_over, "-fired_at", "-id")


def _numbers(wanted: Wanted, at: datetime) -> tuple[dict[str, int], dict[str, int]]:
    """How many alerts each chip would show, but for the history, which may be long."""
    active = Alert.objects.filter(state__in=[Alert.State.FIRING, Alert.State.PENDING]).order_by()
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


def _row(alert: Alert, told: dict[str, Any], muted: str, at: datetime) -> Row:
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
