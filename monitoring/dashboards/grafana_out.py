"""A DashboardSpec as Grafana's dashboard JSON, which Grafana imports and grafana_in reads back."""

from __future__ import annotations

from typing import Any

from monitoring.dashboards import grafana_words as words
from monitoring.dashboards.answers import letter
from monitoring.dashboards.macros import ALL
from monitoring.dashboards.spec import DashboardSpec, PanelSpec, VariableSpec

GRID_COLUMNS = 24
#: Grafana asks which data source to use when it shows the page; queries name this variable.
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_REFRESH_UNITS = ((3600, "h"), (60, "m"), (1, "s"))


def write(spec: DashboardSpec) -> dict[str, Any]:
    """Return the dashboard as Grafana's classic JSON model."""
    return {
        "title": spec.title,
        "uid": spec.slug[:40] or None,
        "description": spec.description,
        "tags": list(spec.tags),
        "schemaVersion": words.WRITTEN_SCHEMA,
        "editable": True,
        "time": {"from": f"now-{spec.default_range}", "to": "now"},
        "timezone": "utc",
        "refresh": _refresh(spec.refresh_seconds),
        "templating": {"list": [_source_variable(), *(_variable(one) for one in spec.variables)]},
        "annotations": {"list": []},
        "panels": _panels(spec.panels),
    }


class _Grid:
    """Grafana's grid while it is filled: each panel goes where the page's own grid (CSS auto-placement) puts it."""

    def __init__(self) -> None:
        self._bottoms = [0] * GRID_COLUMNS
        self._x = self._y = 0

    def place(self, width: int, height: int) -> dict[str, int]:
        """Return the place of the next panel: the first that is free, never before the one placed last."""
        while True:
            for x in range(self._x, GRID_COLUMNS - width + 1):
                if all(bottom <= self._y for bottom in self._bottoms[x : x + width]):
                    self._bottoms[x : x + width] = [self._y + height] * width
                    self._x = x + width
                    return {"h": height, "w": width, "x": x, "y": self._y}
            self._x, self._y = 0, self._y + 1


def _panels(panels: tuple[PanelSpec, ...]) -> list[dict[str, Any]]:
    """Return the panels on Grafana's grid, with a row before each that begins another section."""
    found: list[dict[str, Any]] = []
    grid, section = _Grid(), ""
    next_id = max((panel.number for panel in panels), default=0) + 1
    for panel in panels:
        if panel.section != section:
            section = panel.section
            found.append(_row(next_id, section, grid.place(GRID_COLUMNS, 1)))
            next_id += 1
        found.append(_panel(panel, grid.place(panel.width, panel.height)))
    return found


def _row(id_: int, title: str, place: dict[str, int]) -> dict[str, Any]:
    return {"id": id_, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: PanelSpec, place: dict[str, int]) -> dict[str, Any]:
    custom: dict[str, Any] = {}
    if panel.kind == "timeseries":
        custom = {
            "stacking": {"mode": "normal" if panel.is_stacked else "none"},
            "fillOpacity": 30 if panel.is_stacked else 10,
            "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
        }
    defaults: dict[str, Any] = {
        "unit": words.WRITTEN_UNITS.get(panel.unit or "short") or f"suffix:{panel.unit}",
        "custom": custom,
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "mappings": [],
    }
    defaults |= {name: value for name, value in (("min", panel.minimum), ("max", panel.maximum)) if value is not None}
    calcs = [words.WRITTEN_CALCULATIONS[panel.calculation]]
    is_number = panel.kind in ("stat", "gauge")
    return {
        "id": panel.number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": calcs, "values": False}} if is_number else {},
        "targets": [_target(panel, place) for place in range(len(panel.queries))],
    }


def _target(panel: PanelSpec, place: int) -> dict[str, Any]:
    one = panel.queries[place]
    is_table = panel.kind == "table"
    extra = {"format": "table", "instant": True, "range": False} if is_table else {"range": True}
    return {
        "refId": letter(place), "datasource": _SOURCE, "expr": one.expr, "legendFormat": one.legend or "__auto", **extra
    }  # fmt: skip


def _steps(panel: PanelSpec) -> list[dict[str, Any]]:
    steps = sorted(panel.thresholds, key=lambda one: float("-inf") if one.value is None else one.value)
    # Grafana takes the first step for the ground, whatever its value.
    ground = [] if steps and steps[0].value is None else [{"color": words.COLOURS["ok"], "value": None}]
    return [*ground, *({"color": words.COLOURS[one.severity], "value": one.value} for one in steps)]


def _variable(one: VariableSpec) -> dict[str, Any]:
    chosen: Any = list(one.default) if one.is_multi or len(one.default) > 1 else "".join(one.default)
    found: dict[str, Any] = {
        "name": one.name, "type": one.kind, "label": one.label or None, "multi": one.is_multi,
        "includeAll": one.has_all, "allValue": one.all_value or None, "hide": 0,
        "current": {"text": "All" if chosen in (ALL, [ALL]) else chosen, "value": chosen} if one.default else {},
    }  # fmt: skip
    if one.kind == "query":
        query = {"query": one.query, "refId": f"variable-{one.name}"}
        asks = {"datasource": _SOURCE, "query": query, "definition": one.query}
        return {**found, **asks, "regex": one.regex, "refresh": 2}
    if one.kind == "interval":
        texts = [text for text in one.options if text != "auto"]
        if one.default == ("auto",):
            found["current"] = {"text": "auto", "value": f"$__auto_interval_{one.name}"}
        return {**found, "query": ",".join(texts), "auto": "auto" in one.options}
    is_list = one.kind == "custom"
    return {**found, "query": ",".join(text.replace(",", "\\,") if is_list else text for text in one.options)}


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus", "hide": 0}


def _refresh(seconds: int) -> str:
    for size, unit in _REFRESH_UNITS:
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return ""
