"""A dashboard as values, apart from rows and from Grafana's JSON: what import, export, built-ins and pages share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class QuerySpec:
    """One question of a panel; `legend` is a template such as "{{method}} {{endpoint}}", empty for all labels."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Step:
    """From `value` up a number means `severity` ("ok", "info", "warning", "critical"); None is the ground."""

    value: float | None
    severity: str


@dataclass(frozen=True)
class PanelSpec:
    """One panel. `width` is of 24 columns, `height` in steps of 30 pixels, `kind` one of Panel.Kind."""

    number: int
    title: str
    kind: str
    queries: tuple[QuerySpec, ...]
    description: str = ""
    section: str = ""
    width: int = 12
    height: int = 8
    unit: str = "short"
    minimum: float | None = None
    maximum: float | None = None
    is_stacked: bool = False
    calculation: str = "last"
    thresholds: tuple[Step, ...] = ()


@dataclass(frozen=True)
class VariableSpec:
    """A choice above the page.

    `query` asks for the choices of kind "query"; `options` are those of "custom" and "interval", the one value of
    "constant" and "textbox". `default` are the values chosen at first: empty is the first choice, or all.
    """

    name: str
    kind: str = "query"
    label: str = ""
    query: str = ""
    regex: str = ""
    options: tuple[str, ...] = ()
    is_multi: bool = False
    has_all: bool = False
    all_value: str = ""
    default: tuple[str, ...] = ()


@dataclass(frozen=True)
class DashboardSpec:
    """A whole dashboard."""

    title: str
    panels: tuple[PanelSpec, ...]
    description: str = ""
    tags: tuple[str, ...] = ()
    variables: tuple[VariableSpec, ...] = ()
    default_range: str = "1h"
    refresh_seconds: int = 30
    slug: str = field(default="", compare=False)

    def digest(self) -> str:
        """Return a hash of everything a reader of the page sees."""
        content = asdict(self)
        del content["slug"]
        return hashlib.sha256(json.dumps(_normal(content), sort_keys=True).encode()).hexdigest()


def variable_of(raw: dict[str, Any]) -> VariableSpec:
    """Return a variable from its row's JSON; what is missing has its default, what is unknown is left out."""
    known = {name: raw[name] for name in VariableSpec.__dataclass_fields__ if name in raw}
    for name in ("options", "default"):
        if name in known:
            given = known[name]
            known[name] = tuple(map(str, given)) if isinstance(given, list | tuple) else (str(given),)
    for name in ("label", "query", "regex", "all_value"):
        if name in known:
            known[name] = str(known[name])
    return VariableSpec(**known)


def plain_variable(variable: VariableSpec) -> dict[str, Any]:
    """Return a variable as JSON for its row, without what has its default."""
    standard = VariableSpec(variable.name)
    content = {name: value for name, value in asdict(variable).items() if value != getattr(standard, name)}
    return {"name": variable.name, **{name: _listed(value) for name, value in content.items()}}


def _normal(value: Any) -> Any:
    """Return the value with every number a float: 85 comes back from a column as 85.0."""
    if isinstance(value, dict):
        return {name: _normal(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
