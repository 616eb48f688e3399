"""Dashboards: variables, answers of panels, rows, built-ins, pages, import and export."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring import deploys, store
from monitoring.charts import Span
from monitoring.dashboards import answers, marks, rows
from monitoring.dashboards.builtin_specs import BUILTINS
from monitoring.dashboards.builtins import is_untouched, load_builtins
from monitoring.dashboards.choices import choose, choose_for
from monitoring.dashboards.grafana_panel import query_problem
from monitoring.dashboards.macros import ALL, Values, fill, names_in, probe_values, windows
from monitoring.dashboards.spec import DashboardSpec, PanelSpec, QuerySpec, Step, VariableSpec
from monitoring.dashboards.window import RANGES, read_points, read_step, read_window
from monitoring.hosts import labels_of, source_of
from monitoring.models import Dashboard, Deployment, ModelVersion, Panel, PanelQuery, ServedModel
from monitoring.promql import EvaluationError, ParseError, parse
from tests.people import member, signed_in, superuser

T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
HOST = VariableSpec("host", query="label_values(cpu_usage_percent, host)")
MULTI = replace(HOST, is_multi=True, has_all=True)


def grid(at: datetime) -> datetime:
    """`at`, moved back to a whole 15 s."""
    return datetime.fromtimestamp(at.timestamp() // 15 * 15, tz=UTC)


def measured(host: str, at: datetime, **values: float) -> None:
    """One sample of each metric of a host; a key with labels is given by ** too."""
    at_ms = round(at.timestamp() * 1000)
    scrape = store.Scrape(source_of(host), labels_of(host), at_ms, list(values), np.array(list(values.values())))
    store.append([scrape], now_ms=at_ms)


def values(chosen: dict[str, tuple[str, ...]], *variables: VariableSpec, **choices: list[str]) -> Values:
    return Values(variables or (HOST,), chosen, choices)


def a_span(end: datetime, minutes: int = 5, step: int = 15) -> Span:
    return Span(end - timedelta(minutes=minutes), end, step)


def a_panel(*exprs: str, kind: str = "timeseries", legend: str = "", **fields: Any) -> PanelSpec:
    return PanelSpec(1, "T", kind, tuple(QuerySpec(one, legend) for one in exprs), **fields)


def saved(*panels: PanelSpec, variables: tuple[VariableSpec, ...] = (), title: str = "Board") -> Dashboard:
    spec = DashboardSpec(title, panels or (a_panel("cpu_usage_percent", legend="{{host}}"),), variables=variables)
    return rows.save(spec, Dashboard.Source.STAFF)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "eda"))


# -- variables in texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["$host", "${host}", "[[host]]", "${host:raw}", "[[host:raw]]"])
def test_a_variable_is_filled_in_however_it_is_written(written: str) -> None:
    assert fill(f'up{{host="{written}"}}', values({"host": ("ana",)})) == 'up{host="ana"}'


def test_an_unknown_name_stays_as_it_stands() -> None:
    assert fill("$who ${who} [[who]] $__who", values({})) == "$who ${who} [[who]] $__who"


@pytest.mark.parametrize(
    ("chosen", "choices", "all_value", "pattern"),
    [
        (("ana",), ["ana", "bob"], "", "ana"),
        (("ana", "bob"), ["ana", "bob"], "", "(ana|bob)"),
        ((ALL,), ["ana", "b.c"], "", "(ana|b[.]c)"),
        ((ALL,), ["ana"], ".+", ".+"),
        ((ALL,), [], "", ".*"),
    ],
)
def test_several_values_become_a_pattern(
    chosen: tuple[str, ...], choices: list[str], all_value: str, pattern: str
) -> None:
    found = fill("$host", values({"host": chosen}, replace(MULTI, all_value=all_value), host=choices))
    assert found == pattern


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), min_size=1, max_size=8),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_a_value_matches_itself_and_no_other_whatever_its_characters(found: list[str]) -> None:
    text = fill('up{host=~"$host"}', values({"host": tuple(found[:1])}, MULTI))
    (matcher,) = [one for one in parse(text).selectors()[0].matchers if one.name == "host"]
    assert matcher.matches(found[0])
    assert not any(matcher.matches(other) for other in found[1:])


def test_a_quote_in_a_value_cannot_leave_its_string() -> None:
    text = fill('up{host="$host"}', values({"host": ('a"} or vector(1) or up{x="',)}))
    assert len(parse(text).selectors()) == 1


def test_grafanas_own_macros_follow_the_step() -> None:
    window = windows(0, 3600, 15)
    assert fill("rate(x[$__rate_interval])", Values(), window) == "rate(x[60s])"
    assert fill("rate(x[$__rate_interval])", Values(), windows(0, 86400, 300)) == "rate(x[315s])"
    assert fill("x[$__interval] ${__range_s} $__range", Values(), window) == "x[15s] 3600 3600s"


def test_an_automatic_interval_follows_the_step() -> None:
    window = VariableSpec("w", "interval", options=("auto", "1m"))
    assert fill("x[$w]", values({"w": ("auto",)}, window), windows(0, 3600, 30)) == "x[30s]"
    assert fill("x[$w]", values({"w": ("1m",)}, window), windows(0, 3600, 30)) == "x[1m]"


def test_names_of_macros_are_no_variables() -> None:
    assert names_in("a $host [[b]] ${c:raw} $__rate_interval $host") == ["host", "b", "c"]


# -- the time shown ----------------------------------------------------------------------------------------------------


def test_a_range_reaches_up_to_now() -> None:
    window = read_window({"range": "6h"}, T0)
    assert (window.end - window.start, window.end, window.is_fixed) == (timedelta(hours=6), T0, False)


def test_two_ends_are_read_as_utc() -> None:
    window = read_window({"from": "2026-03-01T10:00", "to": "2026-03-01T12:00+01:00"}, T0)
    assert (window.start.hour, window.end.hour, window.is_fixed) == (10, 11, True)


@pytest.mark.parametrize("asked", [{"from": "x"}, {"from": "2026-03-01", "to": "2026-02-01"}, {"from": "9" * 30}])
def test_ends_that_make_no_sense_give_the_default_and_say_so(asked: dict[str, str]) -> None:
    window = read_window(asked, T0, "15m")
    assert (window.name, bool(window.problem)) == ("15m", True)


@pytest.mark.parametrize("name", list(RANGES))
def test_the_step_follows_the_width(name: str) -> None:
    window = read_window({"range": name}, T0)
    for points in (60, 600):
        span = window.span(points)
        assert (span.end - span.start).total_seconds() / span.step_seconds <= points + 1
        assert span.end.timestamp() % span.step_seconds == 0


@pytest.mark.parametrize(("text", "points"), [("", 240), ("999999", 240), ("٣٠٠", 240), ("5", 30), ("5000", 1200)])
def test_points_stay_within_bounds(text: str, points: int) -> None:
    assert read_points(text) == points


@pytest.mark.parametrize(("text", "step"), [("30s", 30), ("5m", 300), ("x", 15), ("0s", 15), ("", 15)])
def test_a_typed_step_is_taken_where_it_is_one(text: str, step: int) -> None:
    assert read_step(text, read_window({}, T0), 240).step_seconds == step


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_panel_has_a_column_a_series_named_by_its_legend() -> None:
    end = grid(timezone.now())
    for host in ("ana", "bob"):
        measured(host, end, cpu_usage_percent=40.0)
    found = answers.show(a_panel("cpu_usage_percent", legend="CPU of {{ host }}"), a_span(end), Values())
    assert [one["name"] for one in found["series"]] == ["CPU of ana", "CPU of bob"]
    assert found["series"][0]["values"][-1] == 40.0
    assert found["series"][0]["labels"]["host"] == "ana"


@pytest.mark.django_db
def test_series_of_one_name_get_the_labels_that_tell_them_apart() -> None:
    end = grid(timezone.now())
    for host in ("ana", "bob"):
        measured(host, end, cpu_usage_percent=40.0)
    found = answers.show(a_panel("cpu_usage_percent", legend="CPU"), a_span(end), Values())
    assert [one["name"] for one in found["series"]] == ["CPU ana", "CPU bob"]


@pytest.mark.django_db
def test_the_same_series_asked_twice_is_numbered() -> None:
    end = grid(timezone.now())
    measured("ana", end, cpu_usage_percent=40.0)
    found = answers.show(a_panel("cpu_usage_percent", "cpu_usage_percent", legend="CPU"), a_span(end), Values())
    assert [one["name"] for one in found["series"]] == ["CPU 1", "CPU 2"]


@pytest.mark.django_db
def test_only_the_busiest_series_are_drawn_and_the_rest_is_counted() -> None:
    end = grid(timezone.now())
    measured("ana", end, **{f'x{{n="{number:02}"}}': float(number) for number in range(40)})
    found = answers.show(a_panel("x", legend="{{n}}"), a_span(end), Values())
    assert len(found["series"]) == answers.MAX_LINES
    assert found["series"][0]["name"] == "10"
    assert found["note"] == "30 of 40 series, those with the highest values"


@pytest.mark.django_db
def test_a_gauge_says_the_last_value_and_what_it_means() -> None:
    end = grid(timezone.now())
    measured("ana", end, cpu_usage_percent=91.0)
    steps = (Step(None, "ok"), Step(85, "warning"), Step(95, "critical"))
    found = answers.show(a_panel("cpu_usage_percent", kind="gauge", thresholds=steps), a_span(end), Values())
    assert [(one["value"], one["severity"]) for one in found["numbers"]] == [(91.0, "warning")]


@pytest.mark.django_db
def test_what_ended_is_no_longer_a_number_and_is_counted() -> None:
    end = grid(timezone.now())
    measured("ana", end - timedelta(minutes=20), cpu_usage_percent=40.0)
    measured("bob", end, cpu_usage_percent=50.0)
    span = a_span(end, minutes=30)
    found = answers.show(a_panel("cpu_usage_percent", kind="stat", legend="{{host}}"), span, Values())
    assert ([one["name"] for one in found["numbers"]], found["ended"]) == (["bob"], 1)
    found = answers.show(a_panel("cpu_usage_percent", kind="stat", calculation="max"), span, Values())
    assert ([one["value"] for one in found["numbers"]], found["ended"]) == ([40.0, 50.0], 0)


def test_a_title_names_what_was_chosen() -> None:
    assert fill("CPU of $host", values({"host": ("a.b", "c")}, MULTI), is_title=True) == "CPU of a.b + c"
    assert fill("CPU of $host", values({"host": (ALL,)}, MULTI), is_title=True) == "CPU of All"


@pytest.mark.parametrize(
    ("calculation", "value"), [("last", 4.0), ("mean", 2.5), ("min", 1.0), ("max", 4.0), ("sum", 7.5)]
)
def test_one_number_is_made_of_a_series(calculation: str, value: float) -> None:
    assert answers.reduced(np.array([np.nan, 1.0, 2.5, np.nan, 4.0, np.nan]), calculation) == value


@pytest.mark.parametrize(
    ("value", "severity"), [(None, ""), (-5.0, "critical"), (10.0, "warning"), (20.0, "ok"), (99.0, "ok")]
)
def test_less_may_be_worse(value: float | None, severity: str) -> None:
    steps = (Step(20, "ok"), Step(None, "critical"), Step(10, "warning"))
    assert answers.severity_of(value, steps) == severity


@pytest.mark.django_db
def test_queries_of_a_table_share_the_rows_of_equal_labels() -> None:
    end = grid(timezone.now())
    measured("ana", end, memory_usage_bytes=3.0, memory_total_bytes=4.0)
    measured("bob", end, memory_usage_bytes=1.0)
    found = answers.show(a_panel("memory_usage_bytes", "memory_total_bytes", kind="table"), a_span(end), Values())
    assert found["columns"] == ["host", "instance", "job", "value A", "value B"]
    assert sorted(found["rows"]) == [["ana", "ana", "host", 3.0, 4.0], ["bob", "bob", "host", 1.0, None]]
    assert found["numbers"] == [3, 4]


@pytest.mark.django_db
def test_a_scalar_is_a_row_and_a_text_is_none() -> None:
    end = grid(timezone.now())
    assert answers.show(a_panel("1 + 1", kind="table"), a_span(end), Values())["rows"] == [[2.0]]
    with pytest.raises(EvaluationError, match="text"):
        answers.show(a_panel('"x"', kind="table"), a_span(end), Values())
    with pytest.raises(EvaluationError, match="wrap it"):
        measured("ana", end, up=1.0)
        answers.show(a_panel("up[5m]", kind="table"), a_span(end), Values())


@pytest.mark.django_db
def test_infinity_is_a_gap() -> None:
    end = grid(timezone.now())
    found = answers.show(a_panel("vector(1) / 0 or vector(2)"), a_span(end), Values())
    assert json.dumps(found, allow_nan=False)
    assert found["series"] == []


@pytest.mark.django_db
def test_the_query_that_fails_is_named() -> None:
    with pytest.raises(ParseError, match="Query B: ") as raised:
        answers.show(a_panel("up", "rate(up[5m]"), a_span(T0), Values())
    assert "column" in answers.words_of(raised.value)


@pytest.mark.django_db
def test_a_panel_without_a_query_says_so() -> None:
    with pytest.raises(EvaluationError, match="no query yet"):
        answers.show(a_panel(), a_span(T0), Values())


# -- choices -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("label_values(cpu_usage_percent, host)", ("ana", "bob")),
        ('label_values(cpu_usage_percent{host=~"b.*"}, host)', ("bob",)),
        ("label_values(host)", ("ana", "bob")),
        ("label_values(cpu_usage_percent{$first}, host)", ("ana",)),
        ("metrics(cpu)", ("cpu_usage_percent",)),
        ("query_result(topk(1, cpu_usage_percent))", ('cpu_usage_percent{host="bob", instance="bob", job="host"} 50',)),
    ],
)
def test_choices_are_asked_for_as_in_grafana(query: str, options: tuple[str, ...]) -> None:
    now = timezone.now()
    measured("ana", grid(now), cpu_usage_percent=40.0)
    measured("bob", grid(now), cpu_usage_percent=50.0)
    first = VariableSpec("first", "constant", options=('host="ana"',))
    query = query.replace("{$first}", '{host="$name"}') if "$first" in query else query
    name = VariableSpec("name", "constant", options=("ana",))
    found = choose([first, name, VariableSpec("v", query=query)], {}, now - timedelta(minutes=5), now)
    assert found[-1].options == options
    assert found[-1].error == ""


@pytest.mark.django_db
def test_a_regex_picks_a_part_of_each_choice() -> None:
    now = timezone.now()
    for host in ("gpu-1", "gpu-2", "web-1"):
        measured(host, grid(now), up=1.0)
    one = VariableSpec("n", query="label_values(up, host)", regex="/gpu-(.*)/")
    assert choose([one], {}, now - timedelta(minutes=5), now)[0].options == ("1", "2")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "broken", [{"query": "label_values(up{, host)"}, {"query": "label_values(up, host)", "regex": "("}]
)
def test_a_variable_that_cannot_be_asked_says_why(broken: dict[str, str]) -> None:
    (found,) = choose([VariableSpec("v", **broken)], {}, T0 - timedelta(hours=1), T0)
    assert found.options == () and found.error


@pytest.mark.django_db
def test_what_nobody_chose_is_all_or_the_first() -> None:
    now = timezone.now()
    for host in ("ana", "bob"):
        measured(host, grid(now), cpu_usage_percent=1.0)
    start = now - timedelta(minutes=5)
    assert choose([MULTI], {}, start, now)[0].chosen == (ALL,)
    assert choose([HOST], {}, start, now)[0].chosen == ("ana",)
    assert choose([HOST], {"host": ["bob"]}, start, now)[0].chosen == ("bob",)
    assert choose([MULTI], {"host": ["bob", ALL]}, start, now)[0].chosen == (ALL,)


@pytest.mark.django_db
def test_a_panel_asks_only_for_choices_that_it_needs(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        found = choose_for(['up{host="$host"}'], [MULTI, VariableSpec("o", query="x")], {"host": ["a"]}, T0, T0)
    assert [one.name for one in found.variables] == ["host"]


# -- what happened meanwhile -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_alerts_that_fired_are_bands_within_the_readers_choice() -> None:
    end = grid(timezone.now())
    for seconds in (120, 105, 90):
        at = end - timedelta(seconds=seconds)
        measured("ana", at, **{'ALERTS{alertname="Hot",alertstate="firing",severity="critical"}': 1.0})
        measured("bob", at, **{'ALERTS{alertname="Hot",alertstate="pending",severity="critical"}': 1.0})
    everything = marks.bands(a_span(end), marks.scope_of("", Values()))
    assert [(one["label"], one["severity"], one["labels"]["host"]) for one in everything] == [
        ("Hot", "critical", "ana")
    ]
    assert everything[0]["from"] == end.timestamp() - 120
    one_host = marks.scope_of("", values({"host": ("bob",)}))
    assert marks.bands(a_span(end), one_host) == []
    assert marks.bands(a_span(end), marks.scope_of('severity="info"', Values())) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=3, unique=True))
def test_several_chosen_values_match_themselves_alone(found: list[str]) -> None:
    (matcher,) = marks.scope_of("", values({"host": tuple(found[1:])}, MULTI)).matchers
    assert [matcher.matches(one) for one in found] == [False] + [True] * (len(found) - 1)


@pytest.mark.django_db
def test_deploys_of_the_time_are_marks() -> None:
    version = ModelVersion.objects.create(model=ServedModel.objects.create(name="ranker"), version="2.1")
    deployment = Deployment.objects.create(version=version, url="http://gpu-1:8000/")
    now = timezone.now()
    deploys.note(version, now, "ana", deployment=deployment)
    model = VariableSpec("model", query="label_values(model_accuracy, model_name)")
    span = a_span(now + timedelta(seconds=1))
    assert [one["label"] for one in marks.deploys(span, marks.Scope())] == ["ranker 2.1 on gpu-1:8000"]
    other = marks.scope_of("", values({"model": ("other",)}, model))
    assert other.models == ("other",)
    assert marks.deploys(span, other) == []
    assert marks.deploys(a_span(now - timedelta(hours=1)), marks.Scope()) == []


# -- rows and built-ins ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("key", list(BUILTINS))
def test_a_dashboard_comes_back_from_its_rows(key: str) -> None:
    saved_row = rows.save(BUILTINS[key], Dashboard.Source.STAFF)
    assert rows.spec_of(Dashboard.objects.get(pk=saved_row.pk)) == BUILTINS[key]


@pytest.mark.parametrize("key", list(BUILTINS))
def test_every_built_in_query_is_promql(key: str) -> None:
    spec = BUILTINS[key]
    known = probe_values(spec.variables)
    texts = [one.expr for panel in spec.panels for one in panel.queries]
    assert [query_problem(text, known) for text in texts] == [""] * len(texts)
    assert {name for text in texts for name in names_in(text)} <= {one.name for one in spec.variables}


@pytest.mark.django_db
def test_built_ins_are_made_once() -> None:
    assert load_builtins(T0) == len(BUILTINS)
    assert load_builtins(T0) == 0
    assert all(is_untouched(row) for row in Dashboard.objects.all())


@pytest.mark.django_db
def test_an_untouched_built_in_follows_a_release_and_an_edited_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    load_builtins(T0)
    PanelQuery.objects.filter(panel__dashboard__builtin_key="gpu").update(legend="mine")
    for key in ("gpu", "host"):
        monkeypatch.setitem(BUILTINS, key, replace(BUILTINS[key], title="Newer"))
    assert load_builtins(T0) == 1
    assert Dashboard.objects.get(builtin_key="host").title == "Newer"
    assert Dashboard.objects.get(builtin_key="gpu").title == "GPU"


@pytest.mark.django_db
def test_a_deleted_built_in_does_not_come_back() -> None:
    load_builtins(T0)
    Dashboard.objects.get(builtin_key="gpu").delete()
    assert load_builtins(T0) == 0


@pytest.mark.django_db
def test_dashboards_of_one_title_get_addresses_of_their_own() -> None:
    assert [saved(title="GPU").slug, saved(title="GPU").slug, saved(title="import").slug] == [
        "gpu",
        "gpu-2",
        "import-2",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variables", {"name": "x"}),
        ("variables", [{"name": "a b", "query": "x"}]),
        ("variables", [{"name": "a"}]),
        ("variables", [{"name": "a", "kind": "magic"}]),
        ("variables", [{"name": "a", "query": "x"}, {"name": "a", "query": "x"}]),
        ("tags", "gpu"),
        ("tags", [1]),
    ],
)
def test_a_dashboard_that_no_page_could_show_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        Dashboard(slug="x", title="x", **{field: value}).full_clean()
    assert list(raised.value.message_dict) == [field]


@pytest.mark.django_db
@pytest.mark.parametrize("steps", [{}, [{"value": "x", "severity": "ok"}], [{"value": 1, "severity": "bad"}]])
def test_thresholds_that_cannot_be_drawn_are_refused(steps: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        Panel(dashboard=saved(), title="x", thresholds=steps).full_clean()
    assert list(raised.value.message_dict) == ["thresholds"]


@pytest.mark.django_db
def test_a_panel_without_a_number_gets_the_next() -> None:
    assert Panel.objects.create(dashboard=saved(), title="x").number == 2


# -- pages -------------------------------------------------------------------------------------------------------------


def panel_url(row: Dashboard, number: int = 1) -> str:
    return reverse("monitoring:panel", args=[row.slug, number])


@pytest.mark.django_db
def test_the_page_carries_time_and_choices_to_its_panels(viewer: Client) -> None:
    measured("ana", grid(timezone.now()), cpu_usage_percent=40.0)
    panel = replace(a_panel('cpu_usage_percent{host="$host"}'), title="CPU of $host")
    row = saved(panel, variables=(HOST,))
    page = viewer.get(reverse("monitoring:dashboard", args=[row.slug]), {"range": "6h"}).content.decode()
    assert f"{panel_url(row)}?range=6h&amp;var-host=ana" in page
    assert "CPU of ana" in page
    assert "Make a rule" not in page
    assert Dashboard.objects.get(pk=row.pk).viewed_at is not None


def a_panel_titled(title: str) -> PanelSpec:
    return replace(a_panel("up"), title=title)


@pytest.mark.django_db
def test_who_may_make_rules_is_led_to_one_with_fixed_windows(editor: Client) -> None:
    row = saved(a_panel("rate(x[$__rate_interval])"))
    page = editor.get(reverse("monitoring:dashboard", args=[row.slug])).content.decode()
    assert "/admin/alerts/rule/add/?expr=rate%28x%5B5m%5D%29" in page
    assert "/explore/?expr=rate%28x%5B%24__rate_interval%5D%29" in page


@pytest.mark.django_db
def test_a_title_cannot_bring_markup_into_the_page(viewer: Client) -> None:
    row = saved(a_panel_titled("<script>alert(1)</script>"), title="<b>x</b>")
    page = viewer.get(reverse("monitoring:dashboard", args=[row.slug])).content.decode()
    assert "<script>alert(1)" not in page and "<b>x</b>" not in page


@pytest.mark.django_db
def test_a_panel_answers_for_the_host_that_was_chosen(viewer: Client) -> None:
    now = grid(timezone.now())
    for host in ("ana", "bob"):
        measured(host, now, cpu_usage_percent=40.0)
    row = saved(a_panel('cpu_usage_percent{host=~"$host"}', legend="{{host}}"), variables=(MULTI,))
    for asked, names in ((["bob"], ["bob"]), (["ana", "bob"], ["ana", "bob"]), ([ALL], ["ana", "bob"])):
        found = viewer.get(panel_url(row), {"var-host": asked}).json()
        assert [one["name"] for one in found["series"]] == names


@pytest.mark.django_db
def test_a_panel_costs_two_queries_beside_the_store_and_the_session(viewer: Client) -> None:
    measured("ana", grid(timezone.now()), cpu_usage_percent=40.0)
    row = saved(a_panel('cpu_usage_percent{host="$host"}'), variables=(HOST,))
    with CaptureQueriesContext(connection) as seen:
        assert viewer.get(panel_url(row), {"var-host": "ana"}).status_code == 200
    ours = [one["sql"] for one in seen if "monitoring_panel" in one["sql"] or "monitoring_dashboard" in one["sql"]]
    assert len(ours) == 2


@pytest.mark.django_db
def test_a_panel_whose_query_fails_says_so_in_words(viewer: Client) -> None:
    row = saved(a_panel("rate(up[5m]"))
    answer = viewer.get(panel_url(row))
    assert answer.status_code == 422
    assert "(line 1, column 12)" in answer.json()["error"]


@pytest.mark.django_db
def test_marks_hold_bands_and_deploys(viewer: Client) -> None:
    row = saved()
    now = grid(timezone.now())
    measured("ana", now, **{'ALERTS{alertname="Hot",alertstate="firing",severity="critical"}': 1.0})
    url = reverse("monitoring:dashboard_marks", args=[row.slug])
    found = viewer.get(url).json()
    assert [one["label"] for one in found["bands"]] == ["Hot"] and found["deploys"] == []
    Dashboard.objects.update(shows_alerts=False)
    assert viewer.get(url).json()["bands"] == []
    Dashboard.objects.update(shows_alerts=True, alert_matchers="{")
    assert viewer.get(url).status_code == 422


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["panel", "dashboard_marks"])
def test_json_is_refused_to_strangers_and_to_those_without_the_right(name: str) -> None:
    row = saved()
    url = reverse(f"monitoring:{name}", args=[row.slug, *([1] if name == "panel" else [])])
    assert Client().get(url).status_code == 401
    nobody = superuser("nobody")
    nobody.is_superuser = False
    nobody.save()
    assert signed_in(nobody).get(url).status_code == 403


@pytest.mark.django_db
def test_a_viewer_may_neither_import_nor_edit(viewer: Client) -> None:
    row = saved()
    assert viewer.get(reverse("monitoring:import_dashboard")).status_code == 403
    page = viewer.get(reverse("monitoring:dashboard", args=[row.slug])).content.decode()
    assert f"/admin/monitoring/dashboard/{row.pk}/" not in page


@pytest.mark.django_db
def test_pages_ask_the_database_few_times(viewer: Client, django_assert_max_num_queries: Any) -> None:
    load_builtins(T0)
    viewer.get("/dashboards/")
    with django_assert_max_num_queries(15):
        viewer.get("/dashboards/")
    for key in BUILTINS:
        with django_assert_max_num_queries(25):
            assert viewer.get(reverse("monitoring:dashboard", args=[key])).status_code == 200


@pytest.mark.django_db
def test_a_grafana_file_is_checked_and_then_imported(editor: Client) -> None:
    raw = {"title": "Theirs", "panels": [
        {"id": 4, "type": "graph", "title": "Up", "targets": [{"expr": "up"}]},
        {"id": 9, "type": "text", "title": "Notes"},
    ]}  # fmt: skip
    url = reverse("monitoring:import_dashboard")
    file = SimpleUploadedFile("x.json", json.dumps(raw).encode(), "application/json")
    page = editor.post(url, {"file": file, "check": "1"}).content.decode()
    assert "converted" in page and "a text, no query" in page
    assert not Dashboard.objects.exists()
    page = editor.post(url, {"text": json.dumps(raw), "import": "1"}).content.decode()
    assert "Theirs is imported." in page
    row = Dashboard.objects.get()
    assert (row.slug, row.source, [panel.number for panel in row.panels.all()]) == ("theirs", "imported", [4])


@pytest.mark.django_db
def test_a_file_that_is_no_dashboard_is_said_and_what_was_typed_is_kept(editor: Client) -> None:
    answer = editor.post(reverse("monitoring:import_dashboard"), {"text": '{"schemaVersion": 99}', "import": "1"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "schema version 99" in page and "{&quot;schemaVersion&quot;: 99}" in page


@pytest.mark.django_db
def test_an_exported_dashboard_can_be_imported_again(editor: Client) -> None:
    load_builtins(T0)
    answer = editor.get(reverse("monitoring:export_dashboard", args=["gpu"]))
    assert 'filename="gpu.json"' in answer["Content-Disposition"]
    editor.post(reverse("monitoring:import_dashboard"), {"text": answer.content.decode(), "import": "1"})
    assert rows.spec_of(Dashboard.objects.get(slug="gpu-2")) == BUILTINS["gpu"]


# -- the admin ---------------------------------------------------------------------------------------------------------


def panel_form(row: Dashboard, **changes: str) -> dict[str, str]:
    return {
        "dashboard": str(row.pk), "title": "T", "kind": "timeseries", "unit": "percent", "calculation": "last",
        "thresholds": "[]", "width": "12", "height": "8", "position": "0", "queries-TOTAL_FORMS": "1",
        "queries-INITIAL_FORMS": "0", "queries-0-expr": "cpu_usage_percent", "queries-0-legend": "{{host}}",
        "queries-0-position": "0",
    } | changes  # fmt: skip


@pytest.mark.django_db
def test_a_panel_is_made_in_the_admin(editor: Client) -> None:
    row = saved()
    answer = editor.post(reverse("admin:monitoring_panel_add"), panel_form(row))
    assert answer.status_code == 302, answer.context["errors"]
    assert PanelQuery.objects.get(panel__number=2).expr == "cpu_usage_percent"


@pytest.mark.django_db
def test_a_query_that_is_no_promql_is_refused_with_its_place(editor: Client) -> None:
    form = panel_form(saved(), **{"queries-0-expr": "rate(up[5m]"})
    page = editor.post(reverse("admin:monitoring_panel_add"), form).content.decode()
    assert "line 1, column 12" in page


@pytest.mark.django_db
def test_the_preview_shows_what_is_typed_and_saves_nothing(editor: Client) -> None:
    measured("ana", grid(timezone.now()), cpu_usage_percent=40.0)
    row = saved(variables=(HOST,))
    url = reverse("admin:monitoring_panel_preview")
    form = panel_form(row, **{"queries-0-expr": 'cpu_usage_percent{host="$host"}', "kind": "gauge"})
    found = editor.post(url, form).json()
    assert [one["value"] for one in found["data"]["numbers"]] == [40.0]
    assert found["options"]["unit"] == "percent"
    assert Panel.objects.count() == 1
    broken = editor.post(url, form | {"queries-0-expr": "sum("})
    assert broken.status_code == 422 and "line 1" in broken.json()["error"]


@pytest.mark.django_db
def test_admin_pages_of_dashboards_open(editor: Client) -> None:
    row = saved()
    for url in (
        reverse("admin:monitoring_dashboard_changelist"),
        reverse("admin:monitoring_dashboard_change", args=[row.pk]),
        reverse("admin:monitoring_panel_change", args=[row.panels.get().pk]),
    ):
        assert editor.get(url).status_code == 200


@pytest.mark.django_db
def test_a_range_that_is_not_on_offer_is_refused(editor: Client) -> None:
    form = {"title": "x", "slug": "x", "default_range": "17m", "refresh_seconds": "30", "tags": "[]", "variables": "[]",
            "panels-TOTAL_FORMS": "0", "panels-INITIAL_FORMS": "0"}  # fmt: skip
    page = editor.post(reverse("admin:monitoring_dashboard_add"), form).content.decode()
    assert "Choose one of 5m" in page
    editor.post(reverse("admin:monitoring_dashboard_add"), form | {"default_range": "30m"})
    assert Dashboard.objects.get().default_range == "30m"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_command_imports_and_reports_each_panel(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    panels = [{"id": 3, "type": "heatmap", "targets": [{"expr": "up"}]}, {"id": 5, "type": "logs", "title": "L"}]
    file.write_text(json.dumps({"title": "Cmd", "panels": panels}))
    out = io.StringIO()
    call_command("import_dashboard", str(file), "--check", stdout=out)
    assert not Dashboard.objects.exists()
    assert "0 converted, 1 approximated, 1 skipped" in out.getvalue()
    assert "panel 5 'L': skipped: logs are not held here" in out.getvalue()
    call_command("import_dashboard", str(file), stdout=out)
    call_command("import_dashboard", str(file), "--replace", "cmd", stdout=out)
    assert [row.slug for row in Dashboard.objects.all()] == ["cmd"]
    assert Panel.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [["missing.json"], ["a", "b", "--replace", "x"], ["a", "--replace", "nobody"]])
def test_the_command_says_what_is_wrong(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("import_dashboard", *arguments)
