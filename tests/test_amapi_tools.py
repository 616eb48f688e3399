"""The API as its real users speak it: amtool, and a Prometheus that has the portal as its Alertmanager."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import time
import urllib.request

import pytest

from alerts import amfile
from alerts.models import Alert, Silence
from tests import build
from tests.portal import free_port

AMTOOL, PROMETHEUS = shutil.which("amtool"), shutil.which("prometheus")
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.oracle]
needs_amtool = pytest.mark.skipif(not AMTOOL, reason="amtool is not installed")
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")
RULES = """
groups:
- name: g
  interval: 1s
  rules:
  - {alert: TooMuch, expr: 'load > 80', labels: {severity: warning}, annotations: {summary: 'at {{ $value }}'}}
"""


@pytest.fixture
def url(live_server):
    """The address of a portal with two receivers."""
    root = build.route(receiver=build.receiver("default"))
    build.route(root, matchers=['team="ml"'], receiver=build.receiver("ml-oncall"))
    return live_server.url


def amtool(url, *arguments, status=0):
    done = subprocess.run([AMTOOL, f"--alertmanager.url={url}", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@needs_amtool
def test_amtool_adds_and_queries_alerts(url):
    amtool(url, "alert", "add", "alertname=Cli", "tok=x", "severity=warning", "--annotation=summary=hi")
    assert Alert.objects.get().annotations == {"summary": "hi"}
    said = amtool(url, "alert", "query", "-o", "simple")
    assert all(word in said for word in ("Cli", "hi", "active"))
    assert "Cli" not in amtool(url, "alert", "query", "severity=critical", "-o", "simple")
    assert '"receivers":[{"name":"default"}]' in amtool(url, "alert", "query", "-o", "json", "alertname=~C.*")


@needs_amtool
def test_amtool_makes_changes_and_ends_silences(url):
    amtool(url, "alert", "add", "alertname=Cli", "tok=x")
    first = amtool(url, "silence", "add", "alertname=Cli", "-d", "1m", "-a", "bench", "-c", "why").strip()
    said = amtool(url, "silence", "query")
    assert all(word in said for word in (first, 'alertname="Cli"', "bench", "why"))
    assert "Cli" not in amtool(url, "alert", "query", "-o", "simple")
    assert "Cli" in amtool(url, "alert", "query", "--silenced", "-o", "simple")
    amtool(url, "silence", "update", "-d", "2m", first)
    row = Silence.objects.get(uuid=first)
    assert 100 < (row.ends_at - row.starts_at).total_seconds() < 140
    amtool(url, "silence", "expire", first)
    assert first in amtool(url, "silence", "query", "--expired")
    assert first not in amtool(url, "silence", "query")


@needs_amtool
def test_amtool_shows_the_configuration_and_finds_the_way_of_labels(url):
    assert "receiver: ml-oncall" in amtool(url, "config", "show")
    assert amtool(url, "config", "routes", "test", "team=ml").strip() == "ml-oncall"
    assert amtool(url, "config", "routes", "test", "team=db").strip() == "default"
    assert "disabled" in amtool(url, "cluster", "show")


@needs_amtool
def test_amtool_accepts_what_is_exported(url, tmp_path):
    path = tmp_path / "alertmanager.yml"
    path.write_text(amfile.write())
    assert "SUCCESS" in amtool(url, "check-config", str(path))


@needs_amtool
def test_amtool_is_told_what_is_wrong(url):
    assert "would silence every alert" in amtool(
        url, "silence", "add", "alertname=~.+", "-d", "1m", "-a", "b", "-c", "c", status=1
    )


class _Metrics(http.server.BaseHTTPRequestHandler):
    load = 95

    def do_GET(self):
        body = f"load {type(self).load}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def prometheus(url, tmp_path):
    """A Prometheus that evaluates one rule each second and has the portal as its Alertmanager."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{tmp_path}/rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{url.removeprefix("http://")}']}}]}}]}}
scrape_configs: [{{job_name: app, static_configs: [{{targets: ['127.0.0.1:{server.server_port}']}}]}}]
""")
    port = free_port()
    process = subprocess.Popen(
        [PROMETHEUS, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=1s"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()
    server.shutdown()
    _Metrics.load = 95


def eventually(is_so, seconds=90):
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.2)


@needs_prometheus
def test_a_prometheus_delivers_through_us(prometheus):
    eventually(lambda: Alert.objects.filter(name="TooMuch", state="firing").exists())
    row = Alert.objects.get(name="TooMuch")
    assert (row.labels["severity"], row.annotations) == ("warning", {"summary": "at 95"})
    assert "/graph?g0.expr=load" in row.generator_url
    eventually(lambda: Alert.objects.get(pk=row.pk).ends_at is None)  # resent: its end is with the postings
    _Metrics.load = 10
    eventually(lambda: Alert.objects.get(pk=row.pk).state == "resolved")
    found = urllib.request.urlopen(  # noqa: S310
        f"{prometheus}/api/v1/alertmanagers", timeout=10
    ).read()
    assert b"/api/v2/alerts" in found
