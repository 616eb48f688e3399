"""What a backtest found, as the JSON that its page draws: numbers written in their unit, long lists cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from alerts.backtest import Outcome, limits_text
from alerts.engine.episodes import Difference, Episode, difference, firing_seconds
from alerts.engine.identity import ALERT_NAME, SEVERITY
from alerts.engine.sentence import RuleWords, sentence
from alerts.engine.state import NoDataPolicy
from alerts.engine.units import PLAIN, Unit, format_value, unit_of
from alerts.graph import names_of, unit_name
from monitoring import promql
from monitoring.promql import Labels, ParseError

# More rows than this nobody reads; the counts are of all.
SHOWN_EPISODES = 300
SHOWN_MESSAGES = 200
SHOWN_BANDS = 400
_OWN = frozenset((ALERT_NAME, SEVERITY))
_MUTED = {
    "silenced": "by a silence", "inhibited": "by another alert", "severity": "by a higher severity of the same series",
    "dependency": "by its parent", "time": "by a time interval of the route",
}  # fmt: skip


def report(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The result of a run: {"sides": [...], "difference": old against new or None, "start", "end", "step_seconds"}."""
    first = outcomes[0]
    found: dict[str, Any] = {
        "start": first.span.start.isoformat(), "end": first.span.end.isoformat(),
        "step_seconds": first.span.step_seconds, "sides": [side(one) for one in outcomes], "difference": None,
    }  # fmt: skip
    if len(outcomes) == 2:
        old, new = outcomes
        found["difference"] = _difference(difference(old.book.episodes, new.book.episodes, min(old.end, new.end)))
    return found


def _difference(found: Difference) -> dict[str, int]:
    return {"kept": found.kept, "dropped": found.dropped, "added": found.added}


def side(outcome: Outcome) -> dict[str, Any]:
    """What one rule would have done, ready to draw."""
    content, unit = outcome.content, _unit(outcome.content.rule.expr)
    episodes = sorted(outcome.book.episodes, key=lambda one: one.fired_at, reverse=True)
    by_severity = Counter(one.severity or "none" for one in episodes)
    return {
        "name": content.name,
        "rule": content.rule.name,
        "expr": content.rule.expr,
        "limits": limits_text(content),
        "words": _words(outcome),
        "problem": outcome.problem,
        "problems": [{"words": words, "slots": slots} for words, slots in outcome.problems.items()],
        "evaluated_until": outcome.end.isoformat(),
        "series": len(outcome.series),
        "coverage": _coverage(outcome),
        "episode_count": len(episodes),
        "firing_now": len(outcome.book.firing),
        "by_severity": sorted(by_severity.items()),
        "firing_seconds": firing_seconds(episodes, outcome.end),
        "waited": outcome.book.dropped,
        "episodes": _episodes(episodes[:SHOWN_EPISODES], outcome, unit),
        "told": _told(outcome),
        "chart": _chart(outcome, episodes),
        "unit": unit_name(unit),
        "thresholds": _lines(outcome),
    }


def _words(outcome: Outcome) -> str:
    rule = outcome.content.rule
    return sentence(
        RuleWords(
            expr=rule.expr,
            thresholds=[limit for limit in outcome.content.limits if limit.is_enabled],
            hold_seconds=rule.hold_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            no_data=NoDataPolicy(rule.no_data),
            no_data_seconds=rule.no_data_resolve_seconds,
            labels=rule.labels,
        )
    )


def _coverage(outcome: Outcome) -> dict[str, Any]:
    """How far history reaches in the span, and its gaps; `is_short` when it begins clearly after the span does."""
    coverage, span = outcome.coverage, outcome.span
    slack = max(3600.0, span.seconds * 0.01)
    begins_late = coverage.first is not None and (coverage.first - span.start).total_seconds() > slack
    return {
        "first": coverage.first.isoformat() if coverage.first else None,
        "last": coverage.last.isoformat() if coverage.last else None,
        "is_short": begins_late,
        "reach_seconds": (outcome.end - coverage.first).total_seconds() if coverage.first else 0.0,
        "gap_count": len(coverage.gaps),
        "gap_seconds": coverage.gap_seconds,
        "gaps": [{"from": first.isoformat(), "to": last.isoformat()} for first, last in coverage.longest_gaps()],
    }


def _episodes(episodes: Sequence[Episode], outcome: Outcome, unit: Unit) -> list[dict[str, Any]]:
    names = _names(episodes)
    return [
        {
            "series": name,
            "host": one.labels.get("host"),
            "severity": one.severity,
            "pending_at": one.pending_at.isoformat(),
            "start": one.fired_at.isoformat(),
            "end": one.ended_at.isoformat() if one.ended_at else None,
            "seconds": one.seconds(outcome.end),
            "peak": "no data" if one.peak != one.peak else format_value(one.peak, unit),
            "limit": "" if one.limit is None else format_value(one.limit, unit),
            "cause": str(one.cause),
        }
        for one, name in zip(episodes, names, strict=True)
    ]


def _names(episodes: Sequence[Episode]) -> list[str]:
    distinct: dict[Labels, str] = dict.fromkeys((one.labels.without(_OWN) for one in episodes), "")
    if distinct:
        distinct = dict(zip(distinct, names_of(list(distinct)), strict=True))
    return [distinct[one.labels.without(_OWN)] for one in episodes]


def _told(outcome: Outcome) -> dict[str, Any]:
    """Messages by way out, and the firings that were held back by what."""
    told = outcome.told.told
    posts = Counter((one.receiver, one.way) for one in told if not one.is_edit)
    edits = Counter((one.receiver, one.way) for one in told if one.is_edit)
    return {
        "posts": sum(posts.values()),
        "edits": sum(edits.values()),
        "by_way": [
            {"receiver": receiver, "way": way, "posts": posts[receiver, way], "edits": edits[receiver, way]}
            for receiver, way in sorted(posts.keys() | edits.keys())
        ],
        "muted": [{"words": _MUTED.get(kind, kind), "count": n} for kind, n in sorted(outcome.told.muted.items())],
        "cut_at": outcome.told.cut_at.isoformat() if outcome.told.cut_at else None,
        "messages": [
            {
                "at": one.at.isoformat(), "receiver": one.receiver, "way": one.way, "reason": one.reason,
                "firing": one.firing, "resolved": one.resolved, "is_edit": one.is_edit,
            }
            for one in reversed(told[-SHOWN_MESSAGES:])
        ],
    }  # fmt: skip


def _chart(outcome: Outcome, episodes: Sequence[Episode]) -> dict[str, Any]:
    columns = outcome.picture.columns(outcome.episodes_by_series())
    newest = episodes[:SHOWN_BANDS]
    names = _names(newest)
    columns["bands"] = [
        {
            "from": _seconds(one.fired_at), "to": _seconds(one.ended_at or outcome.end),
            "severity": one.severity or "warning", "label": name,
        }
        for one, name in zip(newest, names, strict=True)
    ]  # fmt: skip
    return columns


def _lines(outcome: Outcome) -> list[dict[str, Any]]:
    """The limits for all series as lines of the chart."""
    lines = [
        {"value": value, "label": limit.severity, "severity": limit.severity}
        for limit in outcome.content.limits
        if limit.is_enabled and not limit.matchers
        for value in (limit.value, limit.upper)
        if value is not None
    ]
    split = (
        None
        if outcome.content.limits or outcome.operator is None
        else promql.split_condition(outcome.content.rule.expr)
    )
    if split is not None:
        severity = outcome.content.rule.labels.get("severity", "warning")
        lines.append({"value": split.number, "label": "limit", "severity": severity})
    return lines


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _unit(expr: str) -> Unit:
    try:
        return unit_of(promql.parse(expr))
    except ParseError:
        return PLAIN
