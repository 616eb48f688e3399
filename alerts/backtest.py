"""A rule tried on the past: which episodes it would have had, and who would have been told.

The evaluator's own code over stored history (alerts.replay), then routing, muting and timing as the dispatcher has
them (alerts.engine.rehearsal). Hides which history each question needs. Nothing is written and nobody is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q

from alerts import history, outgoing, policy
from alerts.backtest_content import Content
from alerts.engine import rehearsal
from alerts.engine.episodes import EpisodeBook
from alerts.engine.muting import Inhibitor
from alerts.engine.rehearsal import Change, Rehearsal, Way
from alerts.engine.state import Kind, StateError, Transition
from alerts.engine.template import TemplateError
from alerts.engine.thresholds import Operator
from alerts.engine.thresholds import Threshold as Limit
from alerts.history import Coverage, Meter, Span, Stopped
from alerts.models import Alert, Integration, Rule, Silence
from alerts.picture import Picture
from alerts.prepared import PreparedRule
from alerts.replay import Replay
from monitoring import promql
from monitoring.promql import Labels, QueryError

# Alerts of other rules that may inhibit; more of them in a month is a storm that says little about this rule.
MOST_SOURCES = 20_000
_LOW = (Operator.LESS, Operator.LESS_EQUAL)


@dataclass
class Outcome:
    """What one rule would have done in a span."""

    content: Content
    span: Span
    coverage: Coverage
    book: EpisodeBook
    picture: Picture
    problem: str = ""  # why it could not be evaluated at all, or not to the end
    problems: dict[str, int] = field(default_factory=dict)  # what went wrong in how many slots
    series: set[Labels] = field(default_factory=set)
    evaluated_until: datetime | None = None
    told: Rehearsal = field(default_factory=Rehearsal)
    elements: dict[Labels, Labels] = field(default_factory=dict)  # which series an alert is of
    operator: Operator | None = None

    @property
    def end(self) -> datetime:
        """The last slot that was evaluated."""
        return self.evaluated_until or self.span.start

    def episodes_by_series(self) -> Counter[Labels]:
        """How many episodes each series had, by its labels in the answer."""
        return Counter(self.elements.get(one.labels, one.labels) for one in self.book.episodes)


def run(content: Content, span: Span, meter: Meter) -> Outcome:
    """Try one rule over a span; what stopped it early or kept it from running is in `problem`.

    A rule that is stopped has its outcome up to there: raises nothing but what the meter's watch raises for good.
    """
    split = _split(content)
    operator = _operator(content, split)
    outcome = Outcome(
        content, span, Coverage(span.step_seconds), EpisodeBook(), Picture(span, is_low=operator in _LOW),
        operator=operator,
    )  # fmt: skip
    changes: list[Change] = []
    try:
        prepared = _prepared(content)
        _replay(outcome, prepared, split, meter, changes)
    except Stopped as error:
        outcome.problem = str(error)
    except (QueryError, StateError, TemplateError) as error:
        outcome.problem = f"It cannot be evaluated: {error}"
    outcome.told = _rehearse(outcome, changes)
    return outcome


def _split(content: Content) -> promql.SplitCondition | None:
    """A plain condition taken apart; None with rows, and for what cannot be read, which is told later."""
    try:
        return None if content.limits else promql.split_condition(content.rule.expr)
    except promql.ParseError:
        return None


def _operator(content: Content, split: promql.SplitCondition | None) -> Operator | None:
    if split is not None:
        return Operator(split.operator)
    default = [limit for limit in content.limits if limit.is_enabled and not limit.matchers] or content.limits
    return default[0].operator if default else None


def _prepared(content: Content) -> PreparedRule:
    if content.rule.kind == Rule.Kind.RECORD:
        raise promql.EvaluationError("a recording rule raises no alerts")
    prepared = content.prepared()
    if prepared.query is None:
        raise promql.EvaluationError(prepared.problem)
    if prepared.query.type not in ("vector", "scalar"):
        raise promql.EvaluationError(
            f"the expression gives a {prepared.query.type}; a rule needs an instant vector or a scalar"
        )
    return prepared


def _replay(
    outcome: Outcome, prepared: PreparedRule, split: promql.SplitCondition | None, meter: Meter, changes: list[Change]
) -> None:
    """Evaluate the rule over the span; for a plain condition also read the value behind it."""
    query = prepared.query
    assert query is not None  # noqa: S101  (_prepared refused it)
    limit = Limit(0, "", Operator(split.operator), split.number) if split is not None else None
    replay = Replay(prepared, peak_limit=limit, listener=lambda found: changes.extend(_changes(found)))
    outcome.book, outcome.problems, outcome.elements = replay.book, replay.problems, replay.elements
    offset = outcome.content.group.query_offset_seconds
    is_plain = not prepared.has_thresholds
    whole, base = meter.share, meter.base
    meter.share = whole / 2 if is_plain else whole
    for answer in history.read(query, outcome.span, meter, offset):
        replay.run(answer)
        outcome.series.update(answer.labels)
        if split is None:
            outcome.picture.take(answer)
        if not is_plain:
            outcome.coverage.take(answer)
        if len(answer.ts):
            outcome.evaluated_until = outcome.span.at(_place(outcome.span, answer))
    if is_plain:
        meter.base = base + whole / 2
        _read_behind(outcome, split, query, meter, offset)


def _place(span: Span, answer: promql.Result) -> int:
    return round((answer.ts[-1] / 1000 - span.start.timestamp()) / span.step_seconds)


def _read_behind(
    outcome: Outcome, split: promql.SplitCondition | None, query: promql.Query, meter: Meter, offset: float
) -> None:
    """What a plain condition does not show where it is false: the value, or at least whether there was any data."""
    behind = promql.parse(split.value) if split is not None else history.any_data(query)
    for answer in history.read(behind, outcome.span, meter, offset):
        outcome.coverage.take(answer)
        if split is not None:
            outcome.picture.take(answer)
            outcome.series.update(answer.labels)


def _changes(transitions: Iterable[Transition]) -> Iterable[Change]:
    for one in transitions:
        if one.kind is Kind.FIRING or one.kind is Kind.RESOLVED:
            yield Change(one.at, one.labels, one.kind is Kind.FIRING)


def _rehearse(outcome: Outcome, changes: Sequence[Change]) -> Rehearsal:
    """Who would have been told: today's routes, the silences and the other rules' alerts of that time."""
    if not changes:
        return Rehearsal()
    rule_id = outcome.content.rule.pk or 0
    told_as = outgoing.current().labels
    own = [Change(one.at, labels, one.is_firing) for one in changes if (labels := told_as(one.labels)) is not None]
    stage = stage_of(outcome.span)
    others = _sources(stage, outcome.span, rule_id)
    every = sorted([*others, *own], key=lambda one: one.at)
    return rehearsal.rehearse(every, stage, outcome.end, rule_id)


def stage_of(span: Span) -> rehearsal.Policy:
    """What decides who is told: routes, ways out and inhibit rules of today, silences of the span."""
    routing = policy.routing()
    ways: dict[str, list[Way]] = {}
    for row in Integration.objects.filter(is_enabled=True).select_related("receiver").order_by("id"):
        way = Way(str(row), row.send_resolved, row.kind == Integration.Kind.SLACK, row.pk)
        ways.setdefault(row.receiver.name, []).append(way)
    silences = Silence.objects.filter(starts_at__lt=span.end, ends_at__gt=span.start).order_by("id")
    return rehearsal.Policy(
        routing.tree, ways, policy.inhibit_rules(), [policy.silence_value(row) for row in silences], routing.intervals
    )


def _sources(stage: rehearsal.Policy, span: Span, rule_id: int) -> list[Change]:
    """When alerts of other rules fired that may inhibit this one's."""
    if not stage.inhibit_rules:
        return []
    inhibitor = Inhibitor(stage.inhibit_rules)
    rows = Alert.objects.filter(fired_at__lt=span.end, is_shadow=False).exclude(rule_id=rule_id)
    rows = rows.filter(Q(resolved_at__isnull=True) | Q(resolved_at__gt=span.start)).order_by("-id")
    found = []
    for plain, fired_at, resolved_at in rows.values_list("labels", "fired_at", "resolved_at")[:MOST_SOURCES]:
        labels = Labels.of(plain)
        if fired_at is not None and inhibitor.is_source(labels):
            found.append(Change(max(fired_at, span.start), labels, True, is_source=True))
            if resolved_at is not None and resolved_at < span.end:
                found.append(Change(resolved_at, labels, False, is_source=True))
    return found


def limits_text(content: Content) -> str:
    """The limits of a side in a few words, for a heading."""
    rows = [limit for limit in content.limits if limit.is_enabled and not limit.matchers]
    texts = [f"{limit.severity} {limit.operator} {limit.value:g}" for limit in rows]
    own = sum(limit.is_enabled and bool(limit.matchers) for limit in content.limits)
    return ", ".join(texts) + (f" + {own} override{'' if own == 1 else 's'}" if own else "")
