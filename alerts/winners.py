"""Which row of limits rules which series, for the form of a rule: ties that only age decides, and why one row wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Count

from alerts.engine.threshold_explain import conflicts, describe_limit, explain
from alerts.engine.thresholds import Threshold as Limit
from alerts.engine.units import PLAIN, Unit
from alerts.models import Alert, Threshold
from monitoring.promql import Labels

# A list to choose a series from; past this nobody looks for one in a list.
MOST_SERIES = 200


@dataclass(frozen=True)
class Ruling:
    """Which row sets a series' limit at one severity: the sentence, and each row in words with what became of it."""

    severity: str
    sentence: str
    rows: tuple[tuple[str, str, bool], ...]  # the row, the reason, whether it wins


def ties(limits: Mapping[int, Limit], labels: Sequence[Labels], at: datetime) -> dict[int, str]:
    """By number of a row of the form: that another row is as exact, and which of the two counts."""
    told: dict[int, str] = {}
    for tie in conflicts(_numbered(limits), labels, at):
        winner, loser = tie.winner.id, tie.loser.id
        told.setdefault(winner, f"as exact as row {loser}: this one counts, as the newer one")
        told.setdefault(loser, f"as exact as row {winner}, which is newer and counts instead")
    return told


def rulings(limits: Mapping[int, Limit], series: Labels, at: datetime, unit: Unit = PLAIN) -> list[Ruling]:
    """Which row wins for a series at each severity of the rows, and what became of the others."""
    rows = _numbered(limits)
    found = []
    for severity in dict.fromkeys(row.severity for row in rows):
        told = explain(rows, series, at, severity)
        candidates = tuple(
            (f"row {one.threshold.id}, {_words(one.threshold, unit)}", one.reason, one.is_winner)
            for one in told.candidates
        )
        winner = told.winner
        sentence = f"{describe_limit(winner, unit)}, by row {winner.id}" if winner else "no row applies"
        found.append(Ruling(severity, sentence, candidates))
    return found


def episodes(rows: Mapping[str, Threshold], since: datetime) -> dict[str, int]:
    """By place of a row of the form that is saved: how often alerts have fired by it since then."""
    saved = {row.pk: place for place, row in rows.items() if row.pk}
    fired = Alert.objects.filter(rule__in={row.rule_id for row in rows.values() if row.pk}, fired_at__gte=since)
    counts = fired.filter(threshold__in=saved).order_by().values_list("threshold").annotate(Count("pk"))
    return dict.fromkeys(saved.values(), 0) | {saved[row]: count for row, count in counts}


def _numbered(limits: Mapping[int, Limit]) -> list[Limit]:
    """The rows under the numbers that people count in the form; their age stays what it is."""
    return [replace(limit, id=number) for number, limit in limits.items()]


def _words(row: Limit, unit: Unit) -> str:
    scope = ", ".join(map(str, row.matchers))
    return f"{describe_limit(row, unit)} for {{{scope}}}" if scope else f"{describe_limit(row, unit)} for all"
