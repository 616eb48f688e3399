"""Escalation policies as values of the engine: which one an alert runs through, and why none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Prefetch

from alerts import policy
from alerts.engine import escalation as engine
from alerts.engine.matching import matches_all
from alerts.models import EscalationPolicy, EscalationStep, Route
from monitoring.promql import Labels


@dataclass(frozen=True)
class Book:
    """The policies as values, with the routes that name them and those that take what matches, in order."""

    policies: Mapping[int, engine.Policy]
    by_route: Mapping[int, int]
    general: Sequence[engine.Policy]

    def choose(self, labels: Labels, route_id: int | None) -> engine.Policy | None:
        """The policy of the route, or of the nearest one above, else the first that takes what matches."""
        named = self.policies.get(self.by_route.get(route_id or 0, 0))
        if named is not None and matches_all(named.matchers, labels):
            return named
        return engine.choose(self.general, labels)


def book() -> Book:
    """All policies that are on and have steps, in three queries at most."""
    steps = EscalationStep.objects.select_related("receiver", "user", "rota")
    rows = list(EscalationPolicy.objects.filter(is_enabled=True).prefetch_related(Prefetch("steps", steps)))
    values = {row.pk: policy_value(row) for row in rows}
    usable = {pk: one for pk, one in values.items() if one.steps}
    routes = Route.objects.values_list("id", "parent_id", "escalation_id") if usable else []
    general = [usable[row.pk] for row in rows if row.takes_matching and row.pk in usable]
    return Book(usable, inherited(routes), general)


def policy_value(row: EscalationPolicy) -> engine.Policy:
    """One policy as the engine sees it; reads its steps."""
    return engine.Policy(
        id=row.pk, name=row.name, matchers=policy.matchers(row.matchers), repeats=row.repeats,
        steps=tuple(engine.Step(step.wait_seconds, tuple(_targets(step))) for step in row.steps.all()),
    )  # fmt: skip


def inherited(routes: Iterable[tuple[int, int | None, int | None]]) -> dict[int, int]:
    """The policy of each route that has one itself or above it; routes are (id, parent id, policy id)."""
    rows = {pk: (parent, own) for pk, parent, own in routes}
    found: dict[int, int] = {}
    for pk in rows:
        node: int | None = pk
        while node is not None and node in rows:
            parent, own = rows[node]
            if own is not None:
                found[pk] = own
                break
            node = parent
    return found


def _targets(step: EscalationStep) -> Iterable[engine.Target]:
    if step.receiver:
        yield engine.Target("receiver", step.receiver.name)
    if step.user:
        yield engine.Target("user", step.user.get_username())
    if step.rota:
        yield engine.Target("rota", step.rota.name)
