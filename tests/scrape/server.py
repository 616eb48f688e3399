"""A target on loopback that answers as a test wants: well, badly, slowly or not at all."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives each request to the answer of its server."""

    protocol_version = "HTTP/1.1"
    server: TargetServer

    def do_GET(self):
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers)))
            self.server.connections.add(self.client_address)
        with suppress(ConnectionError):
            self.server.answer(self)

    def log_message(self, *args):
        pass

    def send(self, body: bytes | str, status: int = 200, **headers: str) -> None:
        """A whole answer; names of headers have _ for -."""
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content_Type": "text/plain; version=0.0.4", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class TargetServer(ThreadingHTTPServer):
    """Remembers requests and connections; `answer` may be changed while it runs; `released` ends what hangs."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections: set[tuple[str, int]] = set()
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/metrics"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what some tests are about


def says(body: bytes | str, **headers: str) -> Answer:
    """The same text each time."""
    return lambda handler: handler.send(body, **headers)


def packed(body: str) -> Answer:
    return says(gzip.compress(body.encode()), Content_Encoding="gzip")


def hangs(handler: Handler) -> None:
    handler.server.released.wait(60)


def dribbles(handler: Handler) -> None:
    """A byte now and then, for as long as somebody listens."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.released.wait(0.05):
        handler.wfile.write(b"#")
        handler.wfile.flush()


def redirects_for_ever(handler: Handler) -> None:
    handler.send("", status=302, Location=handler.path + "x")


def streams(size: int) -> Answer:
    """So many bytes of comments without a length, in chunks."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"# " + b"x" * 65_533 + b"\n"
        for _ in range(size // len(chunk) + 1):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@contextmanager
def target(answer: Answer) -> Iterator[TargetServer]:
    """A server that runs until the end of the block."""
    server = TargetServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
