"""Encrypted connections: a certificate nobody vouches for stops us, a proxy only tunnels."""

from __future__ import annotations

import http.server
import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerts.channels import slack, wire
from alerts.channels.base import Transient
from alerts.channels.slack import SlackBotConfig
from tests.fakes import FakeSlack

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl, which makes the certificate, is missing")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:slack.example",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


@pytest.fixture
def tls_slack(certificate: Path) -> Iterator[FakeSlack]:
    """A workspace behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeSlack() as fake:
        assert fake._server is not None
        fake._server.socket = context.wrap_socket(fake._server.socket, server_side=True)
        yield fake


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The certificate counts as one of the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    wire._tls.cache_clear()
    yield
    wire._tls.cache_clear()


def bot(fake: FakeSlack, host: str = "localhost") -> SlackBotConfig:
    """A bot that speaks TLS to the fake."""
    return SlackBotConfig("xoxb-1", "#alerts", f"https://{host}:{fake.port}/api/", timeout_seconds=5)


@pytest.mark.usefixtures("trusted")
def test_a_trusted_certificate_lets_the_message_through(tls_slack: FakeSlack) -> None:
    slack.post(bot(tls_slack), {"text": "hello"})
    assert tls_slack.messages("alerts")[0].text == "hello"


def test_an_unknown_certificate_stops_the_message(tls_slack: FakeSlack) -> None:
    with pytest.raises(Transient, match="TLS connection failed") as failure:
        slack.post(bot(tls_slack), {"text": "hello"})
    assert (failure.value.ambiguous, tls_slack.requests) == (False, [])


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_name_stops_the_message(tls_slack: FakeSlack) -> None:
    with pytest.raises(Transient, match="TLS connection failed"):
        slack.post(bot(tls_slack, "127.0.0.1"), {"text": "hello"})


@pytest.mark.usefixtures("trusted")
def test_a_proxy_tunnels_and_sees_neither_token_nor_message(
    tls_slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Tunnel(tls_slack.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:pw@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        slack.post(bot(tls_slack, "slack.example"), {"text": "hello"})
    assert proxy.asked == [(f"slack.example:{tls_slack.port}", "Basic bWU6cHc=")]
    assert len(tls_slack.messages("alerts")) == 1


class Tunnel:
    """A proxy that leads every CONNECT to one local port and notes what it was asked."""

    def __init__(self, to_port: int) -> None:
        asked: list[tuple[str, str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
                with socket.create_connection(("127.0.0.1", to_port), 5) as far:
                    self.send_response(200)
                    self.end_headers()
                    ends = {self.connection: far, far: self.connection}
                    while ready := select.select(list(ends), [], [], 5)[0]:
                        for end in ready:
                            data = end.recv(65536)
                            if not data:
                                return
                            ends[end].sendall(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port

    def __enter__(self) -> Tunnel:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
