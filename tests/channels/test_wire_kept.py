"""Connections that a thread keeps for its next request: when they are used again, and when they must not be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from alerts.channels import wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of some bytes, the last of them for ever; None ends the connection."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[list[bytes]] = []  # of each connection, its requests
        self.open: list[socket.socket] = []
        self.ended = threading.Semaphore(0)  # connections that the other side has closed
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/hook"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()
        for sock in self.open:
            sock.close()

    def hang_up(self) -> None:
        """End all connections from this side."""
        for sock in self.open:
            sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(sock)
            self.heads.append([])
            threading.Thread(target=self._serve, args=(sock, self.heads[-1]), daemon=True).start()

    def _serve(self, sock: socket.socket, heads: list[bytes]) -> None:
        reader = sock.makefile("rb")
        while True:
            head = b"".join(iter(reader.readline, b"\r\n")) if (line := reader.peek(1)) else line
            if not head:
                self.ended.release()
                return
            reader.read(2)
            heads.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                sock.shutdown(socket.SHUT_RDWR)
                return
            sock.sendall(answer)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Makes servers."""
    servers: list[Server] = []

    def make(*answers: bytes | None) -> Server:
        servers.append(Server(*(answers or (OK,))))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    """One thread that keeps connections."""
    with ThreadPoolExecutor(1, initializer=wire.keep_connections) as pool:
        yield pool


def send(url: str) -> int:
    return wire.post(url, b"{}", {}, timeout_seconds=5).status


def sent_by(server: Server) -> list[int]:
    """How many requests each connection carried."""
    return [len(heads) for heads in server.heads]


def test_requests_that_follow_at_once_share_a_connection(serve, thread):
    server = serve()
    assert [thread.submit(send, server.url).result() for _ in range(3)] == [200, 200, 200]
    assert sent_by(server) == [3]
    assert b"connection: close" not in server.heads[0][0].lower()


def test_whoever_did_not_ask_for_it_has_a_connection_each(serve):
    server = serve()
    assert [send(server.url), send(server.url)] == [200, 200]
    assert sent_by(server) == [1, 1]
    assert b"connection: close" in server.heads[0][0].lower()
    assert server.ended.acquire(timeout=5) and server.ended.acquire(timeout=5)


def test_another_server_has_its_own(serve, thread):
    one, other = serve(), serve()
    for url in (one.url, other.url, other.url, one.url):
        assert thread.submit(send, url).result() == 200
    assert (sent_by(one), sent_by(other)) == ([1, 1], [2])
    assert one.ended.acquire(timeout=5), "what is not used again is closed"


def test_one_that_has_waited_is_not_used_again(serve, thread, monkeypatch):
    server = serve()
    monkeypatch.setattr(wire, "REUSE_SECONDS", 0.0)
    assert [thread.submit(send, server.url).result() for _ in range(2)] == [200, 200]
    assert sent_by(server) == [1, 1]


def test_one_that_the_server_has_ended_is_not_used_again(serve, thread, monkeypatch):
    server = serve()
    monkeypatch.setattr(wire, "REUSE_SECONDS", 60.0)
    thread.submit(send, server.url).result()
    server.hang_up()
    assert thread.submit(send, server.url).result() == 200
    assert sent_by(server) == [1, 1]


def test_one_on_which_something_came_unasked_is_not_used_again(serve, thread, monkeypatch):
    server = serve()
    monkeypatch.setattr(wire, "REUSE_SECONDS", 60.0)
    thread.submit(send, server.url).result()
    server.open[0].sendall(b"HTTP/1.1 500 Of Another\r\nContent-Length: 0\r\n\r\n")
    assert thread.submit(send, server.url).result() == 200
    assert sent_by(server) == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_server_that_wants_it_closed_is_obeyed(serve, thread, answer):
    server = serve(answer)
    assert [thread.submit(send, server.url).result() for _ in range(2)] == [200, 200]
    assert sent_by(server) == [1, 1]


def test_an_answer_in_chunks_ends_where_it_ends(serve, thread):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", OK)
    assert [thread.submit(send, server.url).result() for _ in range(2)] == [200, 200]
    assert sum(sent_by(server)) == 2


def test_an_answer_that_is_cut_leaves_nothing_for_the_next(serve, thread, monkeypatch):
    monkeypatch.setattr(wire, "MAX_ANSWER_BYTES", 10)
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + b"x" * 50, OK)
    assert [thread.submit(send, server.url).result() for _ in range(2)] == [200, 200]
    assert sent_by(server) == [1, 1]


def test_an_end_instead_of_an_answer_may_have_arrived_and_is_not_sent_again(serve, thread):
    server = serve(OK, None, OK)
    thread.submit(send, server.url).result()
    with pytest.raises(wire.AnswerLost):
        thread.submit(send, server.url).result()
    assert sum(sent_by(server)) == 2
    assert thread.submit(send, server.url).result() == 200


def test_it_ends_with_its_thread(serve):
    server = serve()
    with ThreadPoolExecutor(1, initializer=wire.keep_connections) as pool:
        pool.submit(send, server.url).result()
    assert server.ended.acquire(timeout=5)
