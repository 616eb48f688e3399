"""The plan of an import as lines of text: a table of rules with what differs, and the remarks of lint under each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alerts.engine.findings import Finding
from alerts.models import Rule
from alerts.rulefile.plan import Change, Kind, Plan

_HEAD = ("", "group", "rule", "limits", "remarks")


def lines(plan: Plan, remarks: Sequence[Sequence[Finding]] | None = None) -> Iterator[str]:
    """Yield the lines of the table; remarks: those on each change, in order."""
    changes = plan.changes
    if not changes:
        yield "The file has no rules."
        return
    rows = [_HEAD, *(_row(change) for change in changes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    yield _joined(_HEAD, widths)
    for group in plan.groups:
        if group.details:
            yield f"group {group.row.name}: {', '.join(group.details)}"
    for number, row in enumerate(rows[1:]):
        yield _joined(row, widths)
        for finding in remarks[number] if remarks else ():
            place = f" line {finding.line}" if finding.line > 1 else ""
            yield f"    {finding.level} in {finding.field}{place}: {finding.message}"
            if finding.suggestion:
                yield f"        better: {finding.suggestion}"


def limits_of(change: Change) -> str:
    """The limits of a rule in words: `warning > 80, critical > 95`, or "condition"."""
    if change.rule.kind == Rule.Kind.RECORD:
        return "records"
    if change.wanted is None:
        return ""
    rows = [f"{row.severity} {row.operator} {row.value:g}" for row in change.wanted.limits]
    return ", ".join(rows) or "condition"


def note_of(change: Change) -> str:
    """What is worth saying of a change: what differs, or why the rule was not split."""
    if change.kind is Kind.GONE:
        return "not in the file any more"
    told = "; ".join(change.details)
    whole = f"not split: {change.why_whole}" if change.why_whole else ""
    return "; ".join(part for part in (told, whole) if part)


def _row(change: Change) -> tuple[str, ...]:
    return (change.kind.value, change.group, change.rule.name, limits_of(change), note_of(change))


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()
