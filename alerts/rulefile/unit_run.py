"""promtool's rule unit tests on our own engine: the same evaluation as in production, over series in memory.

Source of what is compared and when: Prometheus 3, cmd/promtool/unittest.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.alert_series import VALUE_SERIES, SlotSeries
from alerts.condition import find
from alerts.engine import template
from alerts.engine.durations import format_duration
from alerts.engine.state import AlertState, State, StateError, advance
from alerts.engine.template import Context
from alerts.outgoing import Outgoing
from alerts.prepared import PreparedRule, limit_of, ready
from alerts.rulefile.unit_memory import Memory
from alerts.rulefile.unit_read import AlertTest, ExprTest, Sample, UnitTest
from alerts.rulefile.wanted import WantedGroup
from monitoring import promql, query
from monitoring.promql import Labels, QueryError

Told = tuple[Labels, Mapping[str, str]]


@dataclass
class _Rule:
    """One rule on its way through a test: its alerts, and what each last brought to its templates."""

    prepared: PreparedRule
    states: dict[Labels, AlertState] = field(default_factory=dict)
    contexts: dict[Labels, Context] = field(default_factory=dict)

    def evaluate(self, at: datetime, series: SlotSeries) -> None:
        """Evaluate one slot; raises QueryError and StateError."""
        finding = find(self.prepared, at, series.select, self.states)
        if self.prepared.is_recording:
            series.add_record(finding.record_labels, finding.record_values)
            return
        step = advance(self.states, finding.active, self.prepared.spec, at, finding.data, finding.expected)
        self.states = step.states
        for identity, element in zip(finding.active.identities, finding.elements, strict=True):
            state = step.states[identity]
            severity = identity.get("severity")
            self.contexts[identity] = Context(element, state.value, state.limit, severity, finding.surroundings)
        series.add_alerts([state for state in step.states.values() if state.is_active])

    def firing(self) -> list[Told]:
        """The alerts that fire, with their annotations as of the last evaluation that found them."""
        return [
            (labels, self._annotations(labels)) for labels, state in self.states.items() if state.state is State.FIRING
        ]

    def _annotations(self, labels: Labels) -> dict[str, str]:
        context = self.contexts[labels]
        return {name: template.expand(found, context) for name, found in self.prepared.annotations.items()}


@dataclass
class _Group:
    name: str
    rules: list[_Rule]
    written: frozenset[Labels] = frozenset()


def run_test(
    test: UnitTest,
    groups: Iterable[WantedGroup],
    evaluation_seconds: float,
    order: Sequence[str] = (),
    is_fuzzy: bool = False,
) -> list[str]:
    """Return what failed, a text each as promtool writes it; an empty list is success."""
    if test.problem:
        return [f"    {test.problem}"]
    outgoing = Outgoing(tuple(sorted(test.external_labels.items())), (), test.external_url)
    ready_groups = sorted((_ready(group, outgoing) for group in groups), key=lambda group: _place(group.name, order))
    return _Run(test, ready_groups, evaluation_seconds, is_fuzzy).run()


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else 0


def _ready(group: WantedGroup, outgoing: Outgoing) -> _Group:
    found = []
    for one in group.rules:
        limits = [limit_of(row) for row in one.limits]
        texts = {name: template.compile(text) for name, text in one.rule.annotations.items()}
        prepared = ready(one.rule, group.group, limits, texts)
        prepared.outgoing = outgoing
        found.append(_Rule(prepared))
    return _Group(group.group.name, found)


class _Run:
    """One test at work."""

    def __init__(self, test: UnitTest, groups: list[_Group], every_seconds: float, is_fuzzy: bool) -> None:
        self.test, self.groups, self.every, self.is_fuzzy = test, groups, every_seconds, is_fuzzy
        self.memory = Memory(_ms(test.start), round(test.interval_seconds * 1000), test.input)
        self.failures: list[str] = []

    def run(self) -> list[str]:
        pending = sorted(self.test.alert_tests, key=lambda one: one.eval_seconds)
        slots = int(self.test.last_seconds // self.every) + 1
        for slot in range(slots):
            passed = slot * self.every
            problems = self._evaluate(self.test.start + timedelta(seconds=passed), passed)
            if problems:
                return [*self.failures, *problems]
            while pending and pending[0].eval_seconds < passed + self.every:
                self._check_alerts(pending.pop(0))
        for one in self.test.expr_tests:
            self._check_expr(one)
        return self.failures

    def _evaluate(self, at: datetime, passed: float) -> list[str]:
        self.memory.go_to(_ms(at))
        problems = []
        for group in self.groups:
            series = SlotSeries(_ms(at), self.memory.select)
            for rule in group.rules:
                try:
                    if rule.prepared.problem:
                        raise promql.EvaluationError(rule.prepared.problem)
                    rule.evaluate(at, series)
                except (QueryError, StateError) as error:
                    name = rule.prepared.rule.name
                    problems.append(f"    rule: {name}, time: {format_duration(passed)}, err: {error}")
            own = [(labels, value) for labels, value in series.items() if labels.get(promql.NAME) != VALUE_SERIES]
            group.written = self.memory.write(_ms(at), own, group.written)
        return problems

    # -- comparing -----------------------------------------------------------------------------------------------------

    def _check_alerts(self, test: AlertTest) -> None:
        rules = [rule for group in self.groups for rule in group.rules if rule.prepared.rule.name == test.alertname]
        got = sorted((told for rule in rules for told in rule.firing()), key=_told_key)
        expected = sorted(test.alerts, key=_told_key)
        if [(a, dict(b)) for a, b in got] != [(a, dict(b)) for a, b in expected]:
            name = f"    name: {self.test.name},\n" if self.test.name else ""
            time = format_duration(test.eval_seconds)
            self.failures.append(
                f"{name}    alertname: {test.alertname}, time: {time}, \n"
                f"        exp:{_told_text(expected)}, \n        got:{_told_text(got)}"
            )

    def _check_expr(self, test: ExprTest) -> None:
        head = f'    expr: "{test.expr}", time: {format_duration(test.eval_seconds)},'
        problem = test.problem or next((one.problem for one in test.samples if one.problem), "")
        try:
            got = self._ask(test) if not problem else []
        except QueryError as error:
            problem = str(error)
        if problem:
            self.failures.append(f"{head} err: {problem}")
            return
        expected = sorted(test.samples, key=lambda one: one.labels.pairs)
        if len(got) != len(expected) or not all(map(self._is_same, expected, got)):
            self.failures.append(f"{head}\n        exp: {_samples_text(expected)}\n        got: {_samples_text(got)}")

    def _ask(self, test: ExprTest) -> list[Sample]:
        at = self.test.start + timedelta(seconds=test.eval_seconds)
        result = query.instant(test.expr, at, select=self.memory.select)
        if result.type == "scalar":
            return [Sample(Labels.of({}), float(result.scalar or 0.0))]
        if result.type != "vector":
            raise promql.EvaluationError("rule result is not a vector or scalar")
        found = [Sample(labels, value) for labels, value in zip(result.labels, result.values.tolist(), strict=True)]
        return sorted(found, key=lambda one: one.labels.pairs)

    def _is_same(self, one: Sample, other: Sample) -> bool:
        if one.labels != other.labels:
            return False
        near = (math.nextafter(one.value, -math.inf), math.nextafter(one.value, math.inf)) if self.is_fuzzy else ()
        return other.value in (one.value, *near)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _told_key(told: Told) -> tuple[object, ...]:
    return (told[0].pairs, sorted(told[1].items()))


def _told_text(alerts: Sequence[Told]) -> str:
    if not alerts:
        return "[]"
    inner = "".join(
        f"\n            {number}:\n              Labels:{labels}\n              Annotations:{Labels.of(texts)}"
        for number, (labels, texts) in enumerate(alerts)
    )
    return f"[{inner}\n            ]"


def _samples_text(samples: Sequence[Sample]) -> str:
    return ", ".join(f"{one.labels} {one.value:.17g}" for one in samples) or "nil"
