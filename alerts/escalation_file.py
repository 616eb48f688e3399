"""Escalation files: policies and rotas in YAML, taken whole or not at all; the file owns what it brought.

A policy here takes every alert that its matchers hold for, unless it says `only_routes: true`. Targets of a step are
receivers; `user:` and `rota:` before a name mean a person or a rota.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models, transaction

from alerts.amfile.config import ConfigError
from alerts.amfile.nodes import Node, Problems, parse
from alerts.engine.escalation import MAX_REPEATS
from alerts.engine.intervals import parse_clock
from alerts.engine.matching import MatcherError, parse_alertmanager_matchers
from alerts.models import EscalationPolicy, EscalationStep, Receiver, Rota, RotaMember
from monitoring.promql import Matcher

_KINDS = ("receiver", "user", "rota")
_POLICY_FIELDS = ("name", "match", "match_re", "matchers", "only_routes", "repeat", "steps")
_ROTA_FIELDS = ("name", "members", "starts_on", "handover_at", "location", "weeks_per_turn")
_FOREVER = "until_acknowledged"


@dataclass(frozen=True)
class FileStep:
    """One step as written: its wait and whom it tells, as (kind, name)."""

    path: str
    wait_seconds: float
    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FilePolicy:
    """One policy as written."""

    path: str
    name: str
    matchers: tuple[str, ...]
    takes_matching: bool
    repeats: int
    steps: tuple[FileStep, ...]


@dataclass(frozen=True)
class FileRota:
    """One rota as written."""

    path: str
    name: str
    members: tuple[str, ...]
    starts_on: date
    handover_at: time
    location: str
    weeks_per_turn: int


@dataclass(frozen=True)
class EscalationFile:
    """Everything that a file says."""

    policies: tuple[FilePolicy, ...]
    rotas: tuple[FileRota, ...]


def read(text: str) -> EscalationFile:
    """The file as values; raises ConfigError with every fault and its path."""
    problems = Problems()
    root = Node.of(parse(text), "", problems)
    root.check_names(("policies", "rotas"))
    policies = tuple(_policy(node) for node in root.nodes("policies"))
    rotas = tuple(_rota(node) for node in root.nodes("rotas"))
    for kind, names in (("policies", [one.name for one in policies]), ("rotas", [one.name for one in rotas])):
        twice = sorted(name for name, count in Counter(names).items() if count > 1 and name)
        problems.faults += [f"{kind}: {name} is there twice" for name in twice]
    if problems.faults:
        raise ConfigError(problems.faults)
    return EscalationFile(policies, rotas)


@transaction.atomic
def take(file: EscalationFile, owner: str) -> Counter[str]:
    """Make, change and remove what `owner` brings; returns how many of each. Raises ConfigError and changes nothing."""
    faults: list[str] = []
    done: Counter[str] = Counter()
    for rota in file.rotas:
        _take_rota(rota, owner, done, faults)
    for position, one in enumerate(file.policies):
        _take_policy(one, position, owner, done, faults)
    if faults:
        raise ConfigError(faults)
    gone = EscalationPolicy.objects.filter(managed_by=owner).exclude(name__in=[one.name for one in file.policies])
    done["removed"] += _remove(gone)
    old = Rota.objects.filter(managed_by=owner).exclude(name__in=[one.name for one in file.rotas])
    used = sorted(set(old.filter(pk__in=EscalationStep.objects.values("rota")).values_list("name", flat=True)))
    if used:
        raise ConfigError([f"rotas: {name} is gone from the file, but a policy still tells it" for name in used])
    done["removed"] += _remove(old)
    return done


# -- reading -----------------------------------------------------------------------------------------------------------


def _policy(node: Node) -> FilePolicy:
    node.check_names(_POLICY_FIELDS)
    steps = tuple(_step(step) for step in node.nodes("steps"))
    if not node.text("name"):
        node.fault("name", "is required")
    if not steps:
        node.fault("steps", "at least one step is required")
    repeats = _repeats(node)
    if repeats and not any(step.wait_seconds for step in steps):
        node.fault("repeat", "a chain that repeats needs a wait")
    return FilePolicy(
        node.path, node.text("name"), tuple(_matchers(node)), not node.flag("only_routes", False), repeats, steps
    )


def _repeats(node: Node) -> int:
    if node.text("repeat") == _FOREVER:
        return MAX_REPEATS
    repeats = node.number("repeat")
    if repeats > MAX_REPEATS:
        node.fault("repeat", f"at most {MAX_REPEATS} rounds more, or {_FOREVER}")
    return repeats


def _matchers(node: Node) -> list[str]:
    found = [str(Matcher("=", name, value)) for name, value in node.pairs("match").items()]
    found += [str(Matcher("=~", name, value)) for name, value in node.pairs("match_re").items()]
    for text in node.texts("matchers"):
        found += [str(matcher) for matcher in _parsed(node, "matchers", text)]
    for text in found:
        _parsed(node, "match_re", text)
    return found


def _parsed(node: Node, name: str, text: str) -> tuple[Matcher, ...]:
    return node.checked(name, lambda: tuple(parse_alertmanager_matchers(text)), MatcherError) or ()


def _step(node: Node) -> FileStep:
    node.check_names(("wait", "notify"))
    given = node.values.get("notify")
    items = given if isinstance(given, list) else [given] if node.has("notify") else []
    targets = tuple(target for item in items if (target := _target(node, item)))
    if not items:
        node.fault("notify", "say whom it tells: a receiver, user:NAME or rota:NAME")
    return FileStep(node.path, node.seconds("wait") or 0.0, targets)


def _target(node: Node, item: Any) -> tuple[str, str] | None:
    """`oncall`, `user:ana`, or `{user: ana}`."""
    if isinstance(item, dict) and len(item) == 1:
        kind, name = next(iter(item.items()))
    elif isinstance(item, str):
        before, colon, after = item.partition(":")
        kind, name = (before, after.strip()) if colon and before in _KINDS else ("receiver", item)
    else:
        kind, name = "", ""
    if kind not in _KINDS or not isinstance(name, str) or not name:
        node.fault("notify", "each must be the name of a receiver, user:NAME or rota:NAME")
        return None
    return kind, name


def _rota(node: Node) -> FileRota:
    node.check_names(_ROTA_FIELDS)
    for name in ("name", "starts_on"):
        if not node.text(name):
            node.fault(name, "is required")
    members = node.texts("members")
    if not members:
        node.fault("members", "name at least one user")
    first = node.checked("starts_on", lambda: date.fromisoformat(node.text("starts_on", "2000-01-03")), ValueError)
    minute = node.checked("handover_at", lambda: parse_clock(node.text("handover_at", "09:00")), ValueError)
    minute = (minute or 0) % 1440
    return FileRota(
        node.path, node.text("name"), members, first or date(2000, 1, 3), time(minute // 60, minute % 60),
        node.text("location", "UTC"), node.number("weeks_per_turn", 1),
    )  # fmt: skip


# -- taking ------------------------------------------------------------------------------------------------------------


def _take_rota(one: FileRota, owner: str, done: Counter[str], faults: list[str]) -> None:
    row = _owned(Rota, one.name, one.path, owner, faults)
    users = {user.get_username(): user for user in get_user_model().objects.filter(username__in=one.members)}
    unknown = [name for name in one.members if name not in users]
    faults += [f"{one.path}.members: there is no user {name}" for name in unknown]
    if row is None or unknown:
        return
    before = _values(
        row, [member.user.get_username() for member in row.members.select_related("user")] if row.pk else []
    )
    row.starts_on, row.handover_at, row.location = one.starts_on, one.handover_at, one.location
    row.weeks_per_turn = one.weeks_per_turn
    if not _is_sound(row, one.path, faults):
        return
    if row.pk and before == _values(row, list(one.members)):
        done["same"] += 1
        return
    done["changed" if row.pk else "made"] += 1
    row.save()
    row.members.all().delete()
    RotaMember.objects.bulk_create(
        RotaMember(rota=row, user=users[name], position=place) for place, name in enumerate(one.members)
    )


def _values(row: Rota, members: list[str]) -> tuple[Any, ...]:
    return row.pk, row.starts_on, str(row.handover_at), row.location, row.weeks_per_turn, members


def _take_policy(one: FilePolicy, position: int, owner: str, done: Counter[str], faults: list[str]) -> None:
    row = _owned(EscalationPolicy, one.name, one.path, owner, faults)
    steps = _steps(one, faults)
    if row is None:
        return
    given = {
        "position": position, "takes_matching": one.takes_matching, "matchers": list(one.matchers),
        "repeats": one.repeats,
    }  # fmt: skip
    names = [*given, "steps"]
    before = [*(getattr(row, name) for name in given), [_said(step) for step in row.steps.all()] if row.pk else []]
    after = [*given.values(), [_said(step) for step in steps]]
    if row.pk and before == after:
        done["same"] += 1
        return
    for name, value in given.items():
        setattr(row, name, value)
    if not _is_sound(row, one.path, faults) or faults:
        return
    done["changed" if row.pk else "made"] += 1
    row._change_reason = (
        f"Imported: {', '.join(name for name, a, b in zip(names, before, after, strict=True) if a != b)}"
    )
    row.save()
    row.steps.all().delete()
    for step in steps:
        step.policy = row
        step.save()


def _steps(one: FilePolicy, faults: list[str]) -> list[EscalationStep]:
    """Rows for the steps; a step that tells two of one kind becomes two rows, the second without a wait."""
    rows: list[EscalationStep] = []
    for step in one.steps:
        row = EscalationStep(position=len(rows), wait_seconds=step.wait_seconds)
        rows.append(row)
        for kind, name in step.targets:
            found = _named(kind, name)
            if found is None:
                faults.append(f"{step.path}.notify: there is no {kind} {name}")
                continue
            if getattr(row, f"{kind}_id") is not None:
                row = EscalationStep(position=len(rows), wait_seconds=0)
                rows.append(row)
            setattr(row, kind, found)
    return rows


def _said(step: EscalationStep) -> tuple[Any, ...]:
    return step.position, step.wait_seconds, step.receiver_id, step.user_id, step.rota_id


def _named(kind: str, name: str) -> Any:
    if kind == "user":
        return get_user_model().objects.filter(username=name).first()
    model: Any = Receiver if kind == "receiver" else Rota
    return model.objects.filter(name=name).first()


def _owned(model: Any, name: str, path: str, owner: str, faults: list[str]) -> Any:
    """The owner's row of this name, a new one when there is none; None with a fault when it is somebody else's."""
    row = model.objects.select_for_update().filter(name=name).first()
    if row is None:
        return model(name=name, managed_by=owner)
    if row.managed_by != owner:
        faults.append(f"{path}.name: {name} belongs to {row.managed_by or 'staff'}; choose another name")
        return None
    return row


def _is_sound(row: models.Model, path: str, faults: list[str]) -> bool:
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        faults += [f"{path}.{name}: {' '.join(words)}" for name, words in error.message_dict.items()]
        return False
    return True


def _remove(rows: Any) -> int:
    found: Sequence[models.Model] = list(rows)
    for row in found:
        row.delete()
    return len(found)
