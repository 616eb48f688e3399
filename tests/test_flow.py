"""A model from its server to Slack, as its team has it: real processes, the admin's forms, the pages, promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browse import Page, Visitor
from tests.fakes import FakeSlack
from tests.portal import ROOT, RunningPortal, free_port

pytestmark = pytest.mark.e2e
TOKEN = "xoxb-test"
P90 = "histogram_quantile(0.9, sum by (model_name, le) (rate(model_inference_duration_seconds_bucket[1m])))"
NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
PROMTOOL = shutil.which("promtool")


@pytest.fixture(scope="module")
def slack() -> Iterator[FakeSlack]:
    """Slack, as far as the wire can tell."""
    with FakeSlack(token=TOKEN, channels=["ml-alerts"], strict=True) as server:
        yield server


@pytest.fixture(scope="module")
def portal(slack: FakeSlack) -> Iterator[RunningPortal]:
    """The portal as processes."""
    folder = Path(tempfile.mkdtemp(prefix="aq-flow-"))
    folder.chmod(0o755)
    running = RunningPortal(folder, ALPHAQ_SLACK_API_BASE=slack.api_base, ALPHAQ_HOST_NAME="ana")
    running.start().wait_ready()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def staff(portal: RunningPortal) -> Visitor:
    """The first admin, signed in."""
    visitor = Visitor(portal.url)
    assert "/admin/" in visitor.sign_in("admin", portal.password()).url
    return visitor


@pytest.fixture(scope="module")
def model_server() -> Iterator[str]:
    """The example of docs/examples, asked for predictions all the time; its address."""
    script = ROOT / "docs" / "examples" / "model_server.py"
    command = [sys.executable, str(script), "--port", "0", "--model", "ranker", "--version", "7"]
    process = subprocess.Popen([*command, "--slowness", "0.05"], stdout=subprocess.PIPE, text=True)
    stop, thread = threading.Event(), None
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" on ")[1].strip()
        thread = threading.Thread(target=predict_until, args=(stop, f"{url}/predict/x"))
        thread.start()
        yield url
    finally:
        stop.set()
        if thread is not None:
            thread.join(30)
        process.terminate()
        process.wait(20)


def predict_until(stop: threading.Event, url: str) -> None:
    """Ask for predictions until `stop`."""
    body = json.dumps({"inputs": [[1, 2], [3, 4]]}).encode()
    while not stop.wait(0.1):
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:  # noqa: S310
            answer.read()


def add(staff: Visitor, kind: str, wanted: str, /, **fields: str) -> None:
    """Fill in the form of a new row and save it."""
    answer = staff.send(staff.get(f"/admin/{kind}/add/"), wanted, **fields)
    assert answer.status == 200
    assert "errornote" not in answer.text, re.findall(r'class="errorlist[^>]*>(.*?)</ul>', answer.text, re.S)


def row_of(staff: Visitor, model: str, words: str) -> str:
    """The number of a row, found through its list as a person finds it."""
    found = re.search(rf'href="/admin/{model}/(\d+)/change/[^"]*"', staff.get(f"/admin/{model}/?q={words}").text)
    assert found, f"{words} is not in the list of {model}"
    return found.group(1)


def await_page(staff: Visitor, path: str, pattern: str, within_seconds: float = 90) -> Page:
    """The page as soon as it holds `pattern`."""
    deadline = time.monotonic() + within_seconds
    while True:
        page = staff.get(path)
        if re.search(pattern, page.text, re.S):
            return page
        assert time.monotonic() < deadline, f"{path} never holds {pattern!r}"
        time.sleep(0.5)


def tile(name: str) -> str:
    """A pattern for a number of the model page that is there."""
    return rf'aq-tile-name">{name}</span><span class="aq-tile-value">[\d.]+'


def test_a_model_server_is_registered_in_the_admin(staff: Visitor, model_server: str):
    add(staff, "monitoring/servedmodel", "name", name="ranker", runbook="https://runbooks.example/ranker")
    model = row_of(staff, "monitoring/servedmodel", "ranker")
    add(staff, "monitoring/modelversion", "version", model=model, version="7", stage="production")
    version = row_of(staff, "monitoring/modelversion", "ranker")
    add(
        staff, "monitoring/deployment", "metrics_url", version=version, url=model_server,
        metrics_url=f"{model_server}/metrics", health_url=f"{model_server}/health",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["Inferences", "p95 latency", "Accuracy", "Queue", "Batch"])
def test_its_page_shows_how_it_does(staff: Visitor, model_server: str, name: str):
    page = await_page(staff, "/models/ranker/", tile(name))
    assert "exported_" not in page.text
    assert "seen, not registered" not in page.text


def test_its_charts_have_series(staff: Visitor, model_server: str):
    urls = re.findall(r'data-url="(/models/ranker/panels/[^"]+)"', staff.get("/models/ranker/").text)
    wanted, names = {"p50", "p90", "p99", "7"}, set()
    deadline = time.monotonic() + 90  # a rate needs two scrapes, and charts end at a whole step
    while not wanted <= names:
        assert time.monotonic() < deadline, names
        time.sleep(1)
        answers = [json.loads(staff.get(url.replace("&amp;", "&")).text) for url in urls]
        names = {one["name"] for answer in answers for one in answer["series"]}


def test_its_probe_answers_and_the_portal_is_ready(staff: Visitor, model_server: str):
    await_page(staff, "/models/ranker/", "aq-cell is-ok")
    assert json.loads(await_page(staff, "/ready", '"ready"').text)["checks"]["models"] is True


def test_its_p90_rule_fires_and_tells(staff: Visitor, slack: FakeSlack, model_server: str):
    staff.send(staff.get("/setup/slack/"), "bot_token", bot_token=TOKEN, channel="#ml-alerts")
    limit = {
        "thresholds-TOTAL_FORMS": "1", "thresholds-0-severity": "critical", "thresholds-0-operator": ">",
        "thresholds-0-value": "0.01", "thresholds-0-is_enabled": "on", "thresholds-0-priority": "0",
    }  # fmt: skip
    add(staff, "alerts/rule", "expr", name="ModelSlow", mode="promql", expr=P90, **limit)
    (told, *_) = slack.wait_for_message("ml-alerts", "ModelSlow", timeout=120)
    assert told.says("ranker")
    page = await_page(staff, "/models/ranker/", "1 firing")
    assert "ModelSlow" in page.text


def test_a_deploy_told_by_a_pipeline_is_on_the_page(staff: Visitor, portal: RunningPortal, model_server: str):
    made = staff.send(staff.get("/admin/monitoring/apitoken/add/"), "name", name="ci", scopes="deploy")
    token = re.search(r"aq_[\w-]{40,}", made.text)
    assert token, "the token is not shown"
    request = urllib.request.Request(  # noqa: S310
        f"{portal.url}/api/v1/models/ranker/deploys",
        json.dumps({"version": "7", "note": "rolled out by the pipeline"}).encode(),
        {"Authorization": f"Bearer {token[0]}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        assert answer.status == 201
    assert "rolled out by the pipeline" in staff.get("/models/ranker/").text


@pytest.mark.skipif(not PROMTOOL, reason="promtool (Debian: prometheus) is not installed")
def test_promtool_asks_for_the_model(portal: RunningPortal, staff: Visitor, model_server: str):
    await_page(staff, "/models/ranker/", tile("Accuracy"))
    expr = 'model_accuracy{model_name="ranker",model_version="7"}'
    done = subprocess.run(
        [str(PROMTOOL), "query", "instant", portal.url, expr], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert 'instance="127.0.0.1:' in done.stdout
    assert "=> 0.94 @" in done.stdout


@pytest.mark.skipif(not NODE_EXPORTER, reason="prometheus-node-exporter is not installed")
def test_a_node_exporter_is_a_target_like_any_other(staff: Visitor, portal: RunningPortal):
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [str(NODE_EXPORTER), f"--web.listen-address={address}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        add(staff, "monitoring/target", "url", job="node", url=f"http://{address}", interval_seconds="5")
        query = f"/api/v1/query?query=node_memory_MemTotal_bytes%7Binstance%3D%22{address}%22%7D"
        answer = json.loads(await_page(staff, query, '"value"').text)
        assert float(answer["data"]["result"][0]["value"][1]) > 0
        known = json.loads(await_page(staff, "/api/v1/metadata?metric=node_memory_MemTotal_bytes", "gauge").text)
        assert known["data"]["node_memory_MemTotal_bytes"][0]["help"]
    finally:
        process.terminate()
        process.wait(20)
