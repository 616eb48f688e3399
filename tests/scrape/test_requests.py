"""One request for metrics: what is asked, what is refused, and what each failure says."""

from __future__ import annotations

import gzip
import ipaddress
import socket
import threading

import pytest

from monitoring.collect.policy import address_problem, connect
from monitoring.collect.report import examine
from monitoring.collect.scrape import Requester, ScrapeFailed
from tests.scrape.server import dribbles, hangs, packed, redirects_for_ever, says, streams, target


def get(url: str, timeout: float = 5.0, limit: int = 1_000_000):
    return Requester(url, timeout, limit).get()


def failure(url: str, timeout: float = 5.0, limit: int = 1_000_000) -> str:
    with pytest.raises(ScrapeFailed) as caught:
        get(url, timeout, limit)
    return str(caught.value)


def test_one_connection_serves_all_scrapes():
    with target(says("a 1\n")) as server:
        requester = Requester(server.url, 5, 1000)
        assert [requester.get().body for _ in range(3)] == [b"a 1\n"] * 3
        assert (len(server.requests), len(server.connections)) == (3, 1)


def test_a_connection_that_the_target_has_closed_is_replaced():
    def once(handler):
        handler.send("a 1\n")
        handler.close_connection = True  # without saying so in a header

    with target(once) as server:
        requester = Requester(server.url, 5, 1000)
        assert [requester.get().body for _ in range(3)] == [b"a 1\n"] * 3
        assert len(server.connections) == 3


def test_the_request_says_what_it_can_read_and_how_long_it_waits():
    with target(says("a 1\n")) as server:
        get(server.url, timeout=7)
        headers = server.requests[0][1]
    assert headers["Accept"].startswith("application/openmetrics-text;version=1.0.0,")
    assert (headers["Accept-Encoding"], headers["X-Prometheus-Scrape-Timeout-Seconds"]) == ("gzip", "7")


def test_packed_answers_are_unpacked():
    with target(packed("a 1\n")) as server:
        assert get(server.url).body == b"a 1\n"


def test_openmetrics_is_told_by_the_content_type():
    with target(says("# EOF\n", Content_Type="application/openmetrics-text; version=1.0.0; charset=utf-8")) as server:
        assert get(server.url).is_openmetrics


def test_chunked_answers_and_those_that_end_with_the_connection_are_whole():
    def until_closed(handler):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"a 1\n")

    with target(streams(100_000)) as chunked, target(until_closed) as closing:
        requester = Requester(closing.url, 5, 1000)
        assert len(get(chunked.url).body) >= 100_000
        assert [requester.get().body for _ in range(2)] == [b"a 1\n"] * 2


@pytest.mark.parametrize("answer", [hangs, dribbles], ids=["silent", "a byte now and then"])
def test_a_target_that_does_not_come_to_an_end_fails_at_the_timeout(answer):
    with target(answer) as server:
        assert failure(server.url, timeout=0.5) == "no complete answer within 0.5 s"


def test_redirects_are_followed():
    def moved(handler):
        if handler.path == "/metrics":
            handler.send("", status=307, Location="/elsewhere?a=b")
        else:
            handler.send("a 1\n")

    with target(moved) as server:
        assert get(server.url).body == b"a 1\n"
        assert [path for path, _ in server.requests] == ["/metrics", "/elsewhere?a=b"]


def test_redirects_in_a_loop_end():
    with target(redirects_for_ever) as server:
        assert failure(server.url).startswith("more than 5 redirects")
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://100.100.100.200/", "metadata"),
        ("file:///etc/passwd", "neither http"),
        ("http://[/", "Invalid"),
    ],
)
def test_redirects_to_where_nobody_may_go_are_refused(place, words):
    with target(lambda handler: handler.send("", status=302, Location=place)) as server:
        assert words in failure(server.url)


@pytest.mark.parametrize("answer", [says(b"# x\n" * 25_000_000), streams(100_000_000)], ids=["told", "untold"])
def test_a_hundred_megabytes_stop_at_the_limit(answer):
    with target(answer) as server:
        assert failure(server.url, limit=50_000) == "the answer is larger than 50,000 bytes, the limit of this target"


def test_a_packed_bomb_stops_at_the_limit():
    with target(says(gzip.compress(b"\n" * 50_000_000), Content_Encoding="gzip")) as server:
        assert "larger than 60,000 bytes" in failure(server.url, limit=60_000)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says("gone", status=503), "HTTP 503 Service Unavailable"),
        (says("a 1\n", Content_Encoding="gzip"), "not gzip although it says so"),
        (says(gzip.compress(b"a 1\n" * 9999)[:-20], Content_Encoding="gzip"), "packed answer broke off"),
        (says("a 1\n", Content_Encoding="br"), "only gzip was asked for"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "not an HTTP answer"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "closed the connection without an answer"),
    ],
    ids=["status", "no gzip", "cut gzip", "brotli", "ssh", "nothing"],
)
def test_each_bad_answer_has_its_words(answer, words):
    with target(answer) as server:
        assert words in failure(server.url)


def test_an_answer_that_breaks_off_is_no_answer():
    def broken(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"a 1\n")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    with target(broken) as server:
        assert failure(server.url) == "the answer broke off 996 bytes before its end"


def test_nothing_listening_and_unknown_names_have_their_words():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert failure(f"http://127.0.0.1:{unused.getsockname()[1]}/") == "connection refused: nothing listens there"
    assert "cannot be resolved" in failure("http://no-such-host.invalid/metrics")


def test_plain_http_where_tls_is_asked_for_has_its_words():
    with target(says("a 1\n")) as server:
        assert failure(server.url.replace("http:", "https:")).startswith("TLS failed")


def test_a_running_request_can_be_aborted():
    with target(hangs) as server:
        requester, told = Requester(server.url, 60, 1000), []

        def ask():
            try:
                requester.get()
            except ScrapeFailed as error:
                told.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.requests:
            thread.join(0.01)
        requester.abort()
        thread.join(30)
    assert len(told) == 1


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.1.1", "fe80::1", "100.100.100.200", "168.63.129.16", "fd00:ec2::254",
        "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",  # noqa: S104
        "2002:a9fe:a9fe::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_addresses_nobody_may_ask(address):
    assert address_problem(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.5", "172.16.0.9", "fd12::1", "1.1.1.1"])
def test_addresses_where_targets_live(address):
    assert address_problem(ipaddress.ip_address(address)) is None


def test_a_name_is_refused_when_one_of_its_addresses_is(monkeypatch):
    """The answer of a name server cannot be had from a real one here; everything else is real."""
    answers = [(2, 1, 6, "", ("127.0.0.1", 9)), (2, 1, 6, "", ("169.254.169.254", 9))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(Exception, match="link-local"):
        connect("harmless.example", 9, float("inf"))


def test_a_report_says_what_was_found():
    text = "# HELP a_total What\\nfor.\n# TYPE a_total counter\na_total 1\nb 2 1700000000000\n"
    with target(says(text)) as server:
        report = examine(server.url, 5, 1000, 10)
    assert (report.is_up, report.samples, report.keys, report.body_bytes) == (True, 2, ("a_total", "b"), len(text))
    assert (report.metadata["a_total"].type, report.metadata["a_total"].help) == ("counter", "What\nfor.")


def test_a_report_shows_the_lines_around_a_mistake():
    with target(says("a 1\nb 2\nc three\nd 4\n")) as server:
        report = examine(server.url, 5, 1000, 10)
    assert report.error == "line 3: expected a number, got 'three'"
    assert report.excerpt == ("1: a 1", "2: b 2", "3: c three", "4: d 4")


def test_a_report_of_a_target_that_is_away_says_so():
    with target(says("gone", status=500)) as server:
        report = examine(server.url, 5, 1000, 10)
    assert (report.is_up, report.error, report.samples) == (False, "HTTP 500 Internal Server Error", 0)
