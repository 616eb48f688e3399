"""Grafana's dashboards in and out: shapes, units, thresholds, variables, and what is said of every panel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.dashboards import grafana_in, grafana_out
from monitoring.dashboards.builtin_specs import BUILTINS
from monitoring.dashboards.grafana_in import Outcome
from monitoring.dashboards.grafana_json import GrafanaError
from monitoring.dashboards.grafana_words import NEWEST_SCHEMA, severity_of_colour
from monitoring.dashboards.macros import ALL
from monitoring.dashboards.spec import DashboardSpec, PanelSpec, QuerySpec, Step, VariableSpec

GUIDE = Path(__file__).resolve().parents[1].parent / "shared" / "seed" / "monitoring-guide.md"


def a_panel(**fields: Any) -> dict[str, Any]:
    return {"id": 1, "type": "timeseries", "title": "T", "targets": [{"refId": "A", "expr": "up"}]} | fields


def a_board(*panels: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"title": "Board", "schemaVersion": 39, "panels": list(panels) or [a_panel()]} | fields


def read_one(**fields: Any) -> tuple[PanelSpec, grafana_in.Finding]:
    """A board of one panel: the panel and what was said of it."""
    done = grafana_in.read(a_board(a_panel(**fields)))
    return done.spec.panels[0], done.findings[-1]


def defaults(**fields: Any) -> dict[str, Any]:
    return {"defaults": fields, "overrides": []}


# -- the guide's own dashboards ----------------------------------------------------------------------------------------


def guide_dashboards() -> list[dict[str, Any]]:
    if not GUIDE.exists():
        pytest.skip("the monitoring guide is not beside the checkout")
    blocks = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.S)
    return [json.loads(block) for block in blocks if '"dashboard"' in block]


def test_the_guides_dashboards_are_imported_as_they_stand() -> None:
    done = [grafana_in.read(raw) for raw in guide_dashboards()]
    assert [one.spec.title for one in done] == ["Alpha-Q Overview", "Resource Usage"]
    assert {finding.outcome for one in done for finding in one.findings} == {Outcome.CONVERTED}
    assert [panel.kind for one in done for panel in one.spec.panels] == [
        "timeseries",
        "timeseries",
        "gauge",
        "timeseries",
    ]


def test_the_built_in_overview_asks_what_the_guide_asks() -> None:
    for raw, key in zip(guide_dashboards(), ("alpha-q-overview", "resource-usage"), strict=True):
        theirs, ours = grafana_in.read(raw).spec, BUILTINS[key]
        assert theirs.title == ours.title
        assert [(one.title, one.kind, one.queries) for one in theirs.panels] == [
            (one.title, one.kind, one.queries) for one in ours.panels
        ]


# -- shapes ------------------------------------------------------------------------------------------------------------


def test_a_wrapped_dashboard_is_the_same_as_a_bare_one() -> None:
    assert grafana_in.read({"dashboard": a_board(), "meta": {}}) == grafana_in.read(a_board())


def test_older_rows_become_headings_and_spans_become_widths() -> None:
    row = {
        "title": "Machines",
        "height": "300px",
        "panels": [a_panel(type="graph", span=4), a_panel(id=2, type="graph")],
    }
    spec = grafana_in.read({"title": "Old", "schemaVersion": 14, "rows": [row]}).spec
    assert [(one.section, one.width, one.height) for one in spec.panels] == [("Machines", 8, 10), ("Machines", 12, 10)]


def test_open_and_closed_rows_become_headings() -> None:
    inner = a_panel(id=3, title="inside", gridPos={"x": 0, "y": 9, "w": 6, "h": 4})
    done = grafana_in.read(
        a_board(
            {"id": 9, "type": "row", "title": "Closed", "gridPos": {"y": 8, "x": 0}, "panels": [inner]},
            {"id": 8, "type": "row", "title": "Open", "gridPos": {"y": 0, "x": 0}, "panels": []},
            a_panel(id=2, title="right", gridPos={"x": 12, "y": 1, "w": 12, "h": 8}),
            a_panel(id=1, title="left", gridPos={"x": 0, "y": 1, "w": 12, "h": 8}),
        )
    )
    assert [(one.title, one.section) for one in done.spec.panels] == [
        ("left", "Open"), ("right", "Open"), ("inside", "Closed"),
    ]  # fmt: skip


def test_panels_without_or_with_the_same_number_get_one_of_their_own() -> None:
    spec = grafana_in.read(a_board(a_panel(), a_panel(), {**a_panel(), "id": None})).spec
    assert [one.number for one in spec.panels] == [1, 2, 3]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"title": "x", "schemaVersion": NEWEST_SCHEMA + 57, "panels": []}, "schema version 99"),
        ({"title": "x", "schemaVersion": "new", "panels": []}, "schema version new"),
        ({"apiVersion": "dashboard.grafana.app/v2beta1", "kind": "Dashboard", "spec": {}}, "v2beta1"),
        ({"title": "no panels"}, "neither “panels” nor “rows”"),
        ("[1, 2]", "no JSON object"),
        ("{,}", "no JSON: "),
        (b"\xff\xfe\x00", "no UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ({"panels": [a_panel() for _ in range(501)]}, "501 panels"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(raw: Any, words: str) -> None:
    with pytest.raises(GrafanaError, match=re.escape(words)):
        grafana_in.read(raw)


# -- panels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ours", "outcome"),
    [
        ("graph", "timeseries", "converted"),
        ("timeseries", "timeseries", "converted"),
        ("stat", "stat", "converted"),
        ("singlestat", "stat", "converted"),
        ("gauge", "gauge", "converted"),
        ("table", "table", "converted"),
        ("heatmap", "timeseries", "approximated"),
        ("piechart", "table", "approximated"),
        ("a-plugin-nobody-knows", "timeseries", "approximated"),
    ],
)
def test_each_type_becomes_the_nearest_of_ours(given: str, ours: str, outcome: str) -> None:
    panel, finding = read_one(type=given)
    assert (panel.kind, finding.outcome) == (ours, outcome)
    assert bool(finding.reasons) == (outcome == "approximated")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"type": "text", "targets": []}, "no query"),
        ({"type": "logs"}, "logs are not held here"),
        ({"type": "unknown", "targets": []}, "'unknown' is not known"),
        ({"targets": [{"expr": ""}]}, "no PromQL query"),
        ({"targets": [{"expr": "x", "datasource": {"type": "loki"}}]}, "asks loki"),
        ({"datasource": {"type": "influxdb", "uid": "x"}}, "asks influxdb"),
        ({"libraryPanel": {"uid": "x"}, "targets": None}, "library panel"),
    ],
)
def test_a_panel_that_cannot_be_is_skipped_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    done = grafana_in.read(a_board(a_panel(id=7, **fields)))
    (finding,) = done.findings
    assert (done.spec.panels, finding.number, finding.outcome) == ((), 7, Outcome.SKIPPED)
    assert reason in " ".join(finding.reasons)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"transformations": [{"id": "merge"}]}, "transformations are left out: merge"),
        ({"fieldConfig": {"defaults": {}, "overrides": [{}, {}]}}, "2 overrides"),
        ({"fieldConfig": defaults(mappings=[{"type": "value"}])}, "value mappings"),
        ({"repeat": "host"}, "not repeated"),
        ({"alert": {"name": "x"}}, "make a rule"),
        ({"timeShift": "1d"}, "shift"),
        ({"fieldConfig": defaults(unit="lengthft")}, "'lengthft' is written as it stands"),
        ({"targets": [{"expr": "up"}, {"expr": "down", "hide": True}]}, "query B is hidden"),
        ({"targets": [{"expr": "rate(up[5m]"}]}, "query A cannot be asked here: line 1, column"),
    ],
)
def test_what_is_lost_is_said(fields: dict[str, Any], reason: str) -> None:
    _, finding = read_one(**fields)
    assert finding.outcome == Outcome.APPROXIMATED
    assert reason in " ".join(finding.reasons)


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        ({"fieldConfig": defaults(unit="percentunit")}, "ratio"),
        ({"fieldConfig": defaults(unit="suffix:tokens/s")}, "tokens/s"),
        ({"fieldConfig": defaults(unit="tokens / s")}, "tokens / s"),
        ({"yaxes": [{"format": "bytes"}, {"format": "short"}]}, "bytes"),
        ({"format": "s"}, "seconds"),
        ({"targets": [{"expr": 'cpu_usage_percent{host="a"}'}]}, "percent"),
        ({"targets": [{"expr": "rate(disk_read_bytes[5m])"}]}, "short"),
    ],
)
def test_units_are_ours(fields: dict[str, Any], unit: str) -> None:
    assert read_one(**fields)[0].unit == unit


STEPS = [{"color": "green", "value": None}, {"color": "#EAB839", "value": 70}, {"color": "red", "value": 90}]


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        (
            {"type": "gauge", "fieldConfig": defaults(thresholds={"mode": "absolute", "steps": STEPS})},
            (Step(None, "ok"), Step(70, "warning"), Step(90, "critical")),
        ),
        (
            {"type": "stat", "fieldConfig": defaults(min=0, max=2, thresholds={"mode": "percentage", "steps": STEPS})},
            (Step(None, "ok"), Step(1.4, "warning"), Step(1.8, "critical")),
        ),
        ({"fieldConfig": defaults(thresholds={"mode": "absolute", "steps": STEPS})}, ()),
        (
            {"type": "graph", "thresholds": [{"value": 5, "op": "gt", "colorMode": "critical"}]},
            (Step(5, "critical"),),
        ),
        (
            {"type": "singlestat", "thresholds": "1,2", "colors": ["#299c46", "orange", "#d44a3a"], "colorValue": True},
            (Step(None, "ok"), Step(1, "warning"), Step(2, "critical")),
        ),
    ],
)
def test_thresholds_of_every_age_are_read(fields: dict[str, Any], steps: tuple[Step, ...]) -> None:
    assert read_one(**fields)[0].thresholds == steps


@pytest.mark.parametrize(
    ("colour", "severity"),
    [
        ("red", "critical"), ("semi-dark-orange", "warning"), ("light-yellow", "warning"), ("dark-green", "ok"),
        ("blue", "info"), ("#299c46", "ok"), ("rgba(237, 129, 40, 0.89)", "warning"), ("#d44a3a", "critical"),
        ("rgb(245, 54, 54)", "critical"), ("#EAB839", "warning"), ("#1F78C1", "info"), ("#zz", "info"),
        ("rgba(", "info"),
    ],
)  # fmt: skip
def test_a_colour_means_a_severity(colour: str, severity: str) -> None:
    assert severity_of_colour(colour) == severity


def test_bounds_that_contradict_each_other_are_dropped() -> None:
    panel, _ = read_one(type="gauge", fieldConfig=defaults(min=10, max=0))
    assert (panel.minimum, panel.maximum) == (None, None)


# -- variables and the page --------------------------------------------------------------------------------------------


def variables(*raw: dict[str, Any]) -> tuple[tuple[VariableSpec, ...], tuple[grafana_in.Finding, ...]]:
    done = grafana_in.read(a_board(templating={"list": list(raw)}))
    return done.spec.variables, tuple(one for one in done.findings if one.number == 0)


def test_variables_of_every_kind_are_read() -> None:
    found, _ = variables(
        {"name": "DS", "type": "datasource", "query": "prometheus"},
        {"name": "host", "type": "query", "query": {"query": "label_values(up, host)"}, "multi": True,
         "includeAll": True, "current": {"value": ["$__all"]}},
        {"name": "env", "type": "custom", "query": "dev, prod : production,a\\,b", "current": {"value": "dev"}},
        {"name": "window", "type": "interval", "query": "1m,5m", "auto": True,
         "current": {"value": "$__auto_interval_window"}},
        {"name": "ns", "type": "constant", "query": "ml"},
    )  # fmt: skip
    host, env, window, ns = found
    assert (host.query, host.is_multi, host.has_all, host.default) == ("label_values(up, host)", True, True, (ALL,))
    assert (env.options, env.default) == (("dev", "production", "a,b"), ("dev",))
    assert (window.options, window.default) == (("auto", "1m", "5m"), ("auto",))
    assert ns.options == ("ml",)


@pytest.mark.parametrize("raw", [{"name": "x", "type": "adhoc"}, {"name": "a b", "type": "custom", "query": "1"}])
def test_a_variable_without_counterpart_is_skipped_with_the_reason(raw: dict[str, Any]) -> None:
    found, findings = variables(raw)
    assert found == ()
    assert findings[0].outcome == Outcome.SKIPPED and findings[0].reasons


@pytest.mark.parametrize(
    ("given", "shown"), [("now-6h", "6h"), ("now-45m", "1h"), ("now-90d", "30d"), ("2020-01-01", "1h"), (None, "1h")]
)
def test_the_time_shown_is_the_shortest_on_offer_that_holds_it(given: Any, shown: str) -> None:
    assert grafana_in.read(a_board(time={"from": given})).spec.default_range == shown


@pytest.mark.parametrize(("given", "seconds"), [("30s", 30), ("1m", 60), ("", 0), (False, 0), ("x", 0)])
def test_the_refresh_is_read(given: Any, seconds: int) -> None:
    assert grafana_in.read(a_board(refresh=given)).spec.refresh_seconds == seconds


# -- out and back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", list(BUILTINS))
def test_a_built_in_dashboard_survives_the_way_out_and_back(key: str) -> None:
    spec = BUILTINS[key]
    done = grafana_in.read(json.dumps(grafana_out.write(spec)))
    assert {one.outcome for one in done.findings} == {Outcome.CONVERTED}
    assert done.spec == spec


def test_panels_are_put_where_the_page_puts_them() -> None:
    tall = PanelSpec(1, "tall", "timeseries", (QuerySpec("up"),), width=10, height=6)
    small = [PanelSpec(number, "", "stat", (QuerySpec("up"),), width=7, height=3) for number in range(2, 7)]
    places = [one["gridPos"] for one in grafana_out.write(DashboardSpec("T", (tall, *small)))["panels"]]
    assert [(one["x"], one["y"]) for one in places] == [(0, 0), (10, 0), (17, 0), (10, 3), (17, 3), (0, 6)]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
queries = st.builds(QuerySpec, st.sampled_from(["up", "sum(rate(x[$__rate_interval]))"]), texts)
panels = st.builds(
    PanelSpec,
    number=st.integers(1, 99),
    title=texts,
    kind=st.sampled_from(["timeseries", "stat", "gauge", "table"]),
    queries=st.lists(queries, min_size=1, max_size=3).map(tuple),
    section=st.sampled_from(["", "A", "B"]),
    width=st.integers(1, 24),
    height=st.integers(2, 40),
    unit=st.sampled_from(["short", "percent", "ratio", "bytes/s", "seconds", "°C", "tokens"]),
    minimum=st.none() | st.just(0.0),
    maximum=st.none() | st.floats(1, 1e6),
    is_stacked=st.booleans(),
    calculation=st.sampled_from(["last", "mean", "max"]),
    thresholds=st.just(()) | st.just((Step(None, "ok"), Step(1.5, "warning"), Step(9.0, "critical"))),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(panels, min_size=1, max_size=5, unique_by=lambda one: one.number))
def test_any_dashboard_survives_the_way_out_and_back(found: list[PanelSpec]) -> None:
    spec = DashboardSpec("T", tuple(found), "d", ("a",), (VariableSpec("v", "custom", options=("1", "x,y")),), "6h", 60)
    out = json.loads(json.dumps(grafana_out.write(spec)))
    back = grafana_in.read(out).spec
    assert json.loads(json.dumps(grafana_out.write(back))) == {**out, "uid": None}


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "type", "title", "targets", "expr", "gridPos", "w", "fieldConfig", "defaults", "steps",
                         "thresholds", "options", "yaxes", "panels", "datasource", "custom", "current", "value"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(list(a_panel())), anything)), anything, anything)
def test_no_file_brings_the_reader_down(found: list[Any], templating: Any, time: Any) -> None:
    try:
        done = grafana_in.read({"panels": found, "templating": templating, "time": time, "tags": time})
    except GrafanaError:
        return
    assert len(done.findings) >= len(done.spec.panels)
