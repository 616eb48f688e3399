"""The API as its real users ask: promtool against a live server, and what a Grafana data source wants to know."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request

import numpy as np
import pytest

from monitoring import store
from monitoring.store import Scrape

PROMTOOL = shutil.which("promtool")
SECONDS = 1_800_000_000
pytestmark = [pytest.mark.django_db(transaction=True)]
needs_promtool = [pytest.mark.oracle, pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")]


def needs(test):
    for mark in needs_promtool:
        test = mark(test)
    return test


@pytest.fixture
def portal(live_server):
    """The URL of a portal that has ten minutes of a counter."""
    for step in range(41):
        at_ms = SECONDS * 1000 - (40 - step) * 15_000
        values = np.array([15.0 * step, np.nan])
        scrape = Scrape("target:1", {"job": "web"}, at_ms, ['requests_total{path="/a"}', "odd"], values)
        store.append([scrape], now_ms=SECONDS * 1000)
    return live_server.url


def promtool(*arguments):
    return subprocess.run([PROMTOOL, "query", *arguments], capture_output=True, text=True, timeout=60)


@needs
def test_promtool_asks_at_one_time(portal):
    done = promtool("instant", f"--time={SECONDS}", portal, "requests_total / 400")
    assert (done.stdout, done.stderr) == (f'{{job="web", path="/a"}} => 1.5 @[{SECONDS}]\n', "")


@needs
@pytest.mark.parametrize(
    ("query", "told"),
    [("1/3", "scalar: 0.3333333333333333"), ("odd", 'odd{job="web"} => NaN'), ("1/0", "scalar: +Inf")],
)
def test_promtool_reads_numbers_of_every_kind(portal, query, told):
    assert promtool("instant", f"--time={SECONDS}", portal, query).stdout == f"{told} @[{SECONDS}]\n"


@needs
def test_promtool_asks_over_a_range(portal):
    times = [f"--start={SECONDS - 30}", f"--end={SECONDS}", "--step=15s"]
    lines = promtool("range", *times, portal, "requests_total").stdout.splitlines()
    assert lines == [
        'requests_total{job="web", path="/a"} =>',
        f"570 @[{SECONDS - 30}]",
        f"585 @[{SECONDS - 15}]",
        f"600 @[{SECONDS}]",
    ]


@needs
def test_promtool_asks_for_series(portal):
    times = [f"--start={SECONDS - 600}", f"--end={SECONDS}"]
    done = promtool("series", "--match=requests_total", '--match={job="web"}', *times, portal)
    assert done.stdout.splitlines() == [
        '{__name__="odd", job="web"}',
        '{__name__="requests_total", job="web", path="/a"}',
    ]


@needs
def test_promtool_asks_for_the_values_of_a_label(portal):
    done = promtool("labels", f"--start={SECONDS - 600}", f"--end={SECONDS}", portal, "path")
    assert done.stdout == "/a\n"


@needs
def test_promtool_tells_what_is_wrong_with_a_query(portal):
    done = promtool("instant", portal, "sum(")
    assert done.returncode == 1
    assert 'bad_data: invalid parameter "query": 1:5: parse error' in done.stderr


@needs
def test_promtool_gets_json_that_it_reads_back_as_it_was(portal):
    done = promtool("--format=json", "instant", f"--time={SECONDS}", portal, "requests_total")
    labels = {"__name__": "requests_total", "job": "web", "path": "/a"}
    assert json.loads(done.stdout) == [{"metric": labels, "value": [SECONDS, "600"]}]


def grafana(portal, path, form=None):
    """What a data source asks: forms by POST, the rest by GET."""
    body = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(f"{portal}/api/v1/{path}", body, timeout=30) as answer:  # noqa: S310
        assert answer.headers["Content-Type"] == "application/json"
        found = json.loads(answer.read())
    assert found["status"] == "success"
    return found["data"]


def test_a_grafana_data_source_finds_what_it_needs(portal):
    span = f"start={SECONDS - 600}&end={SECONDS}"
    assert grafana(portal, "query", {"query": "1+1", "time": SECONDS})["result"] == [SECONDS, "2"]
    assert grafana(portal, "status/buildinfo")["version"]
    assert grafana(portal, "labels", {"start": SECONDS - 600, "end": SECONDS}) == ["__name__", "job", "path"]
    assert grafana(portal, f"label/__name__/values?{span}") == ["odd", "requests_total"]
    assert set(grafana(portal, "metadata?limit=100")) == {"odd", "requests_total"}
    assert grafana(portal, f"series?match[]=requests_total&{span}")[0]["path"] == "/a"
    assert grafana(portal, "rules")["groups"] == []
    assert grafana(portal, "query_exemplars", {"query": "requests_total", "start": 1, "end": 2}) == []
    form = {"query": "requests_total", "start": SECONDS - 30, "end": SECONDS, "step": 15}
    assert len(grafana(portal, "query_range", form)["result"][0]["values"]) == 3
