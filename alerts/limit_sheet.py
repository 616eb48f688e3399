"""Limits as a sheet, models by rules: what applies to each model, and many overrides changed as one.

Hides which threshold row a cell stands for. A cell is empty where the limit for all applies; a number in it is a row
for that model. Changes are planned first, for a page that shows them, and applied to what was shown or not at all.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from alerts import revisions, rule_edit, scope
from alerts.engine.units import Unit, format_value, unit_of
from alerts.models import Rule, Threshold
from monitoring import promql, query
from monitoring.models import ServedModel
from monitoring.promql import NAME, Matcher

User = Any  # settings.AUTH_USER_MODEL
_MODEL = "model_name"


@dataclass(frozen=True)
class Column:
    """One severity of a rule, with the row that holds its limit for all."""

    rule: Rule
    severity: str
    default: Threshold
    unit: Unit

    @property
    def key(self) -> str:
        """What names the column in a form."""
        return f"{self.rule.pk}:{self.severity}"

    @property
    def title(self) -> str:
        """What names the column in a file."""
        return f"{self.rule.name} ({self.severity}) #{self.rule.pk}"

    @property
    def words(self) -> str:
        """The limit for all, as people read it."""
        return f"{self.default.operator} {format_value(self.default.value, self.unit)}"


@dataclass(frozen=True)
class Cell:
    """A model's own limit in a column as it stands, "" where the limit for all applies."""

    key: str
    text: str
    default: str


@dataclass(frozen=True)
class Change:
    """One cell that becomes another."""

    column: Column
    model: ServedModel
    old: str
    new: str


def columns(rules: Iterable[Rule]) -> list[Column]:
    """The columns of rules that speak of models: one a severity that has exactly one limit for all and is no band."""
    speaking = set(query.label_values(NAME, (Matcher("!=", _MODEL, ""),)))
    found = []
    for rule in rules:
        try:
            asked = promql.parse(rule.expr)
        except promql.ParseError:
            continue  # the rule's own page says so
        if not speaking.intersection(asked.metric_names()):
            continue
        defaults: dict[str, list[Threshold]] = {}
        for row in rule.thresholds.all():
            if row.is_default and row.is_enabled:
                defaults.setdefault(row.severity, []).append(row)
        for severity, rows in defaults.items():
            if len(rows) == 1 and rows[0].upper is None:
                found.append(Column(rule, severity, rows[0], unit_of(asked)))
    return found


def table(models: Sequence[ServedModel], shown: Sequence[Column]) -> list[tuple[ServedModel, list[Cell]]]:
    """A row of cells for each model."""
    own = {(column.key, model.pk): _own(column, model) for column in shown for model in models}
    return [
        (
            model,
            [
                Cell(f"{column.key}:{model.pk}", _text(own[column.key, model.pk]), _number(column.default.value))
                for column in shown
            ],
        )
        for model in models
    ]


def changes(
    given: Mapping[str, str], models: Sequence[ServedModel], shown: Sequence[Column]
) -> tuple[list[Change], list[str]]:
    """What cells (key to text) would change, and what is wrong with them; cells that are not given stay."""
    found: list[Change] = []
    problems: list[str] = []
    for column in shown:
        for model in models:
            key = f"{column.key}:{model.pk}"
            if key not in given:
                continue
            old, new = _text(_own(column, model)), given[key].strip().replace(",", ".")
            if new and not _is_number(new):
                problems.append(f"{column.rule.name}, {model.name}: {given[key]!r} is no number.")
            elif (not new) != (not old) or (new and float(new) != float(old)):
                found.append(Change(column, model, old, _number(float(new)) if new else ""))
    return found, problems


def apply(wanted: Sequence[Change], seen: Mapping[int, int], reason: str, user: User, at: datetime) -> int:
    """Change all of the cells or none; returns how many rules changed.

    seen: the revision of each rule that the page showed. Raises PermissionDenied, and ValidationError when a rule
    changed since, a reason is missing or a row would be faulty.
    """
    if not user.has_perm("alerts.change_rule"):
        raise PermissionDenied("alerts.change_rule")
    if not reason.strip() and any(one.new for one in wanted):
        raise ValidationError("Say why these models have limits of their own; your colleagues will ask.")
    by_rule: dict[int, list[Change]] = {}
    for one in wanted:
        by_rule.setdefault(one.column.rule.pk, []).append(one)
    with transaction.atomic():
        rules = Rule.objects.select_for_update(of=("self",)).filter(pk__in=by_rule).order_by("pk")
        found = {rule.pk: rule for rule in rules.select_related("group")}
        for pk, mine in by_rule.items():
            rule = found.get(pk)
            if rule is None or rule.revision != seen.get(pk):
                raise ValidationError(f"{mine[0].column.rule.name} was changed meanwhile; look again.")
            _change(rule, mine, reason, user, at)
    return len(by_rule)


def _change(rule: Rule, mine: Sequence[Change], reason: str, user: User, at: datetime) -> None:
    rows = list(rule.thresholds.select_related(*scope.RELATED).order_by("pk"))
    for one in mine:
        own = next((row for row in rows if _is_own(row, one.column.severity, one.model)), None)
        if not one.new:
            rows = [row for row in rows if row is not own]
        elif own is not None:
            own.value, own.reason, own.author = float(one.new), reason.strip() or own.reason, user
        else:
            default = one.column.default
            rows.append(
                Threshold(
                    rule=rule, severity=one.column.severity, operator=default.operator, value=float(one.new),
                    hold_seconds=default.hold_seconds, model=one.model, reason=reason.strip(), author=user,
                )
            )  # fmt: skip
    rule_edit.save(rule, rows, Rule.objects.get(pk=rule.pk), user, at)
    revisions.keep(rule, user, at, f"{len(mine)} limit{'' if len(mine) == 1 else 's'} changed in the sheet")


def to_csv(models: Sequence[ServedModel], shown: Sequence[Column]) -> str:
    """The sheet as a file: a line a model, empty where the limit for all applies; the first line says that one."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["model", *(column.title for column in shown)])
    writer.writerow(["(all)", *(_number(column.default.value) for column in shown)])
    for model, cells in table(models, shown):
        writer.writerow([model.name, *(cell.text for cell in cells)])
    return out.getvalue()


def from_csv(text: str, models: Sequence[ServedModel], shown: Sequence[Column]) -> dict[str, str]:
    """The cells of a file by key, for `changes`; raises ValidationError naming what is not known."""
    lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    if not lines or not lines[0] or lines[0][0].strip() != "model":
        raise ValidationError("The first line must begin with “model”, as the file that is offered here does.")
    titles = {column.title: column for column in shown}
    names = {model.name: model for model in models}
    unknown = [title for title in lines[0][1:] if title.strip() not in titles]
    unknown += [line[0] for line in lines[1:] if line and line[0].strip() not in {*names, "(all)"}]
    if unknown:
        raise ValidationError(f"Not on this sheet: {', '.join(unknown[:5])}.")
    wanted = [titles[title.strip()] for title in lines[0][1:]]
    return {
        f"{column.key}:{names[line[0].strip()].pk}": text
        for line in lines[1:]
        if line and line[0].strip() in names
        for column, text in zip(wanted, line[1:], strict=False)
    }


def _own(column: Column, model: ServedModel) -> Threshold | None:
    return next((row for row in column.rule.thresholds.all() if _is_own(row, column.severity, model)), None)


def _is_own(row: Threshold, severity: str, model: ServedModel) -> bool:
    """Whether a row is for this model and nothing narrower: as an object of the registry, or by its name."""
    if row.severity != severity or not row.is_enabled or row.version_id or row.stage or row.host_id or row.gpu:
        return False
    if row.model_id is not None:
        return row.model_id == model.pk and not row.has_selector
    try:
        return promql.parse_matchers(row.selector or "{}") == (Matcher("=", _MODEL, model.name),)
    except promql.ParseError:
        return False


def _text(row: Threshold | None) -> str:
    return "" if row is None else _number(row.value)


def _number(value: float) -> str:
    """A number that reads back as the same one, whole ones without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
