"""Who is told next when nobody answers: steps with waits, what stops them, and what an acknowledgement holds back.

A policy is frozen when an incident starts, so that an edit at night changes the next incident and not this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from alerts.engine.intervals import zone
from alerts.engine.matching import format_matchers, matches_all, parse_alertmanager_matchers
from alerts.engine.message_words import moment, span
from alerts.engine.muting import SEVERITY_ORDER
from monitoring.promql import Labels, Matcher

# Waits count from the first delivered message; a channel nobody can reach must escalate, not wait (DL-9).
UNDELIVERED_GRACE_SECONDS = 60.0
MAX_REPEATS = 5  # of the whole chain, as DL-9 bounds it

TargetKind = Literal["receiver", "user", "rota"]
HoldKind = Literal["resolved", "acknowledged", "snoozed", "silenced"]
SnoozeChoice = Literal["1h", "4h", "9am"]


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a step tells: a receiver, a user, or whoever a rota has on call."""

    kind: TargetKind
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """Wait this long after the step before (or after the start), then tell these."""

    wait_seconds: float
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What happens to an unanswered incident whose labels match."""

    id: int
    name: str
    steps: tuple[Step, ...]
    matchers: tuple[Matcher, ...] = ()
    repeats: int = 0  # how often the chain runs again after its last step
    drops_ack_when_worse: bool = True


@dataclass(frozen=True, slots=True)
class Incident:
    """One group's problem from its first message on, as far as escalation needs it."""

    created_at: datetime
    first_delivered_at: datetime | None = None
    restarted_at: datetime | None = None  # the chain began anew: un-acknowledged or worse than when acknowledged
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    snoozed_until: datetime | None = None
    is_resolved: bool = False
    is_silenced: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the current run of the chain came: steps done over all rounds, and when the last of them was due."""

    done: int = 0
    last_due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DueStep:
    """One step to come; `number` counts over all rounds, so (incident, restart, number) makes it unique."""

    number: int
    round: int
    step: Step
    due_at: datetime
    words: str

    def progress(self) -> Progress:
        """The progress once this step is done."""
        return Progress(self.number + 1, self.due_at)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing goes on now, and until when if that is known."""

    kind: HoldKind
    words: str
    until: datetime | None = None


def choose(policies: Sequence[Policy], labels: Labels) -> Policy | None:
    """The first policy whose matchers hold for `labels`."""
    return next((policy for policy in policies if matches_all(policy.matchers, labels)), None)


def freeze(policy: Policy) -> dict[str, Any]:
    """The policy as plain JSON values, to keep with the incident; `thaw` makes an equal policy of it."""
    return {
        "id": policy.id,
        "name": policy.name,
        "matchers": format_matchers(policy.matchers),
        "steps": [
            {"wait_seconds": step.wait_seconds, "targets": [[target.kind, target.name] for target in step.targets]}
            for step in policy.steps
        ],
        "repeats": policy.repeats,
        "drops_ack_when_worse": policy.drops_ack_when_worse,
    }


def thaw(frozen: Mapping[str, Any]) -> Policy:
    """The policy that `freeze` wrote down."""
    steps = tuple(
        Step(step["wait_seconds"], tuple(Target(kind, name) for kind, name in step["targets"]))
        for step in frozen["steps"]
    )
    # An older portal froze more.
    rest = {name: frozen[name] for name in ("id", "name", "repeats", "drops_ack_when_worse")}
    return Policy(steps=steps, matchers=parse_alertmanager_matchers(frozen["matchers"]), **rest)


def started_at(incident: Incident) -> datetime:
    """When the waits begin: at the first delivered message, a minute after creation at the latest, or at a restart."""
    latest = incident.created_at + timedelta(seconds=UNDELIVERED_GRACE_SECONDS)
    start = latest if incident.first_delivered_at is None else min(incident.first_delivered_at, latest)
    return start if incident.restarted_at is None else max(start, incident.restarted_at)


def hold(incident: Incident, at: datetime) -> Hold | None:
    """Why the chain does not go on at `at`, None when it does; asked in the transaction that would run a step."""
    if incident.is_resolved:
        return Hold("resolved", "it is resolved")
    if incident.acknowledged_at is not None:
        return Hold("acknowledged", f"acknowledged by {incident.acknowledged_by or 'somebody'}")
    if incident.snoozed_until is not None and at < incident.snoozed_until:
        return Hold("snoozed", f"snoozed until {moment(incident.snoozed_until)}", incident.snoozed_until)
    return Hold("silenced", "it is silenced") if incident.is_silenced else None


def next_step(policy: Policy, incident: Incident, progress: Progress) -> DueStep | None:
    """The step that comes next and when, None after the last; whether it may run is for `hold` to say."""
    count = len(policy.steps)
    if progress.done >= count * (policy.repeats + 1):
        return None
    round_number, position = divmod(progress.done, count)
    step = policy.steps[position]
    start = started_at(incident)
    base = start if progress.last_due_at is None else max(progress.last_due_at, start)
    due_at = base + timedelta(seconds=step.wait_seconds)
    if incident.snoozed_until is not None:
        due_at = max(due_at, incident.snoozed_until)
    names = ", ".join(f"{target.kind} {target.name}" for target in step.targets)
    again = f", round {round_number + 1}" if round_number else ""
    words = f"{policy.name}, step {position + 1} of {count}{again}: tell {names}"
    return DueStep(progress.done, round_number, step, due_at, words)


def plan(policy: Policy, incident: Incident, limit: int = 20) -> list[DueStep]:
    """The steps to come if nobody answers, for the form's preview ("0 min #ml-oncall, 15 min ana")."""
    steps: list[DueStep] = []
    progress = Progress()
    while len(steps) < limit and (coming := next_step(policy, incident, progress)) is not None:
        steps.append(coming)
        progress = coming.progress()
    return steps


def dropped_ack(
    policy: Policy | None, acknowledged_severity: str, severity: str, order: Sequence[str] = SEVERITY_ORDER
) -> str:
    """Why an acknowledgement given at one severity no longer holds at another, "" while it holds.

    New members of the group leave it standing; only a rise of severity drops it, unless the policy says otherwise.
    """
    if policy is not None and not policy.drops_ack_when_worse:
        return ""
    if not is_worse(acknowledged_severity, severity, order):
        return ""
    return f"it became {severity} after it was acknowledged as {acknowledged_severity or 'unknown'}"


def is_worse(before: str, now: str, order: Sequence[str] = SEVERITY_ORDER) -> bool:
    """Whether severity `now` ranks above `before`; unknown ones rank below all that `order` (lowest first) names."""
    rank = {severity: position for position, severity in enumerate(order)}
    return rank.get(now, -1) > rank.get(before, -1)


def snooze_until(choice: SnoozeChoice, at: datetime, location: str = "UTC") -> datetime:
    """When a snooze chosen at `at` ends: 1 h, 4 h, or the next 09:00 in `location`."""
    if choice != "9am":
        return at + timedelta(hours=1 if choice == "1h" else 4)
    local = at.astimezone(zone(location))
    nine = local.replace(hour=9, minute=0, second=0, microsecond=0, fold=0)
    # Days are added on the wall clock, so that nine stays nine when the clocks change in between.
    return (nine if nine > local else nine + timedelta(days=1)).astimezone(at.tzinfo)


def describe(policy: Policy) -> str:
    """The policy in words: who is told after how long, and how often again."""
    said = []
    total = 0.0
    for step in policy.steps:
        total += step.wait_seconds
        said.append(f"after {span(total)} {' and '.join(target.name for target in step.targets)}")
    again = "; then once more" if policy.repeats == 1 else f"; then again {policy.repeats} times"
    again = again if policy.repeats else ""
    return f"If nobody acknowledges: {', '.join(said)}{again}."
