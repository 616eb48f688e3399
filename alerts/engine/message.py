"""What a notification says, as a value; the renderers for each way out only choose the words' dress.

A Message is made once from the group at a tick and holds plain text: nothing in it is escaped, cut or trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from alerts.engine.message_words import join_shown, quantity
from alerts.engine.muting import SEVERITY_ORDER
from monitoring.promql import Labels

Status = Literal["firing", "resolved"]
ALERTNAME = "alertname"
# What an alert is about, most telling first; the first of each tuple that is there is shown.
_SUBJECTS = (("model_name", "model"), ("model_version", "version"), ("host", "instance", "node"), ("gpu", "device"))
# Slack allows 75 characters in the value of a menu's option; the verb before it needs the rest.
ACTION_ID_CHARS = 60
_SORT_FIRST = ("job", "instance")


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert of a message: what it is, how far over its limit, since when, and where to look."""

    labels: Labels
    fingerprint: str
    starts_at: datetime
    ends_at: datetime | None = None  # when it resolved; None while it fires
    annotations: Mapping[str, str] = field(default_factory=dict)
    generator_url: str = ""
    value: float | None = None  # now, also when resolved
    operator: str = ">"
    limit: float | None = None
    unit: str = ""  # of value, limit and peak, as `quantity` reads it: "bytes", "bytes/s", "ratio" (0 to 1), a word
    limit_reason: str = ""  # which threshold row gave the limit, and why
    peak: float | None = None
    state: str = ""  # more than firing or resolved: "no data", "acknowledged by ana"
    is_new: bool = False  # not in the last message about this group
    graph_url: str = ""

    @property
    def is_resolved(self) -> bool:
        """Whether it has ended."""
        return self.ends_at is not None

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels.get(ALERTNAME) or "alert"

    @property
    def severity(self) -> str:
        """The severity label, "" when there is none."""
        return self.labels.get("severity")

    @property
    def summary(self) -> str:
        """The summary annotation, else the message one, which older rules use."""
        return self.annotations.get("summary") or self.annotations.get("message", "")

    @property
    def description(self) -> str:
        """The description annotation."""
        return self.annotations.get("description", "")

    @property
    def runbook_url(self) -> str:
        """The runbook annotation, under any of its common names."""
        return next(
            (self.annotations[n] for n in ("runbook_url", "runbook", "runbookUrl") if n in self.annotations), ""
        )

    def measure(self) -> str:
        """The value against its limit, such as "0.91 s > 0.8 s"; "" when there is no value."""
        if self.value is None:
            return ""
        now = quantity(self.value, self.unit)
        if self.is_resolved:
            limit = f"limit {quantity(self.limit, self.unit)}" if self.limit is not None else ""
            peak = f"peak {quantity(self.peak, self.unit)}" if self.peak is not None else ""
            return join_shown((f"now {now}", limit, peak), ", ")
        return f"{now} {self.operator} {quantity(self.limit, self.unit)}" if self.limit is not None else f"value {now}"

    def duration_seconds(self, at: datetime) -> float:
        """How long it has been firing at `at`, or how long it fired."""
        return ((self.ends_at or at) - self.starts_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Custom:
    """Texts of an imported receiver, already expanded, which take the place of ours."""

    title: str = ""
    text: str = ""
    color: str = ""
    title_link: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """All that is told to one receiver about one group at one tick."""

    status: Status
    title: str  # rule and main label, without the severity
    severity: str  # the highest of those that fire, of all when none does
    alerts: tuple[AlertLine, ...]  # sorted as upstream does (AG-9)
    group_labels: Labels
    common_labels: Labels
    common_annotations: Mapping[str, str]
    receiver: str
    at: datetime
    group_key: str = ""
    upstream_key: str = ""
    external_url: str = ""
    group_url: str = ""  # the portal's page of this group
    outbox_id: str = ""  # found again in the message's metadata after a lost answer (SL-10)
    action_id: str = ""  # opaque; buttons carry it, and everything else is looked up (SL-8)
    route: str = ""
    owner: str = ""
    acknowledged_by: str = ""
    notes: tuple[str, ...] = ()  # "may be a repeat", "2 more are silenced"
    custom: Custom = field(default_factory=Custom)

    @property
    def firing(self) -> tuple[AlertLine, ...]:
        """The alerts that fire."""
        return tuple(alert for alert in self.alerts if not alert.is_resolved)

    @property
    def resolved(self) -> tuple[AlertLine, ...]:
        """The alerts that have ended."""
        return tuple(alert for alert in self.alerts if alert.is_resolved)

    @property
    def graph_url(self) -> str:
        """The graph of the first alert that has one."""
        return next((url for alert in self.alerts if (url := alert.graph_url or alert.generator_url)), "")

    @property
    def runbook_url(self) -> str:
        """The runbook of the first alert that has one."""
        return next((alert.runbook_url for alert in self.alerts if alert.runbook_url), "")

    @property
    def headline(self) -> str:
        """The one line a phone shows: severity or resolved, rule, main label, and how many."""
        many = f" ({len(self.firing)} firing)" if len(self.firing) > 1 else ""
        if self.status == "resolved" and len(self.alerts) > 1:
            many = f" ({len(self.alerts)} alerts)"
        return f"{self.word}: {self.title}{many}"

    @property
    def word(self) -> str:
        """The first word of the headline: "Critical", "Resolved", "No data" for a problem that ended for lack of it."""
        if self.status == "resolved":
            gone = self.alerts and all(alert.state == "no data" for alert in self.alerts)
            return "Ended without data" if gone else "Resolved"
        severity = self.severity or "firing"
        word = severity[:1].upper() + severity[1:]
        return f"{word}, acknowledged by {self.acknowledged_by}" if self.acknowledged_by else word


def build(
    alerts: Iterable[AlertLine],
    *,
    group_labels: Labels,
    receiver: str,
    at: datetime,
    severity_order: Sequence[str] = SEVERITY_ORDER,
    group_key: str = "",
    upstream_key: str = "",
    external_url: str = "",
    group_url: str = "",
    outbox_id: str = "",
    action_id: str = "",
    route: str = "",
    owner: str = "",
    acknowledged_by: str = "",
    notes: Sequence[str] = (),
    custom: Custom | None = None,
) -> Message:
    """The message about `alerts`, at least one: sorted, with what they have in common and a title.

    Raises ValueError without alerts or with an action_id above 60 characters.
    `at` is the tick; spans such as "for 12 min" end there. `severity_order` is lowest first.
    """
    lines = tuple(sorted(alerts, key=_sort_key))
    if not lines:
        raise ValueError("a message needs at least one alert")
    if len(action_id) > ACTION_ID_CHARS:
        raise ValueError(f"action_id has {len(action_id)} characters, buttons take {ACTION_ID_CHARS}")
    firing = [line for line in lines if not line.is_resolved]
    common = _common([line.labels for line in lines])
    return Message(
        status="firing" if firing else "resolved",
        title=_title(lines, common, group_labels),
        severity=_highest([line.severity for line in firing or lines], severity_order),
        alerts=lines,
        group_labels=group_labels,
        common_labels=Labels.of(common),
        common_annotations=_common([line.annotations.items() for line in lines]),
        receiver=receiver,
        at=at,
        group_key=group_key,
        upstream_key=upstream_key,
        external_url=external_url,
        group_url=group_url,
        outbox_id=outbox_id,
        action_id=action_id,
        route=route,
        owner=owner,
        acknowledged_by=acknowledged_by,
        notes=tuple(notes),
        custom=custom or Custom(),
    )


def alert_key(labels: Labels) -> str:
    """The short name by which metadata lists an alert: alertname, and its `tok` label when it has one."""
    token = labels.get("tok")
    return f"{labels.get(ALERTNAME) or '?'}/{token}" if token else labels.get(ALERTNAME) or "?"


def subject(labels: Iterable[tuple[str, str]], without: Iterable[tuple[str, str]] = ()) -> str:
    """What an alert is about in a few words: model@version, host, GPU; pairs of `without` are taken as known."""
    return join_shown(_subject_words(_subject_pairs(labels, without)))


def subject_details(labels: Iterable[tuple[str, str]]) -> str:
    """What `subject` adds to the main label, which the title already names: the host and GPU of a model's alert."""
    return join_shown(_subject_words(_subject_pairs(labels, ()))[1:])


def rest_of_labels(labels: Iterable[tuple[str, str]], without: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """The labels that `subject`, the headline and `without` do not already show, in order."""
    pairs = list(labels)
    shown = {*without, *_subject_pairs(pairs, without)}
    return [pair for pair in pairs if pair not in shown and pair[0] not in (ALERTNAME, "severity")]


def _subject_pairs(labels: Iterable[tuple[str, str]], without: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    known = set(without)
    own = {name: value for name, value in labels if (name, value) not in known}
    found = (next(((name, own[name]) for name in names if name in own), None) for names in _SUBJECTS)
    return [pair for pair in found if pair]


def _subject_words(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The main label first; a version joins its model, as in ranker@12."""
    said: list[str] = []
    for name, value in pairs:
        if name in _SUBJECTS[1]:
            said = [f"{said[0]}@{value}"] if said else [f"version {value}"]
        else:
            said.append(f"GPU {value}" if name == "gpu" else value)
    return said


def _title(lines: Sequence[AlertLine], common: Mapping[str, str], group_labels: Labels) -> str:
    names = list(dict.fromkeys(line.name for line in lines))
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    about = _subject_words(_subject_pairs(common.items(), ()))[:1]
    return join_shown((name, *(about or [v for n, v in group_labels if n not in (ALERTNAME, "severity")])))


def _highest(severities: Sequence[str], order: Sequence[str]) -> str:
    """The severity that ranks highest; one that `order` does not know ranks below all that it does."""
    rank = {severity: position for position, severity in enumerate(order)}
    return max(severities, key=lambda severity: (rank.get(severity, -1), bool(severity)), default="")


def _common(sets: Sequence[Iterable[tuple[str, str]]]) -> dict[str, str]:
    """The pairs that all of `sets` hold, in the order of the first."""
    common = dict(sets[0])
    for pairs in sets[1:]:
        if not common:
            break
        other = dict(pairs)
        common = {name: value for name, value in common.items() if other.get(name) == value}
    return common


def _sort_key(line: AlertLine) -> tuple[object, ...]:
    return (*(line.labels.get(name) for name in _SORT_FIRST), tuple(line.labels))


def parts(message: Message) -> list[tuple[str, tuple[AlertLine, ...]]]:
    """The alerts under the headings New, Still firing (or Firing, when nothing was told before) and Resolved."""
    fresh = tuple(alert for alert in message.firing if alert.is_new)
    known = tuple(alert for alert in message.firing if not alert.is_new)
    headed = [("New", fresh), ("Still firing", known)] if fresh and known else [("Firing", fresh or known)]
    return [(heading, alerts) for heading, alerts in [*headed, ("Resolved", message.resolved)] if alerts]
