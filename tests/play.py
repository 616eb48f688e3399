"""Plays an alerting scenario in simulated time through routing, flushing and delivery into servers on loopback.

Hides the scenario's notation: its Alertmanager configuration becomes rows, its posts become alerts, its faults become
modes of the servers. Time jumps from one thing that is due to the next.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from django.test import Client

from alerts import amfile, amingest, amlease, deliver, dispatch, housekeeping
from alerts.engine.matching import format_matchers
from alerts.models import Group, Notification, Silence
from monitoring.promql import Matcher
from tests.fakes import FakeSlack, FakeWebhook

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
LINE = re.compile(r"(firing|resolved) (\S+)")
TITLE = "[{{ .Status }}] {{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}"
TEXT = '{{ range .Alerts }}{{ .Status }} {{ .Labels.alertname }}/{{ .Labels.tok }}{{ "\\n" }}{{ end }}'
PLAYED = {
    "at", "post", "post_bulk", "silence", "receiver", "expire", "check_alerts", "check_silences", "http", "reload_am",
}  # fmt: skip
SWEEP_SECONDS = 30.0


def load(path: Path) -> dict[str, Any]:
    """A scenario with its placeholders filled in for a start on the minute's second that it asks for."""
    text = path.read_text()
    second = int((yaml.safe_load(text).get("align") or {}).get("second", 0))
    start = NOON + timedelta(seconds=second)
    words = {"WEEKDAY": f"{start:%A}".lower(), "OTHERDAY": f"{start + timedelta(days=3):%A}".lower()}
    words |= {f"HHMM+{n}" if n else "HHMM": f"{start + timedelta(minutes=n):%H:%M}" for n in range(10)}
    scenario = yaml.safe_load(re.sub(r"\$\{([^}]+)\}", lambda found: words[found[1]], text))
    return dict(scenario) | {"start": start}


def why_not(scenario: dict[str, Any]) -> str:
    """Why a scenario cannot be played here, "" when it can."""
    actions = {name for event in scenario["timeline"] for name in event} - PLAYED
    if actions:
        return f"needs {', '.join(sorted(actions))}"
    if any("silence" in event.get("http", {}).get("path", "") for event in scenario["timeline"]):
        return "asks the API about silences, which has a clock of its own"
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
        amlease.settle(self.at())
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
        """Import the scenario's configuration, its short receivers written out as the bench does."""
        receivers = [self._receiver({"name": raw} if isinstance(raw, str) else raw)
                     for raw in config.get("receivers", ["default"])]  # fmt: skip
        text = yaml.safe_dump(config | {"receivers": receivers}, sort_keys=False)
        amfile.keep(amfile.read(text), "alertmanager.yml", self.at())

    def _receiver(self, raw: dict[str, Any]) -> dict[str, Any]:
        wants = raw.get("send_resolved", True)
        resolved = {} if wants == "unset" else {"send_resolved": bool(wants)}
        ways = [] if raw.get("empty") else raw.get("via", ["slack", "webhook"])
        found: dict[str, Any] = {"name": raw["name"]}
        if "slack" in ways:
            url = self.slack.webhook_url(raw["name"])
            slack = {"api_url": url, "channel": f"#{raw['name']}", "title": TITLE, "text": TEXT}
            found["slack_configs"] = [slack | resolved | raw.get("slack", {})]
        if "webhook" in ways:
            found["webhook_configs"] = [{"url": self.hook.hook_url(raw["name"])} | resolved | raw.get("webhook", {})]
        return found

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
        if "reload_am" in event:
            self._configure(event["reload_am"])
        if silence := event.get("silence"):
            self._silence(silence)
        if "expire" in event:
            Silence.objects.filter(pk=self.silences[event["expire"]].pk).update(ends_at=self.at())
        for who, mode in event.get("receiver", {}).items():
            self._fault(who, mode)
        if asked := event.get("http"):
            body = json.dumps(asked.get("body"))
            answer = Client().generic(asked.get("method", "GET"), asked["path"], body, "application/json")
            assert answer.status_code == asked.get("status", 200), (asked, answer.content)

    def _rel(self, value: Any) -> datetime | None:
        return None if value is None else self.at() + timedelta(seconds=0 if value == "now" else float(value))

    def _post(self, items: list[dict[str, Any]]) -> None:
        if not items:
            return
        outcome = amingest.ingest([self._posted(item) for item in items], self.at())
        assert bool(outcome.problems) == any(item.get("expect_status", 200) != 200 for item in items), outcome

    def _posted(self, item: dict[str, Any]) -> dict[str, Any]:
        if "raw" in item:
            return dict(item["raw"])
        name, _, tok = item["alert"].partition("/")
        labels = {"alertname": name} | ({"tok": tok} if tok else {}) | item.get("labels", {})
        posted: dict[str, Any] = {"labels": labels, "annotations": item.get("annotations", {})}
        for word, key in (("startsAt", "starts"), ("endsAt", "ends")):
            at = self._rel(item.get(key))
            posted |= {word: at.isoformat()} if at else {}
        return posted

    def _silence(self, raw: dict[str, Any]) -> None:
        row = Silence.objects.create(
            matchers=[format_matchers([Matcher(op, name, value)])[1:-1] for name, op, value in raw["matchers"]],
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


def _identity(labels: dict[str, str]) -> str:
    return f"{labels['alertname']}/{labels.get('tok', '')}"


def _texts(value: Any) -> list[str]:
    """Every text inside a payload, once."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(text for part in parts for text in _texts(part)))
