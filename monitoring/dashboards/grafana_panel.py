"""One panel of Grafana's JSON as a PanelSpec, with a reason for everything that is lost on the way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.dashboards import grafana_words as words
from monitoring.dashboards.answers import letter
from monitoring.dashboards.grafana_json import deep, mapping, number, objects, text, whole
from monitoring.dashboards.macros import Values, fill, windows
from monitoring.dashboards.spec import PanelSpec, QuerySpec, Step
from monitoring.promql import ParseError, parse

DEFAULT_WIDTH, DEFAULT_HEIGHT = 12, 8
GRID_PIXELS = 30
_PROMETHEUS = re.compile(r"prometheus|mimir|thanos|victoriametrics|cortex", re.I)
_OTHERS = re.compile(
    r"loki|influx|elastic|graphite|tempo|jaeger|postgres|mysql|mssql|cloudwatch|opentsdb|testdata", re.I
)
_PLAIN_UNITS = {"_percent": "percent", "_bytes": "bytes", "_seconds": "seconds", "_celsius": "°C", "_watts": "W"}
_PLAIN_NAME = re.compile(r"\s*([a-zA-Z_:][\w:]*)\s*(\{[^{}]*\})?\s*\Z")


@dataclass(frozen=True)
class Read:
    """A panel as read: its spec, None when it was skipped, and what was lost or why."""

    spec: PanelSpec | None
    reasons: tuple[str, ...]


def read_panel(raw: dict[str, Any], number_: int, section: str, known: Values) -> Read:
    """Return a panel with the reasons for what is lost; `known` lets its queries be parsed."""
    given = text(raw.get("type"))
    if deep(raw, "libraryPanel") and not raw.get("targets"):
        return Read(None, ("a library panel: its queries are not in this file",))
    if given in words.WITHOUT_SERIES:
        return Read(None, (words.WITHOUT_SERIES[given],))
    if given not in words.KINDS and not raw.get("targets"):
        return Read(None, (f"the type {given or 'none'!r} is not known",))
    kind, lost = words.KINDS.get(given, ("timeseries", f"the type {given!r} is not known and is drawn as lines"))
    reasons = [lost] if lost else []
    queries = _queries(raw, known, reasons)
    if not queries:
        return Read(None, (*reasons, "no PromQL query in it"))
    if kind == "stat" and deep(raw, "gauge", "show") is True:
        kind = "gauge"
    unit = _unit(raw, queries, reasons)
    low, high = _bounds(raw, given)
    spec = PanelSpec(
        number=number_,
        title=text(raw.get("title"), 200),
        kind=kind,
        queries=tuple(queries),
        description=text(raw.get("description"), 5000),
        section=section,
        width=_width(raw),
        height=_height(raw),
        unit=unit,
        minimum=low,
        maximum=high,
        is_stacked=_is_stacked(raw, reasons),
        calculation=_calculation(raw, reasons) if kind in ("stat", "gauge") else "last",
        thresholds=_thresholds(raw, given, kind, (low, high), reasons),
    )
    return Read(spec, (*reasons, *_left_out(raw)))


def _queries(raw: dict[str, Any], known: Values, reasons: list[str]) -> list[QuerySpec]:
    found: list[QuerySpec] = []
    for place, target in enumerate(objects(raw.get("targets"))):
        name = text(target.get("refId"), 20) or letter(place)
        expr = text(target.get("expr")).strip()
        if source := _foreign(target.get("datasource"), raw.get("datasource")):
            reasons.append(f"query {name} asks {source}, not Prometheus")
        elif not expr:
            reasons.append(f"query {name} is empty or no PromQL")
        elif target.get("hide") is True:
            reasons.append(f"query {name} is hidden and is left out")
        else:
            legend = text(target.get("legendFormat"), 500)
            found.append(QuerySpec(expr, "" if legend == "__auto" else legend))
            if problem := query_problem(expr, known):
                reasons.append(f"query {name} cannot be asked here: {problem}")
    return found


def query_problem(expr: str, known: Values) -> str:
    """Return why a query with variables is no PromQL, with line and column; empty when it is."""
    try:
        parse(fill(expr, known, windows(0, 3600, 15)))
    except ParseError as error:
        return f"line {error.line}, column {error.column}: {error.message}"
    return ""


def _foreign(*sources: Any) -> str:
    """Return the kind of a data source that is not Prometheus; empty where it is, or where nobody can tell."""
    for source in sources:
        name = text(mapping(source).get("type")) if isinstance(source, dict) else text(source)
        if _PROMETHEUS.search(name):
            return ""
        if _OTHERS.search(name) or name in ("__expr__", "-- Grafana --"):
            return name
    return ""


def _unit(raw: dict[str, Any], queries: Sequence[QuerySpec], reasons: list[str]) -> str:
    axes = objects(raw.get("yaxes"))
    places = (
        deep(raw, "fieldConfig", "defaults", "unit"), deep(raw, "options", "fieldOptions", "defaults", "unit"),
        deep(raw, "options", "fieldOptions", "unit"), raw.get("format"), axes[0].get("format") if axes else None,
    )  # fmt: skip
    given = next((text(place, 40) for place in places if place), "")
    if not given:
        return _plain_unit(queries)
    for prefix in ("suffix:", "prefix:", "currency:"):
        if given.startswith(prefix):
            return given.removeprefix(prefix).strip() or "short"
    # Grafana writes an id that it does not know behind the number, and people use that: "req/s", "tokens / s".
    unit, lost = words.UNITS.get(given, (given, f"the unit {given!r} is written as it stands"))
    if lost and (given in words.UNITS or given.isalnum()):
        reasons.append(lost)
    return unit


def _plain_unit(queries: Sequence[QuerySpec]) -> str:
    """Return the unit that a metric's name tells, where the file names none and the query asks for it as it is."""
    found = set()
    for one in queries:
        match = _PLAIN_NAME.match(one.expr)
        found.add(next((unit for end, unit in _PLAIN_UNITS.items() if match and match[1].endswith(end)), "short"))
    return found.pop() if len(found) == 1 else "short"


def _bounds(raw: dict[str, Any], given: str) -> tuple[float | None, float | None]:
    axes = objects(raw.get("yaxes"))
    axis = axes[0] if axes and given == "graph" else {}
    defaults = mapping(deep(raw, "fieldConfig", "defaults"))
    older = mapping(deep(raw, "options", "fieldOptions", "defaults"))
    single = mapping(raw.get("gauge")) if given == "singlestat" and deep(raw, "gauge", "show") is True else {}
    found = []
    for end, old in (("min", "minValue"), ("max", "maxValue")):
        choices = (defaults.get(end), older.get(end), single.get(old), axis.get(end))
        found.append(next((value for choice in choices if (value := number(choice)) is not None), None))
    low, high = found
    return (low, high) if low is None or high is None or low < high else (None, None)


def _width(raw: dict[str, Any]) -> int:
    if "gridPos" in raw:
        return whole(deep(raw, "gridPos", "w"), 1, 24, DEFAULT_WIDTH)
    span = number(raw.get("span"))  # of 12, in the older shape
    return DEFAULT_WIDTH if span is None else whole(2 * span, 1, 24, DEFAULT_WIDTH)


def _height(raw: dict[str, Any]) -> int:
    if "gridPos" in raw:
        return whole(deep(raw, "gridPos", "h"), 2, 40, DEFAULT_HEIGHT)
    pixels = number(text(raw.get("height")).removesuffix("px"))
    return DEFAULT_HEIGHT if pixels is None else whole(pixels / GRID_PIXELS, 2, 40, DEFAULT_HEIGHT)


def _is_stacked(raw: dict[str, Any], reasons: list[str]) -> bool:
    mode = text(deep(raw, "fieldConfig", "defaults", "custom", "stacking", "mode"))
    if mode == "percent" or (raw.get("stack") is True and raw.get("percentage") is True):
        reasons.append("stacked to 100 % becomes stacked")
        return True
    return mode == "normal" or raw.get("stack") is True


def _calculation(raw: dict[str, Any], reasons: list[str]) -> str:
    options = mapping(raw.get("options"))
    calcs = deep(options, "reduceOptions", "calcs") or deep(options, "fieldOptions", "calcs")
    given = text(calcs[0]) if isinstance(calcs, list) and calcs else text(raw.get("valueName"))
    if given and (given not in words.CALCULATIONS or given.startswith("first")):
        reasons.append(f"the calculation {given!r} becomes the last value")
    return words.CALCULATIONS.get(given, "last")


def _thresholds(
    raw: dict[str, Any], given: str, kind: str, bounds: tuple[float | None, float | None], reasons: list[str]
) -> tuple[Step, ...]:
    if given == "graph":
        return _graph_thresholds(raw)
    if given == "singlestat":
        return _single_thresholds(raw)
    defaults = mapping(deep(raw, "fieldConfig", "defaults"))
    config = mapping(defaults.get("thresholds"))
    steps = objects(config.get("steps")) or objects(deep(raw, "options", "fieldOptions", "thresholds"))
    # Every exported time series carries thresholds; they show only when a style is chosen.
    if kind == "timeseries" and text(deep(defaults, "custom", "thresholdsStyle", "mode")) in ("", "off"):
        return ()
    found = [Step(number(step.get("value")), words.severity_of_colour(text(step.get("color")))) for step in steps]
    if config.get("mode") == "percentage":
        low, high = bounds
        if low is None or high is None:
            reasons.append("thresholds in percent without minimum and maximum are left out")
            return ()
        found = [Step(one.value and low + (high - low) * one.value / 100, one.severity) for one in found]
    # The first step is the ground, whatever number older versions wrote into it.
    # Alone it is the colour of everything and says nothing.
    ground, above = found[:1], [one for one in found[1:] if one.value is not None]
    return (Step(None, ground[0].severity), *above) if above else ()


def _graph_thresholds(raw: dict[str, Any]) -> tuple[Step, ...]:
    severities = {"critical": "critical", "warning": "warning", "ok": "ok"}
    found = []
    for one in objects(raw.get("thresholds")):
        value = number(one.get("value"))
        colour = text(one.get("lineColor") or one.get("fillColor"))
        severity = severities.get(text(one.get("colorMode"))) or words.severity_of_colour(colour)
        if value is not None:
            found.append(Step(value, severity))
    return tuple(found)


def _single_thresholds(raw: dict[str, Any]) -> tuple[Step, ...]:
    colours = raw.get("colors")
    if not isinstance(colours, list) or not (raw.get("colorValue") or raw.get("colorBackground") or raw.get("gauge")):
        return ()
    limits = [number(part.strip()) for part in text(raw.get("thresholds")).split(",") if part.strip()]
    values: list[float | None] = [None, *limits]
    if len(limits) == 0 or None in limits:
        return ()
    pairs = zip(values, colours, strict=False)
    return tuple(Step(value, words.severity_of_colour(text(colour))) for value, colour in pairs)


def _left_out(raw: dict[str, Any]) -> list[str]:
    """Return what a panel has and this portal does not, a sentence each."""
    defaults = mapping(deep(raw, "fieldConfig", "defaults"))
    overrides = objects(deep(raw, "fieldConfig", "overrides"))
    transformations = [text(one.get("id"), 40) for one in objects(raw.get("transformations"))]
    found = {
        f"transformations are left out: {', '.join(transformations)}": transformations,
        f"{len(overrides)} override{'' if len(overrides) == 1 else 's'} of single fields left out": overrides,
        "overrides of single series are left out": objects(raw.get("seriesOverrides")),
        "value mappings are left out": objects(defaults.get("mappings")) or objects(raw.get("valueMaps")),
        "it is shown once, not repeated by a variable": text(raw.get("repeat")),
        "its own time range or shift is left out": text(raw.get("timeFrom")) or text(raw.get("timeShift")),
        "its alert is left out; make a rule of it": mapping(raw.get("alert")),
    }
    return [reason for reason, is_there in found.items() if is_there]
