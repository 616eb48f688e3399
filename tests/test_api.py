"""The read side of the Prometheus HTTP API: shapes, errors, limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import numpy as np
import pytest
from django.db import connection
from django.test import Client

from monitoring import query, store
from monitoring.api_result import time_text, value_text, value_texts
from monitoring.models import Deployment, ModelVersion, ServedModel, Target, TargetStatus
from monitoring.store import Scrape

AT = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
AT_MS = query.to_ms(AT)
SECONDS = AT_MS // 1000
pytestmark = pytest.mark.django_db


@pytest.fixture
def counters():
    """Ten minutes at 15 s: a counter by path, and a gauge that is NaN, infinite and small."""
    keys = [
        'requests_total{path="/a"}', 'requests_total{path="/b"}',
        'strange{kind="nan"}', 'strange{kind="inf"}', 'strange{kind="small"}',
        'latency_seconds_bucket{le="+Inf"}', "latency_seconds_sum", "latency_seconds_count",
    ]  # fmt: skip
    for step in range(41):
        values = np.array([15.0 * step, 30.0 * step, np.nan, -np.inf, 2.5e-7, 1, 1, 1])
        at_ms = AT_MS - (40 - step) * 15_000
        store.append([Scrape("target:1", {"job": "web", "instance": "a:80"}, at_ms, keys, values)], now_ms=AT_MS)


def get(path, **params):
    """Status and body of a GET."""
    response = Client().get(f"/api/v1/{path}", params)
    assert response["Content-Type"] == "application/json"
    return response.status_code, response.json()


def data(path, **params):
    status, body = get(path, **params)
    assert (status, body["status"]) == (200, "success"), body
    return body["data"]


def error(path, **params):
    status, body = get(path, **params)
    assert body["status"] == "error", body
    return status, body["errorType"], body["error"]


def test_a_vector_has_metric_and_value(counters):
    assert data("query", query='requests_total{path="/a"}', time=SECONDS) == {
        "resultType": "vector",
        "result": [
            {
                "metric": {"__name__": "requests_total", "instance": "a:80", "job": "web", "path": "/a"},
                "value": [SECONDS, "600"],
            }
        ],
    }


def test_a_range_has_metric_and_values(counters):
    got = data("query_range", query="sum(requests_total)", start=SECONDS - 30, end=SECONDS, step="15s")
    values = [[SECONDS - 30, "1710"], [SECONDS - 15, "1755"], [SECONDS, "1800"]]
    assert got == {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}


def test_a_range_selector_answers_its_samples(counters):
    got = data("query", query='requests_total{path="/a"}[30s]', time=SECONDS)
    assert got["resultType"] == "matrix"
    assert got["result"][0]["values"] == [[SECONDS - 15, "585"], [SECONDS, "600"]]


def test_a_scalar_is_one_point(services):
    assert data("query", query="1+1", time="1435781451.781") == {
        "resultType": "scalar",
        "result": [1435781451.781, "2"],
    }


def test_a_string_is_one_point(services):
    assert data("query", query='"a\\"b"', time=5) == {"resultType": "string", "result": [5, 'a"b']}


def test_values_that_are_no_numbers_are_texts(counters):
    got = data("query", query="strange", time=SECONDS)["result"]
    assert {row["metric"]["kind"]: row["value"][1] for row in got} == {"nan": "NaN", "inf": "-Inf", "small": "2.5e-07"}


def test_a_question_without_time_is_about_now(services):
    before = datetime.now(UTC).timestamp()
    at = data("query", query="time()")["result"][0]
    assert before - 1 <= at <= datetime.now(UTC).timestamp() + 1


@pytest.mark.parametrize(
    "time", ["2027-01-15T08:00:00Z", "2027-01-15T09:00:00.000000+01:00", f"{SECONDS}.0", f"{SECONDS / 1e9!r}e9"]
)
def test_times_are_seconds_or_rfc_3339(counters, time):
    assert data("query", query='requests_total{path="/a"}', time=time)["result"][0]["value"] == [SECONDS, "600"]


def test_a_form_is_read_like_an_address(counters):
    body = Client().post("/api/v1/query", {"query": "sum(requests_total)", "time": SECONDS}).json()
    assert body["data"]["result"] == [{"metric": {}, "value": [SECONDS, "1800"]}]


def test_a_form_needs_no_csrf_token(services):
    client = Client(enforce_csrf_checks=True)
    assert client.post("/api/v1/query", {"query": "1"}).status_code == 200


def test_notes_of_the_evaluation_come_with_the_answer(counters):
    body = Client().get("/api/v1/query", {"query": "quantile(2, requests_total)", "time": SECONDS}).json()
    assert "quantile value should be between 0 and 1" in body["warnings"][0]
    body = Client().get("/api/v1/query", {"query": "rate(strange[1m])", "time": SECONDS}).json()
    assert "might not be a counter" in body["infos"][0]


def test_a_limit_truncates_and_says_so(counters):
    body = Client().get("/api/v1/query", {"query": "requests_total", "time": SECONDS, "limit": 1}).json()
    assert len(body["data"]["result"]) == 1
    assert body["warnings"] == ["results truncated due to limit"]


def test_the_cost_is_told_when_asked(counters):
    stats = data("query", query="requests_total", time=SECONDS, stats="all")["stats"]
    assert stats["samples"]["totalQueryableSamples"] == query.instant("requests_total", AT).stats.samples > 0
    assert stats["timings"]["evalTotalTime"] >= 0


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("query", {"query": "sum("}, 'invalid parameter "query": 1:5: parse error'),
        ("query", {}, 'invalid parameter "query": 1:1: parse error: no expression found in input'),
        ("query", {"query": "1", "time": "yesterday"}, '"time": cannot parse "yesterday" to a valid timestamp'),
        ("query", {"query": "1", "time": "1e300"}, '"time": cannot parse "1e300" to a valid timestamp'),
        ("query", {"query": "1", "time": "NaN"}, 'cannot parse "NaN" to a valid timestamp'),
        ("query", {"query": "1", "timeout": "x"}, 'invalid parameter "timeout": cannot parse "x" to a valid duration'),
        ("query", {"query": "1", "timeout": "1e30"}, "It overflows int64"),
        ("query", {"query": "1", "limit": "-1"}, 'invalid parameter "limit": limit must be non-negative'),
        ("query", {"query": "1", "limit": "many"}, 'invalid parameter "limit": cannot parse "many" to a number'),
        ("query", {"query": "1", "lookback_delta": "1m"}, "lookback_delta"),
        ("query_range", {"query": "1", "end": 2, "step": 1}, '"start": cannot parse "" to a valid timestamp'),
        ("query_range", {"query": "1", "start": 2, "end": 1, "step": 1}, "end timestamp must not be before start time"),
        ("query_range", {"query": "1", "start": 1, "end": 2, "step": 0}, "zero or negative query resolution"),
        ("query_range", {"query": "1", "start": 1, "end": 2, "step": "-1"}, "zero or negative query resolution"),
        ("query_range", {"query": "1", "start": 1, "end": 2, "step": "0.0001"}, "zero or negative query resolution"),
        ("query_range", {"query": "1", "start": 0, "end": 11001, "step": 1}, "exceeded maximum resolution of 11,000"),
        ("query_range", {"query": "up[1m]", "start": 1, "end": 2, "step": 1}, 'invalid expression type "range vector"'),
        ("series", {}, "no match[] parameter provided"),
        ("series", {"match[]": "{}"}, "match[] must contain at least one non-empty matcher"),
        ("series", {"match[]": 'up{job=~".*"}!'}, 'invalid parameter "match[]": 1:'),
        ("series", {"match[]": "up", "start": 2, "end": 1}, "end timestamp must not be before start time"),
        ("labels", {"match[]": '{job=~"["}'}, "invalid regular expression"),
        ("label/job/values", {"match[]": "up{"}, 'invalid parameter "match[]"'),
        ("query_exemplars", {"query": "sum("}, "parse error"),
        ("format_query", {"query": ")"}, "parse error"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_bad_data(services, path, params, said):
    status, kind, reason = error(path, **params)
    assert (status, kind) == (400, "bad_data")
    assert said in reason


def test_a_question_that_has_no_answer_is_an_execution_error(counters):
    many = "requests_total * on (job) requests_total"
    status, kind, reason = error("query", query=many, time=SECONDS)
    assert (status, kind) == (422, "execution")
    assert "many-to-many" in reason


def test_a_question_that_takes_too_long_is_a_timeout(counters):
    heavy = "max_over_time(rate(requests_total[5m])[10d:1s])"
    status, kind, reason = error("query", query=heavy, time=SECONDS, timeout="1ms")
    assert (status, kind) == (503, "timeout"), reason


def test_a_database_that_fails_is_an_internal_error(services):
    with connection.cursor() as cursor:
        cursor.execute("alter table store_source rename to store_elsewhere")
    status, kind, reason = error("query", query="up")
    assert (status, kind) == (500, "internal")
    assert "store_source" not in reason


@pytest.mark.parametrize("path", ["labels", "series", "query_range", "format_query"])
def test_other_methods_are_refused(services, path):
    response = Client().put(f"/api/v1/{path}")
    assert (response.status_code, response.json()["errorType"]) == (405, "method_not_allowed")


def test_series_of_several_selectors_are_told_once(counters):
    got = data("series", **{"match[]": ['requests_total{path="/a"}', "requests_total"]})
    assert [row["path"] for row in got] == ["/a", "/b"]


def test_series_outside_the_time_are_not_told(counters):
    assert data("series", **{"match[]": "requests_total", "start": 0, "end": 1000}) == []


def test_label_names_are_those_of_the_matching_series(counters):
    assert data("labels") == ["__name__", "instance", "job", "kind", "le", "path"]
    assert data("labels", **{"match[]": "requests_total"}) == ["__name__", "instance", "job", "path"]


def test_label_values_are_those_of_the_matching_series(counters):
    assert data("label/path/values") == ["/a", "/b"]
    assert data("label/path/values", **{"match[]": '{path!="/a",job="web"}'}) == ["/b"]
    assert data("label/nothing/values") == []


def test_a_label_name_may_be_escaped(counters):
    assert data("label/U__path/values") == ["/a", "/b"]
    assert data("label/U___70_ath/values") == ["/a", "/b"]
    assert data("label/U__pa__th/values") == []


def test_values_are_truncated_at_the_limit(counters):
    status, body = get("label/path/values", limit=1)
    assert (status, body["data"], body["warnings"]) == (200, ["/a"], ["results truncated due to limit"])


def test_the_bounds_that_clients_send_for_none_are_read(counters):
    bounds = {"start": "-292273086-05-16T16:47:06Z", "end": "292277025-08-18T07:12:54.999999999Z"}
    assert data("label/path/values", **bounds) == ["/a", "/b"]


def test_metadata_tells_types_by_name(counters):
    got = data("metadata")
    kinds = {name: entries[0]["type"] for name, entries in got.items()}
    assert kinds == {"requests_total": "counter", "latency_seconds": "histogram", "strange": "unknown"}


def test_metadata_of_instrumented_models_has_type_and_help(services):
    store.append([Scrape("t", {}, AT_MS, ["model_accuracy"], np.ones(1))], now_ms=AT_MS)
    assert data("metadata", metric="model_accuracy") == {
        "model_accuracy": [{"type": "gauge", "help": "Model accuracy score, from 0 to 1", "unit": ""}]
    }


def test_the_build_tells_which_api_this_is(services):
    assert data("status/buildinfo")["version"].startswith("3.")


def test_an_expression_is_put_in_canonical_form(services):
    assert data("format_query", query="sum( rate(x[5m]) )by(a)") == "sum by (a) (rate(x[5m]))"


def test_there_are_no_exemplars(services):
    assert data("query_exemplars", query="up", start=1, end=2) == []


def test_targets_tell_labels_health_and_errors(services):
    version = ModelVersion.objects.create(model=ServedModel.objects.create(name="ranker"), version="3")
    deployment = Deployment.objects.create(version=version, url="http://10.0.0.1:8080")
    target = Target.objects.create(job="models", url="http://10.0.0.1:9100", deployment=deployment)
    status = {"state": "down", "since": AT, "scraped_at": AT, "duration_seconds": 0.25, "samples": 0}
    TargetStatus.objects.create(target=target, error="connection refused", **status)
    Target.objects.create(job="node", url="http://10.0.0.2:9100/metrics")
    Target.objects.create(job="node", url="http://10.0.0.3:9100/metrics", is_enabled=False)
    got = data("targets")
    assert [(row["scrapePool"], row["health"]) for row in got["activeTargets"]] == [
        ("models", "down"),
        ("node", "unknown"),
    ]
    first = got["activeTargets"][0]
    assert first["labels"] == {
        "job": "models", "instance": "10.0.0.1:9100", "model_name": "ranker", "model_version": "3",
    }  # fmt: skip
    assert first["scrapeUrl"] == "http://10.0.0.1:9100/metrics"
    assert (first["lastError"], first["lastScrape"]) == ("connection refused", "2027-01-15T08:00:00Z")
    assert (first["lastScrapeDuration"], first["scrapeInterval"], first["scrapeTimeout"]) == (0.25, "15s", "10s")
    assert got["droppedTargetCounts"] == {"models": 0, "node": 1}
    assert data("targets", state="dropped")["activeTargets"] == []
    assert [row["scrapePool"] for row in data("targets", scrapePool="node")["activeTargets"]] == ["node"]


def test_targets_need_two_questions_to_the_database_however_many_there_are(services, django_assert_max_num_queries):
    for number in range(20):
        Target.objects.create(job="node", url=f"http://10.0.0.{number}:9100/metrics")
    with django_assert_max_num_queries(2):
        assert len(data("targets")["activeTargets"]) == 20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (1e15, "1000000000000000"),
        (1e16, "10000000000000000"), (1.5e20, "150000000000000000000"), (1e21, "1e+21"), (1.7e308, "1.7e+308"),
        (1e-5, "0.00001"), (1.25e-6, "0.00000125"), (9.9e-7, "9.9e-07"), (5e-324, "5e-324"),
        (float("nan"), "NaN"), (float("inf"), "+Inf"), (float("-inf"), "-Inf"), (1 / 3, "0.3333333333333333"),
    ],
)  # fmt: skip
def test_values_are_written_as_go_writes_them(value, text):
    assert value_text(value) == text
    assert value_texts(np.array([1.5, value])) == ["1.5", text]


def test_steps_without_a_value_are_left_out(counters):
    got = data("query_range", query='requests_total{path="/a"} > 580', start=SECONDS - 60, end=SECONDS + 15, step=15)
    values = [[SECONDS - 15, "585"], [SECONDS, "600"], [SECONDS + 15, "600"]]
    assert got["result"][0]["values"] == values


@pytest.mark.parametrize(("ms", "text"), [(0, "0"), (1500, "1.500"), (1435781451781, "1435781451.781"), (-1, "-0.001")])
def test_times_are_written_as_seconds(ms, text):
    assert time_text(ms) == text


def test_labels_that_json_must_escape_come_back_as_they_were(services):
    store.append([Scrape("t", {}, AT_MS, ['odd{a="\\"\\\\\\n☃"}'], np.ones(1))], now_ms=AT_MS)
    body = Client().get("/api/v1/query", {"query": "odd", "time": SECONDS}).content
    assert json.loads(body)["data"]["result"][0]["metric"]["a"] == '"\\\n☃'


HOSTILE = [
    "\x00", "\ud800", "١٢", "9" * 5000, "-" + "9" * 400, "1e14", "-1e14", "nan", "inf", "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-14:00", "9" * 30 + "s", "{" * 2000, '{a="' + "x" * 100_000 + '"}', '{a="\\x00"}',
    '{"\\ud800"="a"}', "\r\n", "ä" * 300, "[]", "%s",
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name", "others"),
    [
        ("query", "query", {}), ("query", "time", {"query": "1"}), ("query", "timeout", {"query": "1"}),
        ("query", "limit", {"query": "1"}),
        ("query_range", "start", {"query": "1", "end": 10, "step": 1}),
        ("query_range", "end", {"query": "1", "start": 1, "step": 1}),
        ("query_range", "step", {"query": "1", "start": 1, "end": 10}),
        ("series", "match[]", {}), ("series", "start", {"match[]": "up"}), ("labels", "end", {}),
        ("metadata", "metric", {}), ("targets", "scrapePool", {}),
        ("rules", "rule_name[]", {}), ("rules", "match[]", {}),
    ],
)  # fmt: skip
def test_hostile_parameters_get_an_answer_or_a_reason(counters, path, name, others):
    client = Client(raise_request_exception=False)
    for text in HOSTILE:
        response = client.get(f"/api/v1/{path}?{urlencode({**others, name: text}, errors='surrogatepass')}")
        assert (text, response.status_code in (200, 400, 422)) == (text, True)
        assert response.json()["status"] in ("success", "error")


@pytest.mark.parametrize("text", ["1" * 400 + "s", "1" * 400, "1s1h", "1e400", "5m!"])
def test_a_duration_beyond_all_time_is_bad_data(services, text):
    status, kind, reason = error("query", query="1", timeout=text)
    assert (status, kind) == (400, "bad_data")
    assert "to a valid duration" in reason


@pytest.mark.parametrize(
    "name", ["%00", "%ED%A0%80", "U__", "U__d800_", "U___d800_", "U___ffffff_", "a%20b", "x" * 5000], ids=range(8)
)
def test_hostile_label_names_get_an_answer_or_a_reason(counters, name):
    response = Client(raise_request_exception=False).get(f"/api/v1/label/{name}/values")
    assert response.status_code in (200, 400), response.content
