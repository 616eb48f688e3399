"""Grafana's dashboard JSON into a DashboardSpec, saying for each panel what became of it.

Reads the classic model (schema versions up to NEWEST_SCHEMA) in both shapes: "panels" with "gridPos", and the older
"rows" with "span"; bare or wrapped as {"dashboard": …} as the HTTP API and many guides write it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from monitoring.dashboards import grafana_words as words
from monitoring.dashboards.grafana_json import GrafanaError, deep, loads, mapping, number, objects, text, whole
from monitoring.dashboards.grafana_panel import read_panel
from monitoring.dashboards.macros import ALL, Values, probe_values
from monitoring.dashboards.spec import DashboardSpec, PanelSpec, VariableSpec
from monitoring.dashboards.window import DEFAULT_RANGE, RANGES

#: The largest dashboard in Grafana's own library has some two hundred; a page of more would never be read.
MAX_PANELS = 500
_MAX_NUMBER = 2_000_000_000
_NAME = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_SPAN = re.compile(r"(\d+)([smhdwMy])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}


class Outcome(StrEnum):
    """What became of a panel or variable."""

    CONVERTED = "converted"
    APPROXIMATED = "approximated"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What became of one thing of the file; `number` is the panel's id, 0 for variables and the page itself."""

    number: int
    title: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """A dashboard as read, with a finding for each panel and variable."""

    spec: DashboardSpec
    findings: tuple[Finding, ...]

    def count(self, outcome: str) -> int:
        """Return how many panels had an outcome."""
        return sum(1 for one in self.findings if one.number and one.outcome == outcome)


def read(source: str | bytes | dict[str, Any]) -> Imported:
    """Return the dashboard in a Grafana file; raises GrafanaError when it is none this portal can read."""
    raw = _unwrapped(source if isinstance(source, dict) else loads(source))
    _refuse_unknown(raw)
    variables, findings = _variables(raw)
    panels = _placed(raw)
    if len(panels) > MAX_PANELS:
        raise GrafanaError(f"The dashboard has {len(panels):,} panels; {MAX_PANELS} are allowed.")
    specs, told = _panels(panels, probe_values(variables))
    if objects(deep(raw, "annotations", "list")) and any(not one.get("builtIn") for one in raw["annotations"]["list"]):
        told.append(Finding(0, "annotations", Outcome.SKIPPED, ("alerts and deploys are marked by themselves",)))
    spec = DashboardSpec(
        title=text(raw.get("title"), 200).strip() or "Imported dashboard",
        panels=tuple(specs),
        description=text(raw.get("description"), 5000),
        tags=tuple(dict.fromkeys(tag for one in _listed(raw.get("tags")) if (tag := text(one, 50)))),
        variables=tuple(variables),
        default_range=_range(raw),
        refresh_seconds=_refresh(raw.get("refresh")),
    )
    return Imported(spec, (*findings, *told))


def _unwrapped(raw: dict[str, Any]) -> dict[str, Any]:
    inner = raw.get("dashboard")
    return inner if isinstance(inner, dict) and "panels" not in raw and "rows" not in raw else raw


def _refuse_unknown(raw: dict[str, Any]) -> None:
    if "apiVersion" in raw or isinstance(raw.get("elements"), dict) or "kind" in raw:
        version = text(raw.get("apiVersion"), 60) or "v2"
        raise GrafanaError(
            f"The file is written in Grafana's schema {version!r}, which the portal does not read; "
            "export it as JSON in the classic model (Export, then “Classic”)."
        )
    given = raw.get("schemaVersion")
    version_number = number(given)
    if given is not None and (version_number is None or not 0 <= version_number <= words.NEWEST_SCHEMA):
        raise GrafanaError(
            f"The file has the schema version {text(given, 20) or 'of no number'}; the portal knows those up to "
            f"{words.NEWEST_SCHEMA}. Nothing was imported, since fields may mean something else there."
        )
    if not isinstance(raw.get("panels"), list) and not isinstance(raw.get("rows"), list):
        raise GrafanaError("The file holds neither “panels” nor “rows”: it is no dashboard of Grafana.")


def _placed(raw: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the panels in reading order, each with the heading of the row it is in; rows themselves are left out."""
    found: list[tuple[dict[str, Any], str]] = []
    for row in objects(raw.get("rows")):
        heading = text(row.get("title"), 200) if row.get("showTitle") is not False or row.get("collapse") else ""
        for panel in objects(row.get("panels")):
            found.append(({"height": row.get("height"), **panel}, heading))
    section = ""
    for panel in sorted(objects(raw.get("panels")), key=_place):
        if panel.get("type") != "row":
            found.append((panel, section))
            continue
        section = text(panel.get("title"), 200)
        # A closed row holds its panels itself.
        found += [(inner, section) for inner in sorted(objects(panel.get("panels")), key=_place)]
    return found


def _place(panel: dict[str, Any]) -> tuple[float, float]:
    position = mapping(panel.get("gridPos"))
    return number(position.get("y")) or 0, number(position.get("x")) or 0


def _panels(placed: list[tuple[dict[str, Any], str]], known: Values) -> tuple[list[PanelSpec], list[Finding]]:
    specs: list[PanelSpec] = []
    findings: list[Finding] = []
    taken: set[int] = set()
    for raw, section in placed:
        number_ = whole(raw.get("id"), 0, _MAX_NUMBER, 0)
        if not number_ or number_ in taken:
            number_ = max(taken, default=0) + 1
        taken.add(number_)
        done = read_panel(raw, number_, section, known)
        if done.spec is None:
            outcome = Outcome.SKIPPED
        else:
            specs.append(done.spec)
            outcome = Outcome.APPROXIMATED if done.reasons else Outcome.CONVERTED
        findings.append(Finding(number_, text(raw.get("title"), 200), outcome, done.reasons))
    return specs, findings


def _variables(raw: dict[str, Any]) -> tuple[list[VariableSpec], list[Finding]]:
    found: dict[str, VariableSpec] = {}
    findings = []
    for one in objects(deep(raw, "templating", "list")):
        name, kind = text(one.get("name"), 100), text(one.get("type"), 40)
        if kind == "datasource":
            continue  # there is one store; a query's data source is not looked at
        variable = _variable(one, name, kind) if _NAME.match(name) else None
        if variable is None or name in found:
            reason = f"the kind {kind!r} has no counterpart" if _NAME.match(name) else "its name is none PromQL takes"
            reason = "there are two of this name" if name in found else reason
            findings.append(Finding(0, f"variable {name}", Outcome.SKIPPED, (reason,)))
        else:
            found[name] = variable
            findings.append(Finding(0, f"variable {name}", Outcome.CONVERTED))
    return list(found.values()), findings


def _variable(raw: dict[str, Any], name: str, kind: str) -> VariableSpec | None:
    if kind not in ("query", "custom", "interval", "constant", "textbox"):
        return None
    given = raw.get("query")
    asked = text(mapping(given).get("query")) if isinstance(given, dict) else text(given)
    all_value = text(raw.get("allValue"))
    variable = VariableSpec(
        name, kind, text(raw.get("label"), 100), is_multi=raw.get("multi") is True,
        has_all=raw.get("includeAll") is True, all_value="" if all_value == "null" else all_value,
        default=_default(raw),
    )  # fmt: skip
    if kind == "query":
        return replace(variable, query=asked, regex=text(raw.get("regex"), 1000)) if asked.strip() else None
    if kind in ("constant", "textbox"):
        return replace(variable, options=(asked,), default=())
    # "a : b" is a value b shown as a; the value is what queries need.
    parts = [part.strip().rpartition(" : ")[2].strip() for part in re.split(r"(?<!\\),", asked)]
    options = [part.replace("\\,", ",") for part in parts if part]
    if kind == "interval" and raw.get("auto") is True:
        options = ["auto", *options]
    return replace(variable, options=tuple(options))


def _default(raw: dict[str, Any]) -> tuple[str, ...]:
    value = deep(raw, "current", "value")
    values = [text(one, 500) for one in (value if isinstance(value, list) else [value])]
    if raw.get("type") == "interval" and any(one.startswith("$__auto") for one in values):
        return ("auto",)
    return tuple(one for one in values if one and (one == ALL or not one.startswith("$__")))


def _range(raw: dict[str, Any]) -> str:
    """Return the shortest range on offer that shows what the file asks for."""
    match = _SPAN.match(text(deep(raw, "time", "from")).replace(" ", "").removeprefix("now-"))
    if match is None:
        return DEFAULT_RANGE
    seconds = int(match[1][:9]) * _SECONDS[match[2]]
    return next((name for name, length in RANGES.items() if length >= seconds), list(RANGES)[-1])


def _refresh(value: Any) -> int:
    match = _SPAN.match(text(value))
    return min(int(match[1][:6]) * _SECONDS[match[2]], 86400) if match else 0


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
