"""The one POST everything goes out by: where it may go, what a broken connection means, what a proxy sees."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator

import pytest

from alerts.channels import wire
from tests.fakes import FakeWebhook


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    """A receiver on loopback."""
    with FakeWebhook() as server:
        yield server


def send(url: str, timeout_seconds: float = 5) -> wire.Answer:
    """A small POST."""
    return wire.post(url, b"{}", {"Content-Type": "application/json"}, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "100.100.100.200", "192.0.0.192", "fe80::1", "fd00:ec2::254", "0.0.0.0",  # noqa: S104
        "::", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_metadata_and_link_local_addresses_are_refused(address: str) -> None:
    assert wire.address_problem(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.1", "::1", "8.8.8.8", "fd00::1"])
def test_private_loopback_and_public_addresses_are_allowed(address: str) -> None:
    assert wire.address_problem(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://metadata.google.internal/",
        "http://2852039166/",
    ],
)
def test_a_post_to_a_metadata_service_is_refused(url: str) -> None:
    with pytest.raises(wire.Refused):
        send(url)


def test_a_name_that_resolves_to_a_metadata_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("10.0.0.1", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(wire.Refused, match="link-local"):
        send("http://innocent.example/")


def test_a_name_that_does_not_resolve_was_not_sent() -> None:
    with pytest.raises(wire.NotSent, match="cannot be resolved"):
        send("http://no-such-host.invalid/")


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_a_name_that_is_no_name_was_not_sent(host: str) -> None:
    with pytest.raises(wire.NotSent):
        send(f"http://{host}/")


def test_a_refused_connection_was_not_sent(fake: FakeWebhook) -> None:
    fake.down()
    with pytest.raises(wire.NotSent, match="connection refused"):
        send(fake.hook_url())


@pytest.mark.parametrize("mode", ["accept_reset", "hang"])
def test_a_request_that_left_without_an_answer_may_have_arrived(fake: FakeWebhook, mode: str) -> None:
    fake.set_mode("*", mode)
    with pytest.raises(wire.AnswerLost):
        send(fake.hook_url(), timeout_seconds=0.8)


def test_a_server_that_speaks_no_tls_was_not_sent_anything(fake: FakeWebhook) -> None:
    with pytest.raises(wire.NotSent, match="TLS"):
        send(fake.hook_url().replace("http://", "https://"))
    assert fake.requests == []


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nX-Endless: ", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"])
def test_an_answer_that_drips_beyond_the_time_is_lost(head: str) -> None:
    with Dripping(head) as url, pytest.raises(wire.AnswerLost, match="time ran out"):
        send(url, timeout_seconds=0.8)


def test_a_server_that_takes_the_connection_and_never_speaks_is_not_waited_for() -> None:
    with socket.socket() as silent, pytest.raises(wire.AnswerLost, match="time ran out"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        send(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_seconds=0.8)


@pytest.mark.parametrize("more", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_an_answer_cut_short_is_lost(more: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{more}\r\n\r\n" + ("64\r\n" if "chunked" in more else "")
    with Dripping(head, stops_after=3) as url, pytest.raises(wire.AnswerLost, match="closed"):
        send(url)


def test_a_huge_answer_is_cut(fake: FakeWebhook) -> None:
    fake.set_mode("*", "status", code=200, body="x" * (wire.MAX_ANSWER_BYTES + 5000))
    assert len(send(fake.hook_url()).body) == wire.MAX_ANSWER_BYTES


def test_user_and_password_of_a_url_become_an_authorization_header(fake: FakeWebhook) -> None:
    send(fake.hook_url().replace("http://", "http://ada:l%40ve@"))
    assert fake.requests[0].headers["authorization"] == "Basic YWRhOmxAdmU="


def test_the_query_of_a_url_is_sent(fake: FakeWebhook) -> None:
    send(fake.hook_url() + "?key=a%20b&x=ü")
    assert fake.requests[0].data == {"key": "a b", "x": "ü"}


def test_a_proxy_carries_requests_to_other_hosts(fake: FakeWebhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", fake.url.replace("http://", "http://me:pw@"))
    monkeypatch.setenv("no_proxy", "")
    answer = send("http://receiver.example/hook/default")
    assert (answer.status, fake.requests[0].headers["host"]) == (200, "receiver.example")
    assert fake.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_no_proxy_is_honoured(fake: FakeWebhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", fake.url)
    monkeypatch.setenv("no_proxy", "receiver.invalid")
    with pytest.raises(wire.NotSent, match="resolved"):
        send("http://receiver.invalid/")


def test_a_metadata_address_is_refused_behind_a_proxy_too(fake: FakeWebhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", fake.url)
    with pytest.raises(wire.Refused):
        send("http://169.254.169.254/")


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("7", 7.0), ("0", 0.0), ("9" * 400, 3600.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("", None)],
    ids=["seconds", "at once", "absurd", "a date", "missing"],
)
def test_retry_after_is_read_in_seconds(raw: str, seconds: float | None) -> None:
    assert wire.retry_after_seconds({"retry-after": raw}) == seconds


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_only_this_machine_is_loopback(host: str) -> None:
    assert not wire.is_loopback(host)


class Dripping:
    """A server that answers with a head and then byte by byte for ever, or until it hangs up after some."""

    def __init__(self, head: str, stops_after: int = 0) -> None:
        stopped = self.stopped = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.wfile.write(head.encode())
                for _ in range(stops_after):
                    self.wfile.write(b"x")
                while not stops_after and not stopped.wait(0.02):
                    self.wfile.write(b"x")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
