"""The example model server as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RANKER = '{model_name="ranker",model_version="7"}'


@pytest.fixture(scope="module")
def server():
    """Its URL."""
    options = ["--port", "0", "--version", "7", "--slowness", "0.001"]
    command = [sys.executable, ROOT / "docs/examples/model_server.py", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def post(url, body):
    try:
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None


def told(server):
    """What it tells now. A request counts when its answer is closed: just after whoever asked has read it."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=30) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def told_with(server, name, least):
    """The same, once the counter `name` has come to `least`, or after 10 s."""
    last = time.monotonic() + 10
    while (seen := told(server)).get(name, 0) < least and time.monotonic() < last:
        time.sleep(0.01)
    return seen


def test_it_predicts_and_tells(server):
    request = 'http_requests_total{endpoint="/predict/<name>",method="POST",status="200"}'
    before = told(server)
    assert post(f"{server}/predict/x", {"inputs": [[1, 3], [0.1, 0.3]]}) == (200, {"scores": [2.0, 0.2]})
    after = told_with(server, request, before.get(request, 0) + 1)
    assert after[request] == before.get(request, 0) + 1
    for name, more in (
        (f"model_inference_duration_seconds_count{RANKER}", 1),
        (f"model_batch_duration_seconds_count{RANKER}", 1),
        (f"model_inference_items_total{RANKER}", 2),
    ):
        assert after[name] == before.get(name, 0) + more
    assert after[f"model_batch_size{RANKER}"] == 2
    assert after[f"model_accuracy{RANKER}"] == 0.94
    assert after[f"model_queue_size{RANKER}"] == 0
    assert after['shop_recommendations_total{verdict="shown"}'] >= 1


def test_a_model_that_fails_is_counted_and_the_server_lives_on(server):
    assert post(f"{server}/predict/x", {"inputs": [[]]})[0] == 500
    failed = 'http_requests_total{endpoint="/predict/<name>",method="POST",status="500"}'
    after = told_with(server, failed, 1)
    error = 'model_inference_errors_total{error="ZeroDivisionError",model_name="ranker",model_version="7"}'
    assert after[error] >= 1
    assert after[failed] >= 1
    assert post(f"{server}/predict/x", {"inputs": [[1]]})[0] == 200


def test_nonsense_is_refused_with_400(server):
    assert post(f"{server}/predict/x", {"inputs": "many"})[0] == 400
