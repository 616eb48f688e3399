"""Who would be told of a rule as it is typed, and what they would read: nothing is saved, nobody is told.

The message speaks of a real series, by the code that composes messages; routes are asked for what the rule finds now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alerts import compose, escalation_policies, policy, trial
from alerts.condition import Finding
from alerts.engine.durations import format_duration
from alerts.engine.escalation import Policy
from alerts.engine.identity import SEVERITY
from alerts.engine.message import Message
from alerts.engine.routing import Destination, RouteError
from alerts.engine.thresholds import NO_ROW
from alerts.graph import names_of
from alerts.models import Integration
from alerts.prepared import PreparedRule
from alerts.rule_glance import way_name
from alerts.trial import Trial
from monitoring.promql import Labels

# Series asked about, per severity: the routes of more are those of these, as good as always.
MOST_SERIES = 300
# Buttons are shown only for a message that the outbox knows.
_ACTION = "preview"


@dataclass(frozen=True)
class Hearer:
    """One route that takes alerts of the rule, and whom it tells, in words."""

    receiver: str
    route: str
    route_id: int
    ways: tuple[str, ...]
    severities: str  # which of the rule's, "" when it has none
    series: int  # how many of the series asked about, one for each severity
    wait: str  # from firing to the first message
    times: str  # the time intervals that hold messages back
    chain: tuple[str, ...]  # whom the escalation tells when nobody acknowledges, and after how long


@dataclass(frozen=True)
class Told:
    """The answer for a rule: who hears of it, and the message about one series."""

    series: str = ""
    is_past: bool = False  # whether the series is past its limit now; else the message is what it would be
    message: Message | None = None
    hearers: tuple[Hearer, ...] = ()
    dropped: int = 0  # alerts that relabelling drops
    problem: str = ""


def told(prepared: PreparedRule, finding: Finding, behind: tuple[Sequence[Labels], Sequence[float]]) -> Told:
    """Who would be told of what the rule finds, and how it would read for the series nearest to its limit.

    behind: labels and values that a plain condition compares, for when it is false; a rule without any series is told
    by its own labels alone, without a message.
    """
    one = _one(prepared, finding, behind)
    try:
        routing = policy.routing()
        identities = _identities(prepared, finding, behind[0] if one is not None else [Labels.of({})])
        hearers, dropped = _hearers(routing, prepared, identities)
        message = _message(routing, one, finding) if one is not None else None
    except RouteError as error:
        return Told(problem=f"The route tree cannot be used: {error}")
    name, is_past = (names_of([one.element])[0], one.is_past) if one is not None else ("", False)
    return Told(name, is_past, message, tuple(hearers), dropped)


def _one(prepared: PreparedRule, finding: Finding, behind: tuple[Sequence[Labels], Sequence[float]]) -> Trial | None:
    """The series to speak of: the one nearest to its limit."""
    if len(finding.labels):
        return trial.choose(prepared, finding)
    if len(behind[0]):
        severity = prepared.rule.labels.get(SEVERITY, "")
        return Trial(prepared.rule, prepared, behind[0][0], float(behind[1][0]), severity)
    return None


def _identities(prepared: PreparedRule, finding: Finding, behind: Sequence[Labels]) -> Iterator[tuple[str, Labels]]:
    """Severity and labels of the alerts that the series would be."""
    if finding.resolution is None:
        elements = list(finding.labels or behind)[:MOST_SERIES]
        for identity in prepared.identities.many(elements, [0.0] * len(elements)):
            yield identity.get(SEVERITY), identity
        return
    for severity, winners in finding.resolution.winners.items():
        ruled = [one for one, row in zip(finding.identities[severity], winners.tolist(), strict=True) if row != NO_ROW]
        for identity in ruled[:MOST_SERIES]:
            yield severity, identity


def _hearers(
    routing: policy.Routing, prepared: PreparedRule, identities: Iterator[tuple[str, Labels]]
) -> tuple[list[Hearer], int]:
    """The routes in the order of the tree, and how many alerts are dropped on the way (PN-6)."""
    taken: dict[int, list[tuple[str, Labels, Destination]]] = {}
    dropped = 0
    for severity, identity in identities:
        labels = prepared.outgoing.labels(identity)
        if labels is None:
            dropped += 1
            continue
        for found in routing.tree.match(labels):
            taken.setdefault(found.route_id, []).append((severity, labels, found))
    ways = _ways({rows[0][2].receiver for rows in taken.values()})
    book = escalation_policies.book()
    hearers = []
    for route_id in (one for one in routing.routes if one in taken):
        rows = taken[route_id]
        _, labels, found = rows[0]
        severities = dict.fromkeys(severity for severity, _, _ in rows if severity)
        hearers.append(
            Hearer(
                found.receiver, routing.routes[route_id].title, route_id, tuple(ways.get(found.receiver, ())),
                " and ".join(severities), len(rows), format_duration(found.group_wait_seconds), _times(found),
                tuple(_chain(book.choose(labels, route_id))),
            )
        )  # fmt: skip
    return hearers, dropped


def _ways(receivers: set[str]) -> dict[str, list[str]]:
    """The ways out of each receiver as people name them: a channel, an address."""
    found: dict[str, list[str]] = {}
    rows = Integration.objects.filter(receiver__name__in=receivers, is_enabled=True).select_related("receiver")
    for row in rows.order_by("pk"):
        found.setdefault(row.receiver.name, []).append(way_name(row))
    return found


def _times(found: Destination) -> str:
    parts = [f"not during {', '.join(found.mute_intervals)}" if found.mute_intervals else ""]
    parts.append(f"only during {', '.join(found.active_intervals)}" if found.active_intervals else "")
    return ", ".join(part for part in parts if part)


def _chain(chosen: Policy | None) -> Iterator[str]:
    """Whom each step tells and how long after the first message."""
    after = 0.0
    for step in chosen.steps if chosen else ():
        after += step.wait_seconds
        yield f"{', '.join(target.name for target in step.targets)} after {format_duration(after)}"


def _message(routing: policy.Routing, one: Trial, finding: Finding) -> Message | None:
    """The message of the first route that takes it, in the words of the receiver's first way out."""
    labels = one.told_as
    found = next(iter(routing.tree.match(labels)), None) if labels is not None else None
    if labels is None or found is None:
        return None
    title = routing.routes[found.route_id].title
    message = trial.message(one, labels, found, title, finding.at, action_id=_ACTION)
    way = Integration.objects.filter(receiver__name=found.receiver, is_enabled=True).order_by("pk").first()
    return compose.dressed(message, way) if way is not None else message
