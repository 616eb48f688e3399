"""A Prometheus-compatible server in place of the store: the same questions and samples, nothing lost on the way."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest
from django.db import connection
from django.test import Client

from monitoring import forward, query, remote_wire, store, tasks
from monitoring.models import Refusal
from monitoring.promql import STALE_NAN, EvaluationError, Labels, LimitError, Matcher, ParseError
from monitoring.remote import BackendAway, Refused, Remote
from monitoring.store import Scrape
from tests.people import member, signed_in

PROMETHEUS = shutil.which("prometheus")
AWAY = "http://127.0.0.1:9"
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that takes remote writes; its address."""
    folder: Path = tmp_path_factory.mktemp("remote")
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    port = free_port()
    child = subprocess.Popen(
        [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


@pytest.fixture
def use(settings: Any) -> Any:
    """Make a server the one that holds the samples."""

    def point(url: str) -> Remote:
        settings.ENV = dataclasses.replace(settings.ENV, metrics_url=url)
        found = query.remote_backend()
        assert found is not None
        return found

    return point


def recently(ago_seconds: int = 0) -> int:
    return int(time.time() - ago_seconds) * 1000


def put(source: str, at_ms: int, **values: float) -> None:
    keys = list(values)
    scrape = Scrape(source, {"job": source}, at_ms, keys, np.array([values[key] for key in keys]))
    store.append([scrape], now_ms=max(at_ms, recently()))


def named(name: str, **labels: str) -> list[Matcher]:
    return [Matcher("=", "__name__", name), *[Matcher("=", key, value) for key, value in labels.items()]]


def at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC)


# -- the messages ------------------------------------------------------------------------------------------------------

SPECIAL = [0.0, -0.0, 1.5, np.nan, np.inf, -np.inf, 5e-324, STALE_NAN]


def answered(series: dict[str, list[tuple[int, float]]]) -> bytes:
    """A remote read answer, made of the same parts as a write."""
    body = b""
    for name, samples in series.items():
        parts = b"".join(remote_wire.sample_bytes(at_ms, np.float64(value).tobytes()) for at_ms, value in samples)
        one = remote_wire.label_bytes([("__name__", name)]) + parts
        body += b"\x0a" + remote_wire.varint(len(one)) + one
    return bytes(cramjam.snappy.compress_raw(b"\x0a" + remote_wire.varint(len(body)) + body))


@pytest.mark.parametrize("value", SPECIAL)
def test_a_value_keeps_its_bits_on_the_wire(value: float) -> None:
    [(labels, ts, values)] = remote_wire.read_response(answered({"m": [(1_700_000_000_000, value)]}))
    assert (labels, ts.tolist()) == (Labels.of({"__name__": "m"}), [1_700_000_000_000])
    assert values.tobytes() == np.float64(value).tobytes()


def test_times_of_other_lengths_are_read_too() -> None:
    times = [0, 1, 127, 128, 1 << 40, 1_700_000_000_000]
    [(_, ts, values)] = remote_wire.read_response(answered({"m": [(each, float(each)) for each in times]}))
    assert ts.tolist() == times
    assert values.tolist() == [float(each) for each in times]


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff\xff\xff", b"nonsense", cramjam.snappy.compress_raw(b"\x0a\x7f")])
def test_bytes_that_are_no_answer_are_an_error(body: Any) -> None:
    with pytest.raises(remote_wire.BadMessage):
        remote_wire.read_response(bytes(body))


def test_an_answer_that_unpacks_to_too_much_is_refused() -> None:
    body = remote_wire.varint(1 << 31) + b"\0"
    with pytest.raises(remote_wire.BadMessage, match="ask for less"):
        remote_wire.read_response(body)


def test_an_address_shows_no_password() -> None:
    server = Remote("https://ana:s3cret@metrics.example:8443/prometheus/", 5)
    assert repr(server) == "Remote('https://metrics.example:8443/prometheus')"
    assert "s3cret" not in str(server.problem())


# -- forwarding --------------------------------------------------------------------------------------------------------


@needs_prometheus
@pytest.mark.django_db(transaction=True)
def test_what_is_stored_arrives_and_is_removed_here(server: str, use: Any) -> None:
    remote_server, start = use(server), recently(300)
    for step in range(4):
        put("arrives", start + step * 15_000, requests=float(step), errors=-0.0)
    done = forward.Forwarder(remote_server).run(recently())
    assert (done.rows, done.samples, done.dropped, done.problem) == (4, 8, {}, "")
    assert store.queue.waiting().rows == 0
    [block] = remote_server.select(named("requests", job="arrives"), start, recently())
    assert block.values.tolist() == [[0, 1, 2, 3]]
    assert block.ts.tolist() == [start + step * 15_000 for step in range(4)]


@needs_prometheus
@pytest.mark.django_db(transaction=True)
def test_a_series_that_vanishes_gets_one_stale_marker(server: str, use: Any) -> None:
    remote_server, start = use(server), recently(300)
    forwarder = forward.Forwarder(remote_server)
    put("stale", start, steady=1.0, gone=1.0)
    for step in range(1, 4):
        put("stale", start + step * 15_000, steady=1.0)
    forwarder.run(recently())
    [block] = remote_server.select(named("gone", job="stale"), start, recently())
    assert block.ts.tolist() == [start, start + 15_000]
    assert block.values[0, 1:].tobytes() == np.float64(STALE_NAN).tobytes()


@needs_prometheus
@pytest.mark.django_db(transaction=True)
def test_a_source_that_goes_down_ends_all_its_series(server: str, use: Any) -> None:
    remote_server, start = use(server), recently(300)
    put("down", start, m=1.0)
    store.append([Scrape("down", {"job": "down"}, start + 15_000, (), np.empty(0))], now_ms=recently())
    forward.Forwarder(remote_server).run(recently())
    [block] = remote_server.select(named("m", job="down"), start, recently())
    assert block.values[0, 1:].tobytes() == np.float64(STALE_NAN).tobytes()


@needs_prometheus
@pytest.mark.django_db(transaction=True)
def test_one_row_that_is_refused_costs_only_itself(server: str, use: Any) -> None:
    remote_server, start = use(server), recently(300)
    put("newer", start + 60_000, m=2.0)
    forward.Forwarder(remote_server).run(recently())
    put("newer", start, m=1.0)  # out of order: the server does not take it any more
    put("fine", start, m=1.0)
    done = forward.Forwarder(remote_server).run(recently())
    assert done.dropped == {"refused_by_backend": 1}
    assert done.samples == 1
    assert "HTTP 400" in Refusal.objects.get(reason="refused_by_backend").text
    assert store.queue.waiting().rows == 0


@pytest.mark.django_db(transaction=True)
def test_while_the_server_is_away_everything_waits(use: Any) -> None:
    remote_server = use(AWAY)
    put("waits", recently(60), m=1.0)
    done = forward.Forwarder(remote_server).run(recently())
    assert "cannot be reached" in done.problem
    assert (done.rows, done.dropped) == (0, {})
    assert store.queue.waiting().rows == 1


@needs_prometheus
@pytest.mark.django_db(transaction=True)
def test_what_waited_is_sent_once_the_server_is_back(server: str, use: Any) -> None:
    start = recently(120)
    for step in range(3):
        put("back", start + step * 15_000, m=float(step))
    forward.Forwarder(use(AWAY)).run(recently())
    remote_server = use(server)
    assert forward.Forwarder(remote_server).run(recently()).rows == 3
    [block] = remote_server.select(named("m", job="back"), start, recently())
    assert block.values.tolist() == [[0, 1, 2]]


@pytest.mark.django_db(transaction=True)
def test_beyond_the_room_for_waiting_rows_the_oldest_go_and_are_counted(use: Any, settings: Any) -> None:
    remote_server = use(AWAY)
    settings.STORE_FORWARD_MAX_BYTES = 0
    for step in range(3):
        put("full", recently(60) + step * 1000, m=1.0, n=1.0)
    done = forward.Forwarder(remote_server).run(recently())
    assert done.dropped == {"no_room": 6}
    assert Refusal.objects.get(reason="no_room").samples == 6


@pytest.mark.django_db(transaction=True)
def test_one_process_at_a_time_sends(use: Any, other_connection: Any) -> None:
    remote_server = use(AWAY)
    put("one", recently(60), m=1.0)
    other_connection("begin; select pg_advisory_xact_lock(%s)", [store.queue.SEND_LOCK])
    assert forward.Forwarder(remote_server).run(recently()).problem == ""
    assert store.queue.waiting().rows == 1


@pytest.fixture
def other_connection() -> Iterator[Any]:
    """A second connection to the test database."""
    other = connection.copy("other")
    try:
        with other.cursor() as cursor:
            yield cursor.execute
    finally:
        other.close()


@pytest.mark.django_db(transaction=True)
def test_housekeeping_leaves_rows_that_wait(use: Any) -> None:
    use(AWAY)
    put("house", recently(900), m=1.0)
    store.keep_house(recently() + 4 * 3_600_000)
    assert store.queue.waiting().rows == 1


@pytest.mark.django_db
def test_without_a_server_nothing_is_forwarded() -> None:
    put("local", recently(60), m=1.0)
    assert tasks.forward() == {"rows": 0}
    assert store.queue.waiting().rows == 1


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(server: str, use: Any, transactional_db: None) -> int:
    """The server with three minutes of two series under a job of their own; the time of the last sample."""
    remote_server, start = use(server), recently(240) // 15_000 * 15_000
    job = f"asked-{time.monotonic_ns()}"
    for step in range(12):
        put(job, start + step * 15_000, **{'hits{code="200"}': 10.0 * step, 'hits{code="500"}': 1.0 * step})
    forward.Forwarder(remote_server).run(recently())
    return start + 11 * 15_000


@needs_prometheus
@pytest.mark.parametrize(
    "expr",
    ["sum by (code) (rate(hits[2m]))", "count(hits)", "scalar(vector(7))", '"text"', "hits[45s]", "topk(1, hits)"],
)
def test_an_instant_answer_is_that_of_our_own_evaluation(asked: int, expr: str) -> None:
    there = query.instant(expr, at(asked))
    here = query.instant(expr, at(asked), select=query.for_slot(at(asked)))
    assert (there.type, sorted(there.labels), there.string) == (here.type, sorted(here.labels), here.string)
    assert np.allclose(np.sort(there.values), np.sort(here.values))


@needs_prometheus
def test_a_range_answer_is_that_of_our_own_evaluation(asked: int) -> None:
    span = at(asked) - timedelta(minutes=2), at(asked), 15
    there = query.range_("sum by (code) (hits)", *span)
    here = query.range_("sum by (code) (hits)", *span, select=query.for_slot(at(asked)))
    assert sorted(there.labels) == sorted(here.labels)
    assert np.allclose(np.sort(there.values, axis=0), np.sort(here.values, axis=0))
    assert there.present.all()


@needs_prometheus
def test_names_and_values_are_asked_of_the_server(asked: int) -> None:
    start, end = at(asked) - timedelta(hours=1), at(asked)
    assert "hits" in query.metric_names()
    assert {"200", "500"} <= set(query.label_values("code", named("hits"), start, end))
    assert {"code", "job"} <= set(query.label_names(named("hits"), start, end))
    assert {labels.get("code") for labels in query.series(named("hits"), start, end)} == {"200", "500"}
    assert query.label_values("a.b") == []


@needs_prometheus
def test_a_bad_question_is_told_as_ever(asked: int) -> None:
    with pytest.raises(ParseError) as caught:
        query.instant("sum(", at(asked))
    assert caught.value.column == 5
    with pytest.raises(EvaluationError):
        query.instant("hits + on (code) group_left () hits * on () hits", at(asked))


@needs_prometheus
@pytest.mark.parametrize(("step", "error"), [(0, EvaluationError), (0.001, LimitError)])
def test_limits_hold_before_the_server_is_asked(asked: int, step: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        query.range_("hits", at(asked) - timedelta(hours=3), at(asked), step)


@pytest.mark.django_db
def test_a_server_that_is_away_is_an_error_in_words(use: Any) -> None:
    remote_server = use(AWAY)
    for ask in (
        lambda: query.instant("up", at(0)),
        lambda: query.for_slot(at(0))(named("up"), 0, 1),
        lambda: query.metric_names(),
    ):
        with pytest.raises(BackendAway, match="cannot be reached"):
            ask()
    with pytest.raises(BackendAway):
        remote_server.write(remote_wire.write_request([]))


@pytest.mark.django_db
def test_the_page_of_the_system_says_that_the_server_is_away(use: Any) -> None:
    use(AWAY)
    text = signed_in(member("Viewer")).get("/system/").content.decode()
    assert "cannot be reached" in text
    assert f"Samples are held by {AWAY}" in text


@needs_prometheus
def test_a_server_that_speaks_something_else_is_told_from_one_that_is_away(server: str) -> None:
    strange = Remote(server + "/nowhere", 5)
    with pytest.raises(BackendAway, match="HTTP 404"):
        strange.instant("up", 0)
    with pytest.raises(BackendAway, match="HTTP 404"):
        strange.write(remote_wire.write_request([]))


@needs_prometheus
def test_samples_nobody_can_read_are_refused_for_good(server: str) -> None:
    with pytest.raises(Refused, match="HTTP 400"):
        Remote(server, 5).write(b"no snappy")


@needs_prometheus
def test_pages_and_the_api_answer_from_the_server(asked: int, client: Client) -> None:
    viewer = signed_in(member("Viewer"))
    found = viewer.post("/explore/answer.json", {"expr": "sum(hits)", "range": "15m"}).json()
    assert found["type"] == "vector"
    assert viewer.get("/api/v1/query", {"query": "sum(hits)"}).json()["status"] == "success"
