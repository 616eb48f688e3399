"""What the kill test is made of: a seeded plan of changing alerts, their sender, and who kills processes meanwhile.

What Slack saw is judged in tests/kill_judge.py.
"""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psutil

from tests.fakes import FakeSlack
from tests.fakes.server import Reply, Request
from tests.portal import RunningPortal, kill

# A send whose worker died is looked at again after its lease of 40 s; a change that comes later finds it settled.
CALM_SECONDS = 65.0
RESEND_SECONDS = 5.0
# Whatever is down is up again long before, so no sender's silence ends an alert.
ENDS_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, order=True)
class Step:
    """One alert begins or ends, so many seconds after the start."""

    at: float
    problem: str
    part: str
    is_firing: bool


@dataclass(frozen=True)
class Plan:
    """All changes in the order of their times. Calm problems change seldom enough that each change must be told."""

    seconds: float
    steps: tuple[Step, ...]
    calm: frozenset[str]

    def states(self, problem: str) -> list[frozenset[str]]:
        """What fires of a problem after each of its changes."""
        firing: set[str] = set()
        found = []
        for step in self.steps:
            if step.problem == problem:
                (firing.add if step.is_firing else firing.discard)(step.part)
                found.append(frozenset(firing))
        return found

    @property
    def problems(self) -> list[str]:
        """The names of all problems."""
        return sorted({step.problem for step in self.steps})


def make_plan(seconds: float, chance: random.Random, *, calm: int = 14, hasty: int = 4) -> Plan:
    """A plan of so many seconds at whose end everything is over; hasty problems change every few seconds."""
    steps: list[Step] = []
    for number in range(calm):
        first = chance.uniform(0, max(min(seconds, 300) - CALM_SECONDS - 5, 1))
        steps += _problem(f"calm{number:02d}", first, seconds, (CALM_SECONDS, CALM_SECONDS + 40), chance)
    for number in range(hasty):
        steps += _problem(f"hasty{number:02d}", chance.uniform(0, 10), seconds, (3, 20), chance)
    names = frozenset(step.problem for step in steps if step.problem.startswith("calm"))
    return Plan(seconds, tuple(sorted(steps)), names)


def _problem(
    name: str, first: float, seconds: float, gaps: tuple[float, float], chance: random.Random
) -> list[Step]:  # fmt: skip
    """Alerts a and b of one group that begin and end in turns; what fires last ends by the end of the plan."""
    steps: list[Step] = []
    firing: list[str] = []
    at = first
    while at <= seconds:
        last_chance = at + gaps[0] * (len(firing) + 1) > seconds
        idle = [part for part in "ab" if part not in firing]
        if firing and (last_chance or not idle or chance.random() < 0.5):
            steps.append(Step(at, name, firing.pop(chance.randrange(len(firing))), False))
        elif last_chance:
            break
        else:
            firing.append(chance.choice(idle))
            steps.append(Step(at, name, firing[-1], True))
        at = min(at + chance.uniform(*gaps), max(seconds - gaps[0] * (len(firing) - 1), at + gaps[0]))
    return steps


class SlowSlack(FakeSlack):
    """A Slack that takes up to a fifth of a second before and after it accepts, and remembers when it did."""

    def __init__(self, chance: random.Random, **options: object) -> None:
        self.seen: list[tuple[float, Request]] = []  # time.monotonic() of everything it accepted
        self._chance = chance
        super().__init__(**options)  # type: ignore[arg-type]

    def serve(self, request: Request) -> Reply:
        """Answer one request, slowly: a kill shall find messages on their way there and back."""
        time.sleep(self._chance.uniform(0, 0.2))
        reply = super().serve(request)
        if request.accepted:
            self.seen.append((time.monotonic(), request))
        time.sleep(self._chance.uniform(0, 0.2))
        return reply


@dataclass
class Sender:
    """Posts the plan's changes as Prometheus would: again until accepted, in order, and resends what fires."""

    url: str
    plan: Plan
    accepted: dict[Step, float] = field(default_factory=dict)  # time.monotonic()
    refusals: int = 0

    def run(self, started: float) -> None:
        """Post everything at its time, counted from `started`; returns when the last change was accepted."""
        waiting = deque(self.plan.steps)
        firing: dict[tuple[str, str], Step] = {}
        begun = datetime.now(UTC) - timedelta(seconds=time.monotonic() - started)
        resent = started
        while waiting:
            now = time.monotonic()
            batch = self._batch(waiting, now - started)
            if batch and self._post([self._alert(step, begun) for step in batch]):
                for step in batch:
                    waiting.popleft()
                    self.accepted[step] = time.monotonic()
                    firing.pop((step.problem, step.part), None)
                    if step.is_firing:
                        firing[step.problem, step.part] = step
            if now - resent > RESEND_SECONDS and firing:
                resent = now
                self._post([self._alert(step, begun) for step in firing.values()])
            time.sleep(0.2)

    @staticmethod
    def _batch(waiting: deque[Step], elapsed: float) -> list[Step]:
        """The next changes whose time has come, as long as no alert is in it twice."""
        batch: list[Step] = []
        for step in waiting:
            if step.at > elapsed or any((one.problem, one.part) == (step.problem, step.part) for one in batch):
                break
            batch.append(step)
        return batch

    def _alert(self, step: Step, begun: datetime) -> dict[str, object]:
        at = begun + timedelta(seconds=step.at)
        labels = {"alertname": "Changing", "problem": step.problem, "tok": step.part, "severity": "warning"}
        times = (
            {"startsAt": at.isoformat(), "endsAt": (datetime.now(UTC) + ENDS_AFTER).isoformat()}
            if step.is_firing
            else {"endsAt": at.isoformat()}
        )
        return {"labels": labels, "annotations": {"summary": f"{step.problem} is in trouble"}, **times}

    def _post(self, alerts: Sequence[dict[str, object]]) -> bool:
        data = json.dumps(list(alerts)).encode()
        request = urllib.request.Request(  # noqa: S310  (loopback)
            f"{self.url}/api/v2/alerts", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return True
        except (OSError, urllib.error.HTTPError):
            self.refusals += 1
            return False


@dataclass
class Killer:
    """Ends processes of a portal with SIGKILL at random moments."""

    portal: RunningPortal
    chance: random.Random
    kinds: Sequence[str]
    pause: tuple[float, float] = (8.0, 20.0)
    done: list[tuple[float, str]] = field(default_factory=list)  # time.monotonic(), kind

    def run(self, until: float, stop: threading.Event) -> None:
        """Kill until that moment of time.monotonic(); every kind comes once before one comes again."""
        bag: list[str] = []
        while not stop.wait(self.chance.uniform(*self.pause)) and time.monotonic() < until:
            bag = bag or self.chance.sample(list(self.kinds), len(self.kinds))
            kind = bag.pop()
            if kill(self._targets(kind)):
                self.done.append((time.monotonic(), kind))

    def _targets(self, kind: str) -> list[psutil.Process]:
        try:
            return TARGETS[kind](_children(self.portal), self.chance)
        except psutil.NoSuchProcess:  # it ended while its children were asked for
            return []


# A word of the command line of each.
_SIGNS = {
    "worker": " worker ", "beat": " beat ", "web": "gunicorn", "postgres": "bin/postgres", "valkey": "valkey-server",
}  # fmt: skip


def _children(portal: RunningPortal) -> dict[str, psutil.Process]:
    """The processes that the supervisor started, by what they are."""
    found: dict[str, psutil.Process] = {}
    for child in psutil.Process(portal.process.pid).children():
        try:
            words = f"{' '.join(child.cmdline())} "
        except psutil.NoSuchProcess:
            continue
        name = next((name for name, sign in _SIGNS.items() if sign in words), "")
        found[name] = child
    return found


Family = dict[str, psutil.Process]


def _below(name: str) -> Callable[[Family, random.Random], list[psutil.Process]]:
    def one(family: Family, chance: random.Random) -> list[psutil.Process]:
        some = family[name].children() if name in family else []
        return [chance.choice(some)] if some else []

    return one


def _alone(name: str) -> Callable[[Family, random.Random], list[psutil.Process]]:
    return lambda family, chance: [family[name]] if name in family else []


def _whole(name: str) -> Callable[[Family, random.Random], list[psutil.Process]]:
    return lambda family, chance: [family[name], *family[name].children(recursive=True)] if name in family else []


# A worker is one process of the pool; all workers are the pool with its parent. Postgres dies by its parent, by one of
# its servers (it then ends all others) or as a whole.
TARGETS: dict[str, Callable[[Family, random.Random], list[psutil.Process]]] = {
    "worker": _below("worker"),
    "workers": _whole("worker"),
    "postgres": _alone("postgres"),
    "postgres-server": _below("postgres"),
    "postgres-whole": _whole("postgres"),
    "valkey": _alone("valkey"),
    "worker-parent": _alone("worker"),
    "web": _whole("web"),
    "beat": _alone("beat"),
}
