"""Plays an alerting scenario in simulated time through routing, flushing and delivery into servers on loopback.

Hides the scenario's notation: its Alertmanager configuration becomes rows, its posts become alerts, its faults become
modes of the servers. Time jumps from one thing that is due to the next.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from alerts import bulk, deliver, dispatch, housekeeping
from alerts.engine.durations import parse_duration
from alerts.engine.fingerprint import PostedAlert, accept, fingerprint, merge
from alerts.models import Alert, Group, InhibitRule, Integration, Notification, Receiver, Route, Silence, TimeInterval
from tests.fakes import FakeSlack, FakeWebhook

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
LINE = re.compile(r"(firing|resolved) (\S+)")
TEXT = '{{ range .Alerts }}{{ .Status }} {{ .Labels.alertname }}/{{ .Labels.tok }}{{ "\\n" }}{{ end }}'
PLAYED = {"at", "post", "post_bulk", "silence", "receiver", "expire", "check_alerts", "check_silences"}
SWEEP_SECONDS = 30.0


def load(path: Path) -> dict[str, Any]:
    """A scenario with its placeholders filled in for a start on the minute's second that it asks for."""
    text = path.read_text()
    second = int((yaml.safe_load(text).get("align") or {}).get("second", 0))
    start = NOON + timedelta(seconds=second)
    words = {
        "HHMM": f"{start:%H:%M}", "HHMM+1": f"{start + timedelta(minutes=1):%H:%M}",
        "WEEKDAY": f"{start:%A}".lower(), "OTHERDAY": f"{start + timedelta(days=3):%A}".lower(),
    }  # fmt: skip
    scenario = yaml.safe_load(re.sub(r"\$\{([^}]+)\}", lambda found: words[found[1]], text))
    return dict(scenario) | {"start": start}


def why_not(scenario: dict[str, Any]) -> str:
    """Why a scenario cannot be played here, "" when it can."""
    actions = {name for event in scenario["timeline"] for name in event} - PLAYED
    if actions:
        return f"needs {', '.join(sorted(actions))}"
    return "hangs for real seconds" if re.search(r"hang|slow", str(scenario["timeline"])) else ""


@dataclass(frozen=True)
class Told:
    """One accepted message: when, to whom, by which way, about what."""

    t: float
    receiver: str
    via: str
    firing: tuple[str, ...]
    resolved: tuple[str, ...]


@dataclass
class Play:
    """One scenario being played."""

    scenario: dict[str, Any]
    slack: FakeSlack
    hook: FakeWebhook
    now: float = 0.0
    told: list[Told] = field(default_factory=list)
    silences: dict[str, Silence] = field(default_factory=dict)

    def at(self) -> datetime:
        """The simulated time."""
        return self.scenario["start"] + timedelta(seconds=self.now)

    def run(self) -> list[Told]:
        """What was told until the scenario's end."""
        random.seed(self.scenario["id"])  # pauses between tries are spread by chance
        self.slack.clock = lambda: self.now
        self._configure(self.scenario["alertmanager"])
        events = sorted(self.scenario["timeline"], key=lambda event: float(event["at"]))
        next_sweep = SWEEP_SECONDS
        while self.now <= self.scenario["duration"]:
            while events and float(events[0]["at"]) <= self.now:
                self._act(events.pop(0))
            if self.now >= next_sweep:
                housekeeping.sweep_groups()
                next_sweep += SWEEP_SECONDS
            self._work()
            self.now = min([self._next_due(), next_sweep, *(float(event["at"]) for event in events[:1])])
        return self.told

    def _work(self) -> None:
        dispatch.flush_due(self.at())
        while ids := deliver.due(self.at()):
            for pk in ids:
                deliver.send(pk, self.at(), "player", clock=float)
                self._collect()

    def _next_due(self) -> float:
        groups = Group.objects.values_list("next_flush_at", flat=True)
        queued = Notification.objects.filter(state="queued").values_list("not_before", flat=True)
        times = [(at - self.scenario["start"]).total_seconds() for at in [*groups, *queued]]
        return min([max(t, self.now + 0.001) for t in times], default=1e9)

    def _collect(self) -> None:
        """Move what the servers accepted since the last look into `told`."""
        for message in self.slack.posted:
            lines = [match for text in _texts(message.payload) for match in LINE.findall(text)]
            self._note(message.channel, "slack", lines)
        self.slack.posted.clear()
        for request in self.hook.requests:
            if request.accepted:
                alerts = [(one["status"], _identity(one["labels"])) for one in request.data["alerts"]]
                self._note(request.key, "webhook", alerts)
        self.hook.requests.clear()

    def _note(self, receiver: str, via: str, alerts: list[tuple[str, str]]) -> None:
        firing, resolved = ({one.rstrip("/") for status, one in alerts if status == word} for word in WORDS)
        self.told.append(Told(self.now, receiver, via, tuple(sorted(firing)), tuple(sorted(resolved))))

    # The configuration.

    def _configure(self, config: dict[str, Any]) -> None:
        self.timeout = parse_duration(str((config.get("global") or {}).get("resolve_timeout", "5m")))
        for raw in config.get("receivers", ["default"]):
            self._receiver({"name": raw} if isinstance(raw, str) else raw)
        for one in [*config.get("time_intervals", []), *config.get("mute_time_intervals", [])]:
            TimeInterval.objects.create(name=one["name"], spec=one["time_intervals"])
        for rule in config.get("inhibit_rules", []):
            InhibitRule.objects.create(
                source_matchers=_matchers(rule, "source_"), target_matchers=_matchers(rule, "target_"),
                equal=rule.get("equal", []),
            )  # fmt: skip
        self._route(config["route"], None, 0)

    def _receiver(self, raw: dict[str, Any]) -> None:
        receiver = Receiver.objects.create(name=raw["name"])
        urls = {"slack": self.slack.webhook_url(raw["name"]), "webhook": self.hook.hook_url(raw["name"])}
        kinds = {"slack": Integration.Kind.SLACK_WEBHOOK, "webhook": Integration.Kind.WEBHOOK}
        for via in [] if raw.get("empty") else raw.get("via", list(urls)):
            wants = raw.get("send_resolved", True)
            Integration.objects.create(
                receiver=receiver, kind=kinds[via], url=urls[via], text_template=TEXT if via == "slack" else "",
                send_resolved=via == "webhook" if wants == "unset" else bool(wants),
            )  # fmt: skip

    def _route(self, raw: dict[str, Any], parent: Route | None, position: int) -> None:
        waits = {
            f"{name}_seconds": parse_duration(str(raw[name]))
            for name in ("group_wait", "group_interval", "repeat_interval")
            if name in raw
        }
        row = Route.objects.create(
            parent=parent, position=position, matchers=_matchers(raw), goes_on=raw.get("continue", False),
            receiver=Receiver.objects.filter(name=raw.get("receiver")).first(), group_by=raw.get("group_by"), **waits,
        )  # fmt: skip
        row.mute_intervals.set(TimeInterval.objects.filter(name__in=raw.get("mute_time_intervals", [])))
        row.active_intervals.set(TimeInterval.objects.filter(name__in=raw.get("active_time_intervals", [])))
        for place, child in enumerate(raw.get("routes", [])):
            self._route(child, row, place)

    # The actions.

    def _act(self, event: dict[str, Any]) -> None:
        self._post(event.get("post", []))
        if many := event.get("post_bulk"):
            labels = many.get("labels", {})
            self._post([
                {"alert": f"{many['alert']}/{number:05d}", "ends": many.get("ends"),
                 "labels": labels | {"g": f"g{number % many.get('groups', 1):04d}"}}
                for number in range(many["n"])
            ])  # fmt: skip
        if silence := event.get("silence"):
            self._silence(silence)
        if "expire" in event:
            Silence.objects.filter(pk=self.silences[event["expire"]].pk).update(ends_at=self.at())
        for who, mode in event.get("receiver", {}).items():
            self._fault(who, mode)

    def _rel(self, value: Any) -> datetime | None:
        return None if value is None else self.at() + timedelta(seconds=0 if value == "now" else float(value))

    def _post(self, items: list[dict[str, Any]]) -> None:
        if not items:
            return
        posts = [self._accepted(item) for item in items]
        prints = [fingerprint(post.labels) for post in posts]
        known = {row.fingerprint: row for row in Alert.objects.filter(fingerprint__in=prints).order_by("id")}
        rows = [self._ingested(post, known.get(print_)) for post, print_ in zip(posts, prints, strict=True)]
        bulk.insert([row for row in rows if row.pk is None])
        bulk.update([row for row, print_ in zip(rows, prints, strict=True) if known.get(print_) is row], FIELDS)
        dispatch.route(rows, self.at())

    def _accepted(self, item: dict[str, Any]) -> PostedAlert:
        name, _, tok = item["alert"].partition("/")
        labels = {"alertname": name} | ({"tok": tok} if tok else {}) | item.get("labels", {})
        return accept(
            labels, at=self.at(), annotations=item.get("annotations"), starts_at=self._rel(item.get("starts")),
            ends_at=self._rel(item.get("ends")), resolve_timeout_seconds=self.timeout,
        )  # fmt: skip

    def _ingested(self, posted: PostedAlert, row: Alert | None) -> Alert:
        """The row of a posted alert, merged with what was posted before (AI-6, AI-7)."""
        if row is not None:
            old = PostedAlert(posted.labels, row.fired_at, row.ends_at, row.updated_at, is_timeout=row.is_timeout)
            posted = merge(old, posted, self.at())
        is_over = posted.is_resolved(self.at())
        if row is None or (row.state == Alert.State.RESOLVED and not is_over):
            name = posted.labels.get("alertname")
            row = Alert(source=Alert.Source.API, name=name, fingerprint=fingerprint(posted.labels))
        row.labels, row.annotations = posted.labels.as_dict(), dict(posted.annotations)
        row.active_since = row.fired_at = posted.starts_at
        row.ends_at, row.is_timeout, row.updated_at = posted.ends_at, posted.is_timeout, self.at()
        row.state = Alert.State.RESOLVED if is_over else Alert.State.FIRING
        row.resolved_at = posted.ends_at if is_over else None
        return row

    def _silence(self, raw: dict[str, Any]) -> None:
        row = Silence.objects.create(
            matchers=[f'{name}{op}"{value}"' for name, op, value in raw["matchers"]],
            starts_at=self._rel(raw.get("starts", 0)), ends_at=self._rel(raw["ends"]), created_by="bench", comment="b",
        )  # fmt: skip
        self.silences[raw.get("as", "")] = row

    def _fault(self, who: str, mode: Any) -> None:
        name, _, via = who.partition(":")
        given = {"mode": mode} if isinstance(mode, str) else dict(mode)
        word = {"up": "ok"}.get(given["mode"], given["mode"])
        facts = {key: value for key, value in given.items() if key != "mode"}
        for server in [s for s, kind in ((self.slack, "slack"), (self.hook, "webhook")) if via in ("", kind)]:
            server.set_mode(name, word, **facts)


WORDS = ("firing", "resolved")
FIELDS = ["annotations", "active_since", "fired_at", "ends_at", "is_timeout", "updated_at", "state", "resolved_at"]


def faults(scenario: dict[str, Any], told: list[Told]) -> list[str]:
    """Where what was told is not what the scenario expects of the portal, one sentence each."""
    expected = scenario.get("expect", {}) | scenario.get("expect_portal", {})
    found = []
    for via in ("slack", "webhook"):
        left = [one for one in told if one.via == via]
        for wanted in expected.get("notifications", []):
            if wanted.get("via", via) != via or not _has_way(scenario, wanted["receiver"], via):
                continue
            match = next((one for one in left if _fits(wanted, one)), None)
            if match is not None:
                left.remove(match)
            elif not wanted.get("optional"):
                found.append(f"{via}: missing {wanted}")
        for count in expected.get("count", []):
            if count.get("via", via) == via and _has_way(scenario, count["receiver"], via):
                found += _count_faults(via, count, left)
        counted = {count["receiver"] for count in expected.get("count", [])}
        if not expected.get("allow_extra"):
            found += [f"{via}: not expected {one}" for one in left if one.receiver not in counted]
    return found


def _fits(wanted: dict[str, Any], one: Told) -> bool:
    tolerance = wanted.get("tol", 1.5)
    first, last = (wanted.get(name, wanted.get("t", 0) + sign * tolerance) for name, sign in (("min", -1), ("max", 1)))
    what = tuple(tuple(sorted(map(str, wanted.get(word, [])))) for word in WORDS)
    return one.receiver == wanted["receiver"] and (one.firing, one.resolved) == what and first <= one.t <= last


def _count_faults(via: str, count: dict[str, Any], told: list[Told]) -> list[str]:
    some = [
        one for one in told
        if one.receiver == count["receiver"] and count.get("from", 0) <= one.t <= count.get("to", 1e9)
        and count.get("status") in (None, "firing" if one.firing else "resolved")
    ]  # fmt: skip
    low, high = count["notifications"] if isinstance(count["notifications"], list) else (count["notifications"],) * 2
    alerts = sum(len(one.firing) + len(one.resolved) for one in some)
    is_right = low <= len(some) <= high and count.get("alerts", alerts) == alerts
    return [] if is_right else [f"{via}: {len(some)} messages about {alerts} alerts instead of {count}"]


def _has_way(scenario: dict[str, Any], receiver: str, via: str) -> bool:
    for raw in scenario["alertmanager"].get("receivers", ["default"]):
        if isinstance(raw, dict) and raw["name"] == receiver:
            return not raw.get("empty") and via in raw.get("via", ("slack", "webhook"))
    return True


def _matchers(raw: dict[str, Any], prefix: str = "") -> list[str]:
    texts = list(raw.get(f"{prefix}matchers", []))
    texts += [f'{name}="{value}"' for name, value in (raw.get(f"{prefix}match") or {}).items()]
    return texts + [f'{name}=~"{value}"' for name, value in (raw.get(f"{prefix}match_re") or {}).items()]


def _identity(labels: dict[str, str]) -> str:
    return f"{labels['alertname']}/{labels.get('tok', '')}"


def _texts(value: Any) -> list[str]:
    """Every text inside a payload, once."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(text for part in parts for text in _texts(part)))
