"""The lint of metrics: each rule fires where it should, and is silent on what is sound."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from monitoring.collect.openmetrics import Malformed
from monitoring.models import ServedModel
from monitoring.naming import EXPLANATIONS, Level, lint_name, lint_text, read_families

ROOT = Path(__file__).resolve().parents[1]
PROMTOOL = shutil.which("promtool")


def exposed(name, kind="gauge", labels="", value=1):
    """One metric as a target exposes it, well declared."""
    series = f"{name}_bucket" if kind == "histogram" else name
    return f"# HELP {name} What it is.\n# TYPE {name} {kind}\n{series}{labels} {value}\n"


def codes(body, **options):
    return [finding.code for finding in lint_text(body, **options)]


@pytest.mark.parametrize(
    ("name", "kind", "code", "better"),
    [
        ("http_requests", "counter", "counter-without-total", "http_requests_total"),
        ("queue_length_total", "gauge", "total-without-counter", "queue_length"),
        ("request_milliseconds", "gauge", "unit", "request_seconds"),
        ("request_duration_ms", "gauge", "unit", "request_duration_seconds"),
        ("gpu_memory_mb", "gauge", "unit", "gpu_memory_bytes"),
        ("wait_minutes_total", "counter", "unit", "wait_seconds_total"),
        ("request_latency", "gauge", "no-unit", "request_latency_seconds"),
        ("process_memory", "gauge", "no-unit", "process_memory_bytes"),
        ("batch_duration_total", "counter", "no-unit", "batch_duration_seconds_total"),
        ("queue:length", "gauge", "colon", "queue_length"),
    ],
)
def test_a_name_that_misleads_is_a_warning_with_a_better_one(name, kind, code, better):
    found = [finding for finding in lint_text(exposed(name, kind)) if finding.code == code]
    assert [(finding.level, finding.metric, finding.suggestion) for finding in found] == [(Level.WARNING, name, better)]


@pytest.mark.parametrize(
    ("name", "kind", "code", "better"),
    [
        ("cpu_usage_percent", "gauge", "unit", "cpu_usage_ratio"),
        ("queueLength", "gauge", "camel-case", "queue_length"),
        ("queue_gauge", "gauge", "type-in-name", "queue"),
        ("batch_count", "gauge", "reserved-suffix", ""),
    ],
)
def test_a_name_that_is_unusual_is_an_info(name, kind, code, better):
    found = [finding for finding in lint_text(exposed(name, kind)) if finding.code == code]
    assert [(finding.level, finding.suggestion) for finding in found] == [(Level.INFO, better)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("http_requests_total", "counter"), ("model_inference_duration_seconds", "histogram"),
        ("model_batch_size", "gauge"), ("model_queue_size", "gauge"), ("model_accuracy", "gauge"),
        ("process_start_time_seconds", "gauge"), ("node_memory_free_bytes", "gauge"),
        ("gpu_temperature_celsius", "gauge"),
        ("node_time_zone_offset_seconds", "gauge"), ("process_cpu_seconds_total", "counter"), ("up", "gauge"),
    ],
)  # fmt: skip
def test_a_sound_name_is_not_remarked(name, kind):
    labels = '{le="+Inf"}' if kind == "histogram" else ""
    assert codes(exposed(name, kind, labels)) == []


@pytest.mark.parametrize(
    ("name", "models", "better"),
    [
        ("model_ranker_inference_seconds", (), 'model_inference_duration_seconds{model_name="ranker"}'),
        ("model_ranker_batch_size", (), 'model_batch_size{model_name="ranker"}'),
        ("model_ranker_v2_queue_size", (), 'model_queue_size{model_name="ranker_v2"}'),
        ("bert_base_requests_total", ("bert-base",), 'requests_total{model_name="bert-base"}'),
        ("requests_BERT_total", ("bert",), 'requests_total{model_name="bert"}'),
    ],
)
def test_a_model_in_a_name_is_offered_as_a_label(name, models, better):
    found = [finding for finding in lint_name(name, "", models) if finding.code == "model-in-name"]
    assert [(finding.level, finding.suggestion) for finding in found] == [(Level.WARNING, better)]


@pytest.mark.parametrize(
    "name", ["model_inference_duration_seconds", "model_training_batch_size", "tbert_total", "bert"]
)
def test_what_is_no_model_is_not_taken_for_one(name):
    assert [finding for finding in lint_name(name, "", ["bert"]) if finding.code == "model-in-name"] == []


@pytest.mark.parametrize(
    ("labels", "better"),
    [
        ('{user_id="7"}', ""),
        ('{who="ana@example.com"}', ""),
        ('{request="6f1c5a0e-3c1f-4c56-9c39-1d2f0a7b7c11"}', ""),
        ('{commit="9fceb02d0ae598e95dc970b74767f19372d61af8"}', ""),
        ('{at="1795342797"}', ""),
        ('{endpoint="/users/17/orders"}', 'endpoint="/users/<id>/orders"'),
        ('{path="/search?q=cats"}', 'path="/search"'),
    ],
)
def test_a_label_without_end_is_a_warning(labels, better):
    found = lint_text(exposed("http_requests_total", "counter", labels))
    assert [(finding.code, finding.suggestion) for finding in found] == [("unbounded-label", better)]


@pytest.mark.parametrize(
    "labels",
    ['{endpoint="/users/<id>"}', '{endpoint="/v1/models"}', '{status="200"}', '{version="2024.1"}', '{ip="v4"}'],
)
def test_a_label_of_few_values_is_not_remarked(labels):
    assert codes(exposed("http_requests_total", "counter", labels)) == []


def test_a_label_of_very_many_values_is_a_warning():
    head = "# HELP x_total X.\n# TYPE x_total counter\n"
    body = head + "".join(f'x_total{{shard="s{number}"}} 1\n' for number in range(101))
    (finding,) = lint_text(body)
    assert finding.code == "high-cardinality"
    assert '"shard" of x_total has 101 values' in finding.message
    assert codes(head + "".join(f'x_total{{shard="s{number}"}} 1\n' for number in range(100))) == []


def test_labels_of_histograms_and_summaries_are_kept_for_them():
    assert codes(exposed("x_seconds", "gauge", '{quantile="0.9"}')) == ["reserved-label"]
    assert codes(exposed("x_seconds", "summary", '{quantile="0.9"}')) == []


def test_labels_of_the_scrape_are_taken():
    assert codes(exposed("x_seconds", "gauge", '{job="a",instance="b"}')) == ["label-taken", "label-taken"]


def test_a_metric_without_type_and_help_is_told_once_for_all_its_series():
    assert codes('x{a="1"} 1\nx{a="2"} 1\n') == ["no-type", "no-help"]


def test_parts_of_a_histogram_are_one_metric():
    head = "# HELP x_seconds X.\n# TYPE x_seconds histogram\n"
    body = head + 'x_seconds_bucket{le="+Inf"} 1\nx_seconds_sum 1\nx_seconds_count 1\n'
    assert [family.name for family in read_families(body)] == ["x_seconds"]
    assert codes(body) == []


def test_a_counter_in_openmetrics_is_named_with_its_suffix():
    body = "# HELP x X.\n# TYPE x counter\nx_total 1\nx_created 1.5\n# EOF\n"
    assert [family.name for family in read_families(body, is_openmetrics=True)] == ["x_total"]
    assert codes(body, is_openmetrics=True) == []


def test_a_text_that_is_no_exposition_names_the_line():
    with pytest.raises(Malformed, match="line 2"):
        lint_text("up 1\n<html>\n")


def test_every_rule_is_explained_in_the_docs():
    text = (ROOT / "docs/instrumentation.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == set(EXPLANATIONS)


GOOD = exposed("http_requests_total", "counter", '{method="GET"}')
BAD = exposed("request_ms") + exposed("queueLength")


@pytest.fixture
def served():
    """Makes a target that says so; its URL."""
    with contextlib.ExitStack() as stack:

        def serve(body):
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain; version=0.0.4")
                    self.end_headers()
                    self.wfile.write(body.encode())

                def log_message(self, *_):
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/metrics"

        yield serve


def lint(*arguments, **options):
    out = io.StringIO()
    try:
        call_command("lint_metrics", *arguments, stdout=out, **options)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


@pytest.mark.django_db
def test_the_command_reads_a_file_and_fails_on_warnings(tmp_path):
    file = tmp_path / "metrics.txt"
    file.write_text(BAD)
    said, error = lint(str(file))
    assert error == "1 warning."
    assert "warning unit: Base units" in said
    assert 'request_ms is in "ms": measure in the base unit, seconds; better: request_seconds' in said
    assert "info camel-case:" in said


@pytest.mark.django_db
def test_the_command_is_content_with_sound_metrics(tmp_path):
    file = tmp_path / "metrics.txt"
    file.write_text(GOOD)
    assert lint(str(file)) == ("Nothing to remark.\n", "")


@pytest.mark.django_db
def test_the_command_asks_a_target(served):
    said, error = lint(served(BAD))
    assert ("request_seconds" in said, error) == (True, "1 warning.")


@pytest.mark.django_db
def test_the_command_knows_the_registered_models(served):
    ServedModel.objects.create(name="bert-base")
    assert 'requests_total{model_name="bert-base"}' in lint(served(exposed("bert_base_requests_total", "counter")))[0]
    assert 'x{model_name="gpt"}' in lint(served(exposed("gpt_x")), model=["gpt"])[0]


@pytest.mark.django_db
def test_the_command_shows_some_findings_of_a_rule_or_all(tmp_path):
    file = tmp_path / "metrics.txt"
    file.write_text("".join(exposed(f"x{chr(97 + number)}_ms") for number in range(12)))
    assert "… and 2 more (--all)" in lint(str(file))[0]
    assert lint(str(file), all=True)[0].count("better:") == 12


@pytest.mark.django_db
@pytest.mark.parametrize(("text", "said"), [("up one\n", "line 1"), ("\x00\n", "line 1"), ("up 1 2 3\n", "line 1")])
def test_the_command_says_where_a_text_is_broken(tmp_path, text, said):
    file = tmp_path / "metrics.txt"
    file.write_text(text)
    assert said in lint(str(file))[1]


@pytest.mark.django_db
def test_the_command_says_that_a_source_cannot_be_read(tmp_path):
    assert "No such file" in lint(str(tmp_path / "nothing.txt"))[1]
    assert "refused" in lint("http://127.0.0.1:1/metrics")[1]
    assert "Name the URL" in lint()[1]


def test_the_command_explains_all_rules():
    said, error = lint(explain=True)
    assert (len(said.splitlines()), error) == (len(EXPLANATIONS), "")


#: Our code for each sentence of promtool.
UPSTREAM = {
    'counter metrics should have "_total" suffix': "counter-without-total",
    'non-counter metrics should not have "_total" suffix': "total-without-counter",
    "metric names should be written in 'snake_case' not 'camelCase'": "camel-case",
    "metric names should not contain ':'": "colon",
    "no help text": "no-help",
    "metric name should not include type": "type-in-name",
    "use base unit": "unit",
    'non-histogram metrics should not have "le" label': "reserved-label",
    'non-summary metrics should not have "quantile" label': "reserved-label",
}


@pytest.mark.oracle
@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
@pytest.mark.parametrize(
    "body",
    [
        exposed("x", "counter"), exposed("x_total"), exposed("xY"), exposed("x:y"), "# TYPE x gauge\nx 1\n",
        exposed("x_gauge"), exposed("x_milliseconds"), exposed("x_kelvin"), exposed("x_megabytes"), exposed("x_bits"),
        exposed("x", "gauge", '{le="1"}'), exposed("x", "gauge", '{quantile="1"}'),
        exposed("x_minutes_total", "counter"), exposed("x_seconds"), exposed("http_requests_total", "counter"),
    ],
)  # fmt: skip
def test_what_promtool_finds_is_found_here(body):
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=body, capture_output=True, text=True)
    theirs = {code for line in done.stderr.splitlines() for said, code in UPSTREAM.items() if said in line}
    assert len(theirs) == len([line for line in done.stderr.splitlines() if line])
    assert set(codes(body)) == theirs
