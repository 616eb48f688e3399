"""A dispatcher in memory with a clock of its own: plays a scenario of the alert bench through the engine alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.engine.durations import parse_duration
from alerts.engine.fingerprint import InvalidAlert, PostedAlert, accept, fingerprint, merge
from alerts.engine.intervals import TimeInterval, parse_interval
from alerts.engine.matching import parse_alertmanager_matchers
from alerts.engine.message import alert_key
from alerts.engine.muting import Inhibitor, InhibitRule, Muter, Subject
from alerts.engine.routing import Destination, RouteNode, resolve_tree
from alerts.engine.silences import Silence, can_update, check_silence, expire
from alerts.engine.timing import (
    GroupView,
    LogEntry,
    TimingSettings,
    decide,
    first_tick,
    is_swept,
    next_tick,
    tick_after_arrival,
)
from monitoring.promql import Matcher

SUNDAY = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ACTIONS = frozenset(("at", "post", "post_bulk", "silence", "expire", "http", "check_alerts", "check_silences"))
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


@dataclass(frozen=True)
class Told:
    """One message: when, in seconds of the scenario, to whom, about what."""

    at: float
    receiver: str
    firing: list[str]
    resolved: list[str]
    group: Mapping[str, str]


@dataclass
class _Group:
    destination: Destination
    next_tick_at: datetime
    has_ticked: bool = False
    emptied_at: datetime | None = None
    alerts: dict[str, PostedAlert] = field(default_factory=dict)
    log: LogEntry | None = None


class Replay:
    """One run of a scenario for one kind of integration, "slack" or "webhook"."""

    def __init__(self, scenario: Mapping[str, Any], integration: str) -> None:
        self.start = SUNDAY.replace(second=scenario.get("align", {}).get("second", 0))
        config = self._filled(scenario["alertmanager"])
        self.scenario = self._filled(scenario)
        self.tree = resolve_tree(_nodes(config["route"]))
        self.rules = [_inhibit_rule(raw) for raw in config.get("inhibit_rules", [])]
        self.intervals = _intervals(config)
        self.send_resolved = _send_resolved(config, integration)
        self.resolve_timeout = parse_duration(config.get("global", {}).get("resolve_timeout", "5m"))
        self.alerts: dict[str, PostedAlert] = {}
        self.groups: dict[str, _Group] = {}
        self.silences: dict[str, Silence] = {}
        self.names: dict[str, str] = {}
        self.told: list[Told] = []

    def run(self) -> list[Told]:
        """All messages of the scenario, in order."""
        for event in sorted(self.scenario["timeline"], key=_event_time):
            at = self.start + timedelta(seconds=_event_time(event))
            self._tick_until(at)
            for action, value in event.items():
                if action in ("post", "post_bulk", "silence", "expire"):
                    getattr(self, f"_{action}")(value, at)
        self._tick_until(self.start + timedelta(seconds=self.scenario["duration"]))
        return self.told

    def _tick_until(self, until: datetime) -> None:
        while due := [group for group in self.groups.values() if group.next_tick_at < until]:
            group = min(due, key=lambda one: one.next_tick_at)
            self._tick(group, group.next_tick_at)

    def _tick(self, group: _Group, at: datetime) -> None:
        muter = self._muter(at)
        where = group.destination
        sets: dict[tuple[bool, bool], set[str]] = {}
        for key, alert in group.alerts.items():
            resolved = alert.is_resolved(at)
            subject = Subject(alert.labels, is_resolved=resolved)
            muted = muter.reason(subject, where.active_intervals, where.mute_intervals) is not None
            sets.setdefault((muted, resolved), set()).add(key)
        named = [frozenset(sets.get(kind, ())) for kind in ((False, False), (False, True), (True, False), (True, True))]
        view = GroupView(*named, muted_words="muted")
        settings = TimingSettings(
            where.group_interval_seconds, where.repeat_interval_seconds, self.send_resolved[where.receiver]
        )
        decision = decide(view, group.log, at, settings)
        if decision.send:
            self._tell(group, decision.firing, decision.resolved, at)
        group.log = decision.log_after
        for key in view.dropped_after:
            del group.alerts[key]
        group.has_ticked = True
        group.emptied_at = None if group.alerts else (group.emptied_at or at)
        group.next_tick_at = next_tick(at, at, where.group_interval_seconds).at

    def _tell(self, group: _Group, firing: frozenset[str], resolved: frozenset[str], at: datetime) -> None:
        named = [sorted(alert_key(group.alerts[key].labels) for key in keys) for keys in (firing, resolved)]
        seconds = (at - self.start).total_seconds()
        where = group.destination
        self.told.append(Told(seconds, where.receiver, named[0], named[1], where.group_labels.as_dict()))

    def _muter(self, at: datetime) -> Muter:
        inhibitor = Inhibitor(self.rules)
        for alert in self.alerts.values():
            inhibitor.add(Subject(alert.labels, is_resolved=alert.is_resolved(at)))
        return Muter(at, inhibitor, self.silences.values(), self.intervals)

    def _post(self, alerts: list[dict[str, Any]], at: datetime) -> None:
        for raw in alerts:
            values = _posted(raw, at)
            try:
                alert = accept(at=at, resolve_timeout_seconds=self.resolve_timeout, **values)
            except InvalidAlert:
                continue
            self._take(alert, at)

    def _post_bulk(self, value: dict[str, Any], at: datetime) -> None:
        ends = {"ends": value["ends"]} if "ends" in value else {}
        rows = [{"alert": f"{value['alert']}/{i:05d}", **ends} for i in range(value["n"])]
        labels = [{**value.get("labels", {}), "g": f"g{i % value.get('groups', 1):04d}"} for i in range(value["n"])]
        self._post([{**row, "labels": own} for row, own in zip(rows, labels, strict=True)], at)

    def _take(self, alert: PostedAlert, at: datetime) -> None:
        key = fingerprint(alert.labels)
        alert = self.alerts[key] = merge(self.alerts.get(key), alert, at)
        for where in self.tree.match(alert.labels):
            group = self.groups.get(where.group_key)
            if group is not None and group.emptied_at is not None and is_swept(group.emptied_at, at):
                fresh = _Group(where, first_tick(alert.starts_at, at, where.group_wait_seconds), log=group.log)
                group = self.groups[where.group_key] = fresh
            if group is None:
                group = _Group(where, first_tick(alert.starts_at, at, where.group_wait_seconds))
                self.groups[where.group_key] = group
            group.next_tick_at = tick_after_arrival(
                group.next_tick_at, group.has_ticked, alert.starts_at, at, where.group_wait_seconds
            )
            group.alerts[key] = alert
            group.emptied_at = None

    def _silence(self, value: dict[str, Any], at: datetime) -> None:
        matchers = tuple(Matcher(op, name, text) for name, op, text in value["matchers"])
        starts, ends = (_moment(value.get(name, 0), at) for name in ("starts", "ends"))
        new = check_silence(Silence(str(len(self.silences)), matchers, starts, ends), at)
        old = self.silences.get(self.names.get(value.get("id", ""), ""))
        if old is not None and can_update(old, new, at):
            new = replace(new, id=old.id)
        elif old is not None:
            self.silences[old.id] = expire(old, at)
        self.silences[new.id] = new
        self.names[value.get("as", "")] = new.id

    def _expire(self, name: str, at: datetime) -> None:
        self.silences[self.names[name]] = expire(self.silences[self.names[name]], at)

    def _filled(self, raw: Any) -> Any:
        """The scenario with ${HHMM}, ${WEEKDAY} and their kin filled in."""
        if isinstance(raw, dict):
            return {key: self._filled(value) for key, value in raw.items()}
        if isinstance(raw, list):
            return [self._filled(value) for value in raw]
        if not isinstance(raw, str):
            return raw
        text = re.sub(r"\$\{HHMM([+-]\d+)?\}", lambda m: f"{self.start + timedelta(minutes=int(m[1] or 0)):%H:%M}", raw)
        day = self.start.isoweekday() % 7
        return text.replace("${WEEKDAY}", _DAYS[day]).replace("${OTHERDAY}", _DAYS[(day + 3) % 7])


def faults(scenario: Mapping[str, Any], told: list[Told], integration: str) -> Iterator[str]:
    """What the bench's judge would not accept of `told`, by its rules for the portal."""
    expected = {**scenario.get("expect", {}), **scenario.get("expect_portal", {})}
    left = list(told)
    for want in expected.get("notifications", ()):
        found = next(
            (one for one in left if want.get("via", integration) == integration and _is_wanted(one, want)), None
        )
        if found is not None:
            left.remove(found)
        elif not want.get("optional") and want.get("via", integration) == integration:
            yield f"missing {want}"
    counts = [count for count in expected.get("count", ()) if count.get("via", integration) == integration]
    for count in counts:
        yield from _count_faults(count, told)
    counted = {count["receiver"] for count in expected.get("count", ())}
    if not expected.get("allow_extra"):
        yield from (f"extra {one}" for one in left if one.receiver not in counted)


def _is_wanted(one: Told, want: Mapping[str, Any]) -> bool:
    tolerance = want.get("tol", 1.5)
    earliest, latest = want.get("min", want.get("t", 0) - tolerance), want.get("max", want.get("t", 0) + tolerance)
    return (
        one.receiver == want["receiver"]
        and (one.firing, one.resolved) == (sorted(want.get("firing", ())), sorted(want.get("resolved", ())))
        and all(one.group.get(name) == str(value) for name, value in want.get("group", {}).items())
        and earliest <= one.at <= latest
    )


def _count_faults(count: Mapping[str, Any], told: list[Told]) -> Iterator[str]:
    seen = [
        one
        for one in told
        if one.receiver == count["receiver"] and count.get("from", 0) <= one.at <= count.get("to", 1e9)
        and count.get("status") in (None, "firing" if one.firing else "resolved")
    ]  # fmt: skip
    wanted = count["notifications"]
    low, high = wanted if isinstance(wanted, list) else (wanted, wanted)
    alerts = sum(len(one.firing) + len(one.resolved) for one in seen)
    if not low <= len(seen) <= high or alerts != count.get("alerts", alerts):
        yield f"{len(seen)} messages with {alerts} alerts, wanted {count}"


def _event_time(event: Mapping[str, Any]) -> float:
    return -1.0 if event["at"] == "init" else float(event["at"])


def _moment(value: Any, at: datetime) -> datetime:
    return at if value == "now" else at + timedelta(seconds=float(value))


def _posted(raw: dict[str, Any], at: datetime) -> dict[str, Any]:
    if "raw" in raw:
        times = {"startsAt": "starts_at", "endsAt": "ends_at"}
        values = {times[name]: datetime.fromisoformat(raw["raw"][name]) for name in times if name in raw["raw"]}
        return {"labels": raw["raw"].get("labels", {}), **values}
    name, _, token = raw["alert"].partition("/")
    labels = {"alertname": name, **({"tok": token} if token else {}), **raw.get("labels", {})}
    values = {"labels": {key: str(value) for key, value in labels.items()}, "annotations": raw.get("annotations", {})}
    if "starts" in raw:
        values["starts_at"] = _moment(raw["starts"], at)
    if raw.get("ends") is not None:
        values["ends_at"] = _moment(raw["ends"], at)
    return values


def _nodes(raw: Mapping[str, Any], parent_id: int | None = None, ids: list[int] | None = None) -> list[RouteNode]:
    ids = [] if ids is None else ids
    ids.append(len(ids))
    seconds = {
        f"{name}_seconds": parse_duration(raw[name]) if name in raw else None
        for name in ("group_wait", "group_interval", "repeat_interval")
    }
    texts = [*raw.get("matchers", ()), *(f"{n}={v}" for n, v in raw.get("match", {}).items())]
    texts += [f"{name}=~{value}" for name, value in raw.get("match_re", {}).items()]
    node = RouteNode(
        ids[-1], parent_id, ids[-1], receiver=raw.get("receiver"), continues=raw.get("continue", False),
        matchers=_matchers(texts), group_by=tuple(raw.get("group_by", ())),
        mute_intervals=tuple(raw.get("mute_time_intervals", ())),
        active_intervals=tuple(raw.get("active_time_intervals", ())), **seconds,
    )  # fmt: skip
    return [node, *(row for child in raw.get("routes", ()) for row in _nodes(child, node.id, ids))]


def _matchers(texts: list[str]) -> tuple[Matcher, ...]:
    return tuple(matcher for text in texts for matcher in parse_alertmanager_matchers(text))


def _inhibit_rule(raw: Mapping[str, Any]) -> InhibitRule:
    sides = []
    for side in ("source", "target"):
        texts = [*raw.get(f"{side}_matchers", ()), *(f"{n}={v}" for n, v in raw.get(f"{side}_match", {}).items())]
        sides.append(_matchers(texts + [f"{n}=~{v}" for n, v in raw.get(f"{side}_match_re", {}).items()]))
    return InhibitRule("rule", sides[0], sides[1], tuple(raw.get("equal", ())))


def _intervals(config: Mapping[str, Any]) -> dict[str, list[TimeInterval]]:
    rows = [*config.get("time_intervals", ()), *config.get("mute_time_intervals", ())]
    return {row["name"]: [parse_interval(one) for one in row["time_intervals"]] for row in rows}


def _send_resolved(config: Mapping[str, Any], integration: str) -> dict[str, bool]:
    """What each receiver wants; unset is upstream's default (AD-9)."""
    rows = [row if isinstance(row, dict) else {"name": row} for row in config["receivers"]]
    said = {row["name"]: row.get("send_resolved", True) for row in rows}
    return {name: integration == "webhook" if value == "unset" else bool(value) for name, value in said.items()}
