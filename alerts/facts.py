"""What the store knows of the names in an expression, for lint: one source for the form, the import and the command.

Answers are remembered for as long as an instance lives, so that a file of a thousand rules asks for each name once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from alerts.engine.findings import Facts
from monitoring import promql, query
from monitoring.models import MetricMetadata, ServedModel, Target
from monitoring.promql import NAME, Labels, Matcher


@dataclass
class Known:
    """What is stored and registered at one time."""

    names: frozenset[str] = field(default_factory=lambda: frozenset(query.metric_names()))
    models: tuple[str, ...] = field(default_factory=lambda: tuple(ServedModel.objects.values_list("name", flat=True)))
    scrape_seconds: float = field(default_factory=lambda: _fastest_scrape())
    types: Mapping[str, str] = field(init=False)
    _labels: dict[str, list[str]] = field(default_factory=dict)
    _values: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look up what targets say of the types of all that is stored."""
        self.types = _types(self.names)

    def about(self, expr: str, series: Sequence[Labels] | None = None) -> Facts:
        """The facts that lint needs of one expression; series: what it returns now, None when nobody asked."""
        return Facts(
            metric_types=self.types,
            label_values=self._label_values(expr),
            series=series,
            scrape_interval_seconds=self.scrape_seconds,
            model_names=self.models,
        )

    def _label_values(self, expr: str) -> dict[str, dict[str, frozenset[str]]]:
        """Per metric of the expression its labels, with the values of those that it selects by."""
        try:
            selectors = promql.parse(expr).selectors()
        except promql.ParseError:
            return {}
        found: dict[str, dict[str, frozenset[str]]] = {}
        for selector in selectors:
            name = next((one.value for one in selector.matchers if one.name == NAME and one.op == "="), "")
            if name not in self.names:
                continue
            labels = found.setdefault(name, {one: frozenset() for one in self._label_names(name)})
            for matcher in selector.matchers:
                if matcher.name in labels and matcher.name != NAME:
                    labels[matcher.name] = self._values_of(name, matcher.name)
        return found

    def _label_names(self, name: str) -> list[str]:
        if name not in self._labels:
            self._labels[name] = [one for one in query.label_names((Matcher("=", NAME, name),)) if one != NAME]
        return self._labels[name]

    def _values_of(self, name: str, label: str) -> frozenset[str]:
        if (name, label) not in self._values:
            self._values[name, label] = frozenset(query.label_values(label, (Matcher("=", NAME, name),)))
        return self._values[name, label]


def _types(names: frozenset[str]) -> dict[str, str]:
    """What targets say each stored metric is; "" where nobody says, or two say different things."""
    told: dict[str, str] = {}
    rows = MetricMetadata.objects.exclude(type__in=("", "unknown", "untyped"))
    for name, kind in rows.values_list("name", "type").distinct():
        # OpenMetrics names the family of a counter without _total.
        for one in (f"{name.removesuffix('_total')}_total",) if kind == "counter" else (name,):
            told[one] = kind if told.get(one, kind) == kind else ""
    return {name: told.get(name) or _type_of_part(name, told) for name in names}


def _type_of_part(name: str, told: Mapping[str, str]) -> str:
    """The series of a histogram or summary are of its type."""
    family, _, part = name.rpartition("_")
    kind = told.get(family, "") if part in ("bucket", "sum", "count") else ""
    return kind if kind in ("histogram", "summary") else ""


def _fastest_scrape() -> float:
    """The shortest interval at which anything is measured: a window too short for it is too short for all."""
    intervals = Target.objects.filter(is_enabled=True).values_list("interval_seconds", flat=True)
    return float(min([*intervals, settings.ENV.collect_interval_seconds]))
