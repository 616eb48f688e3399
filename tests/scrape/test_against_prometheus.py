"""The same texts scraped by Debian's Prometheus and by us: the same series with the same values."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress

import pytest

from monitoring import store
from monitoring.collect.exposition import Parser
from monitoring.promql import Matcher
from tests.portal import free_port
from tests.scrape.build import NOW, Scraped, make_target, wait_until
from tests.scrape.server import says, target

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.django_db,
    pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's prometheus"),
]
TRICKY = r"""# HELP a_total Something \\ with\nescapes.
# TYPE a_total counter
a_total{x="1"} 1
a_total {x="2",} 2.5e3
a_total{ y = "say \"hi\" } # {" , x = "c:\\d" } +Inf
a_total{z="1\n2",empty=""}	-Inf
b_seconds_bucket{le="+Inf"} 4
plain 0.1
# just a comment
#another
:colon:name 7
nan NaN
a_total{x="1"} 9
unicode{x="ü—😀"} 1
theirs{instance="mine",job=""} 3
"""
OPENMETRICS = """# HELP a Something.
# TYPE a counter
a_total{x="1"} 1 # {trace_id="abc # }"} 0.5 1700000000.5
a_total{x="2"} 2
a_created{x="2"} 1700000000.25
# TYPE h histogram
h_bucket{le="1.0"} 1 # {} 0.7
h_bucket{le="+Inf"} 2
h_count 2
h_sum 1.5
# TYPE i info
i_info{version="1.0"} 1
# EOF
"""
OM_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OURS = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling"}
OURS |= {"scrape_series_added"}


@contextmanager
def prometheus(folder, address: str, **options):
    """A server that scrapes one address every second; gives a function that asks it."""
    job = {"job_name": "app", "static_configs": [{"targets": [address]}], "scrape_interval": "1s", **options}
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    port = free_port()
    flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=error"]
    child = subprocess.Popen([PROMETHEUS, *flags, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)

    def ask(path: str, **query: str) -> dict:
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  (loopback)
            return json.loads(answer.read())["data"]
        return {}

    try:
        yield ask
    finally:
        child.kill()
        child.wait()


def theirs(ask) -> dict[tuple, str]:
    """{labels: value} of the newest samples, without what Prometheus adds itself."""
    wait_until(lambda: ask("query", query="up").get("result"))
    found = ask("query", query='{__name__!=""}')["result"]
    return {
        tuple(sorted(one["metric"].items())): float(one["value"][1])
        for one in found
        if one["metric"]["__name__"] not in OURS
    }


def ours() -> dict[tuple, str]:
    blocks = store.select([Matcher("!=", "__name__", "")], 0, 1 << 60)
    return {
        tuple(sorted(dict(labels).items())): float(line[-1])
        for block in blocks
        for labels, line in zip(block.labels, block.values, strict=True)
        if dict(labels)["__name__"] not in OURS
    }


def scraped(text: str, address: str, is_openmetrics: bool, **fields) -> dict[tuple, str]:
    one = Scraped(make_target(instance_label=address, **fields))
    body = one.parser.read(text.encode(), is_openmetrics)
    one.record_exposition(body)
    assert one.at_ms > NOW
    return ours()


@pytest.mark.parametrize("honor", [False, True], ids=["their labels exported", "their labels honored"])
def test_the_text_format_means_the_same(tmp_path, honor):
    with target(says(TRICKY)) as server:
        address = f"127.0.0.1:{server.server_port}"
        with prometheus(tmp_path, address, honor_labels=honor) as ask:
            expected = theirs(ask)
        found = scraped(TRICKY, address, False, honor_labels=honor)
    assert found.keys() == expected.keys()
    assert {str(value) for value in found.values()} >= {"inf", "-inf", "nan"}
    assert {key: str(value) for key, value in found.items()} == {key: str(value) for key, value in expected.items()}


def test_openmetrics_means_the_same(tmp_path):
    with target(says(OPENMETRICS, Content_Type=OM_TYPE)) as server:
        address = f"127.0.0.1:{server.server_port}"
        with prometheus(tmp_path, address) as ask:
            expected = theirs(ask)
        found = scraped(OPENMETRICS, address, True)
    assert found == expected


REFUSED = [
    'a{x="1" 1', "a{x=1} 1", "a-b 1", "a 1 2 3", "a one", "a 1_000", "9a 1", 'a{x="1",x="2"} 1', "a", 'a{x="1"}',
    "# TYPE a bogus", "a 1 1.5", 'a{x="\\', "<html>",
]  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_these_lines_are_refused(line):
    with pytest.raises(ValueError, match="line 2"):
        Parser(100).read(f"fine 1\n{line}\n".encode(), False)


def test_prometheus_refuses_these_lines_as_well(tmp_path):
    def answer(handler):
        line = REFUSED[int(handler.path[1:])]
        handler.send(f"fine 1\n{line}\n")

    with target(answer) as server:
        address = f"127.0.0.1:{server.server_port}"
        pages = [
            {"targets": [address], "labels": {"__metrics_path__": f"/{number}", "line": str(number)}}
            for number in range(len(REFUSED))
        ]
        with prometheus(tmp_path, address, static_configs=pages) as ask:
            wait_until(lambda: len(ask("query", query="up").get("result", [])) == len(REFUSED))
            found = ask("query", query="up")["result"]
    assert [REFUSED[int(one["metric"]["line"])] for one in found if one["value"][1] != "0"] == []
