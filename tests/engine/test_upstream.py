"""The engine against the real amtool and Alertmanager, on random trees, matchers, silences and alerts."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.engine.fingerprint import fingerprint
from alerts.engine.intervals import IntervalError, parse_interval
from alerts.engine.matching import MatcherError, matches_all, parse_alertmanager_matchers
from alerts.engine.message import AlertLine, build
from alerts.engine.message_webhook import webhook_v4
from alerts.engine.muting import Inhibitor, InhibitRule, Muter, Subject
from alerts.engine.routing import RouteNode, Tree, resolve_tree
from alerts.engine.silences import Silence
from monitoring.promql import Labels
from tests.engine.test_intervals import BAD, INSIDE

AMTOOL = shutil.which("amtool")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
NAMES, VALUES = ("a", "b", "c"), ("1", "2", "12")
MATCHERS = (
    "{name}={value}",
    '{name}!="{value}"',
    "{name}=~{value}.*",
    '{name}!~"{value}|1"',
    '{name}=~".+"',
    '{name}=""',
)

pytestmark = pytest.mark.oracle
needs_amtool = pytest.mark.skipif(not AMTOOL, reason="amtool is not installed")
needs_alertmanager = pytest.mark.skipif(not ALERTMANAGER, reason="Alertmanager is not installed")


def matcher(rng: random.Random) -> str:
    return rng.choice(MATCHERS).format(name=rng.choice(NAMES), value=rng.choice(VALUES))


def some_labels(rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(VALUES) for name in NAMES if rng.random() < 0.7}


def random_route(rng: random.Random, receivers: list[str], depth: int = 0) -> dict[str, Any]:
    receivers.append(f"r{len(receivers)}")
    route: dict[str, Any] = {"receiver": receivers[-1]}
    if depth:
        route["matchers"] = [matcher(rng) for _ in range(rng.randint(1, 2))]
        route["continue"] = rng.random() < 0.4
    if depth < 3:
        route["routes"] = [random_route(rng, receivers, depth + 1) for _ in range(rng.randint(0, 3) + (depth == 0))]
    return route


def tree_of(route: dict[str, Any]) -> Tree:
    nodes: list[RouteNode] = []

    def add(raw: dict[str, Any], parent_id: int | None) -> None:
        node_id = len(nodes)
        matchers = tuple(one for text in raw.get("matchers", ()) for one in parse_alertmanager_matchers(text))
        named = {"receiver": raw["receiver"], "group_by": tuple(raw.get("group_by", ()))}
        nodes.append(
            RouteNode(node_id, parent_id, node_id, matchers=matchers, continues=raw.get("continue", False), **named)
        )
        for child in raw.get("routes", ()):
            add(child, node_id)

    add(route, None)
    return resolve_tree(nodes)


def route_test(config: Path, labels: dict[str, str]) -> list[str] | None:
    """The receivers amtool names for `labels`, None when it refuses the configuration."""
    pairs = [f"{name}={json.dumps(value)}" for name, value in labels.items()]
    command = [str(AMTOOL), "config", "routes", "test", f"--config.file={config}", *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip().split(",") if done.returncode == 0 else None


@needs_amtool
@pytest.mark.parametrize("seed", range(5))
def test_AR_1_to_4_alerts_go_where_amtool_says_they_go(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    receivers: list[str] = []
    route = random_route(rng, receivers)
    config = tmp_path / "alertmanager.yml"
    config.write_text(yaml.safe_dump({"route": route, "receivers": [{"name": name} for name in receivers]}))
    tree = tree_of(route)
    for _ in range(8):
        labels = some_labels(rng)
        ours = [found.receiver for found in tree.match(Labels.of(labels))]
        assert ours == route_test(config, labels), labels


def odd_matchers(rng: random.Random, count: int) -> list[str]:
    return ["a" + "".join(rng.choice('ab="\\,=~!n1 .') for _ in range(rng.randint(1, 9))) for _ in range(count)]


def is_read(text: str) -> bool:
    try:
        return bool(parse_alertmanager_matchers(text))
    except MatcherError:
        return False


@needs_amtool
def test_AR_6_odd_matcher_texts_that_we_read_mean_to_amtool_what_they_mean_to_us(tmp_path: Path) -> None:
    rng = random.Random(7)
    texts = [text for text in odd_matchers(rng, 4000) if is_read(text)][:60]
    assert len(texts) == 60
    routes = [{"receiver": f"r{i}", "matchers": [text], "continue": True} for i, text in enumerate(texts)]
    config = tmp_path / "alertmanager.yml"
    names = ["root", *(f"r{i}" for i in range(len(texts)))]
    receivers = [{"name": name} for name in names]
    config.write_text(yaml.safe_dump({"route": {"receiver": "root", "routes": routes}, "receivers": receivers}))
    for value in ("", "b", "1", "=", "n", "ab", "\\", '"'):
        labels = Labels.of({"a": value, "ab": "b"})
        ours = [f"r{i}" for i, text in enumerate(texts) if matches_all(parse_alertmanager_matchers(text), labels)]
        assert (ours or ["root"]) == route_test(config, {"a": value, "ab": "b"}), value


@needs_amtool
def test_AR_6_odd_matcher_texts_that_we_refuse_are_refused_by_amtool(tmp_path: Path) -> None:
    texts = [text for text in odd_matchers(random.Random(11), 200) if not is_read(text)][:25]
    assert len(texts) == 25
    config = tmp_path / "alertmanager.yml"
    for text in texts:
        route = {"receiver": "x", "routes": [{"receiver": "x", "matchers": [text]}]}
        config.write_text(yaml.safe_dump({"route": route, "receivers": [{"name": "x"}]}))
        assert route_test(config, {"a": "1"}) is None, text


def http(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else None


def until(ask: Any, expected: Any, seconds: float = 15) -> Any:
    """What `ask` answers once it is `expected`, or its last answer when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
        except (urllib.error.URLError, OSError):
            answer = None
        if answer == expected or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


@contextmanager
def alertmanager(config: dict[str, Any], folder: Path) -> Iterator[str]:
    """The address of a real Alertmanager with this configuration."""
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(ALERTMANAGER), f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        assert until(lambda: http(url + "/api/v2/status") is not None, True)
        yield url
    finally:
        process.kill()
        process.wait()


@needs_alertmanager
@pytest.mark.parametrize("seed", range(3))
def test_AH_and_AS_the_same_alerts_are_inhibited_silenced_and_fingerprinted(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    rules = [
        {
            "source_matchers": [matcher(rng), 'kind=~"s.*"'],
            "target_matchers": [matcher(rng)],
            "equal": rng.sample(NAMES, rng.randint(0, 2)),
        }
        for _ in range(4)
    ]
    alerts = [{**some_labels(rng), "alertname": f"A{i}", "kind": rng.choice(("s1", "t"))} for i in range(60)]
    silences = [[matcher(rng), f"kind={rng.choice(('s1', 't'))}", matcher(rng)] for _ in range(3)]
    config = {"route": {"receiver": "x"}, "receivers": [{"name": "x"}], "inhibit_rules": rules}
    ours = our_statuses(rules, silences, alerts)
    assert any(inhibited for inhibited, _ in ours.values())
    with alertmanager(config, tmp_path) as url:
        for texts in silences:
            http(url + "/api/v2/silences", posted_silence(texts))
        http(url + "/api/v2/alerts", [{"labels": labels} for labels in alerts])
        assert until(lambda: their_statuses(url), ours) == ours


def our_statuses(
    rules: list[dict[str, Any]], silences: list[list[str]], alerts: list[dict[str, str]]
) -> dict[str, tuple[bool, int]]:
    """By fingerprint: whether it is inhibited, and by how many silences it is covered."""

    def parsed(texts: list[str]) -> Any:
        return tuple(one for text in texts for one in parse_alertmanager_matchers(text))

    inhibitor = Inhibitor(
        [
            InhibitRule(str(i), parsed(r["source_matchers"]), parsed(r["target_matchers"]), tuple(r["equal"]))
            for i, r in enumerate(rules)
        ]
    )
    for labels in alerts:
        inhibitor.add(Subject(Labels.of(labels)))
    hour = timedelta(hours=1)
    muter = Muter(
        AT, inhibitor, [Silence(str(i), parsed(texts), AT - hour, AT + hour) for i, texts in enumerate(silences)]
    )
    found = {}
    for labels in alerts:
        own = Labels.of(labels)
        silenced = muter.silenced(own)
        found[fingerprint(own)] = (muter.inhibited(Subject(own)) is not None, len(silenced.by) if silenced else 0)
    return found


def their_statuses(url: str) -> dict[str, tuple[bool, int]]:
    return {
        alert["fingerprint"]: (bool(alert["status"]["inhibitedBy"]), len(alert["status"]["silencedBy"]))
        for alert in http(url + "/api/v2/alerts")
    }


@contextmanager
def listener() -> Iterator[tuple[str, list[Any]]]:
    """The address of a server on loopback, and the JSON bodies it was sent."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@needs_alertmanager
def test_AP_9_the_webhook_body_is_the_one_alertmanager_sends(tmp_path: Path) -> None:
    odd = 'x "y" \\ é\n<b>'
    rows = [
        {"alertname": "A", "host": host, "odd": odd, "job": job} for host, job in (("2", "b"), ("1", "b"), ("3", "a"))
    ]
    started, ends = datetime.now(UTC) - timedelta(minutes=5), datetime.now(UTC) + timedelta(minutes=5)
    child = {"receiver": "a.b", "matchers": ["alertname=A", 'host=~"[0-9]+"'], "group_by": ["odd", "alertname", "gone"]}
    with listener() as (address, bodies):
        receiver = {"name": "a.b", "webhook_configs": [{"url": address}]}
        route = {"receiver": "a.b", "routes": [child], "group_wait": "1s"}
        with alertmanager({"route": route, "receivers": [receiver]}, tmp_path) as url:
            posted = [
                {"labels": row, "annotations": {"summary": odd, "n": row["host"]}, "startsAt": started.isoformat(),
                 "endsAt": ends.isoformat(), "generatorURL": "http://x.example.org"}
                for row in rows
            ]  # fmt: skip
            http(url + "/api/v2/alerts", posted)
            until(lambda: sum(len(body["alerts"]) for body in bodies), len(rows))
    (destination,) = tree_of({**route, "routes": [child]}).match(Labels.of(rows[0]))
    lines = [
        AlertLine(Labels.of(one["labels"]), fingerprint(Labels.of(one["labels"])), started,
                  annotations=one["annotations"], generator_url=one["generatorURL"])
        for one in posted
    ]  # fmt: skip
    ours = webhook_v4(
        build(
            lines, group_labels=destination.group_labels, receiver="a.b", at=AT,
            upstream_key=destination.upstream_key, external_url=bodies[-1]["externalURL"],
        )
    )  # fmt: skip
    assert ours == bodies[-1]


def posted_silence(texts: list[str]) -> dict[str, Any]:
    matchers = [
        {"name": one.name, "value": one.value, "isRegex": "~" in one.op, "isEqual": "!" not in one.op}
        for text in texts
        for one in parse_alertmanager_matchers(text)
    ]
    now = datetime.now(UTC)
    ends = now + timedelta(hours=1)
    times = {"startsAt": now.isoformat(), "endsAt": ends.isoformat()}
    return {"matchers": matchers, "createdBy": "t", "comment": "t", **times}


def is_interval_accepted(raw: dict[str, Any], folder: Path) -> bool:
    """Whether amtool takes a configuration with this time interval."""
    intervals = [{"name": "n", "time_intervals": [raw]}]
    config = {"route": {"receiver": "x"}, "receivers": [{"name": "x"}], "time_intervals": intervals}
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config))
    return subprocess.run([str(AMTOOL), "check-config", str(file)], capture_output=True, check=False).returncode == 0


# 0.25 takes a thirteenth month, which never comes; we say so instead.
STRICTER = [{"months": ["13"]}]


@needs_amtool
@pytest.mark.parametrize("raw", [raw for raw, *_ in [*INSIDE, *BAD] if raw not in STRICTER], ids=str)
def test_AT_5_an_interval_is_accepted_where_amtool_accepts_it(raw: dict[str, Any], tmp_path: Path) -> None:
    try:
        ours = bool(parse_interval(raw))
    except IntervalError:
        ours = False
    assert ours == is_interval_accepted(raw, tmp_path)
