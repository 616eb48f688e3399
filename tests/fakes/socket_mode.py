"""Slack's end of Socket Mode on loopback: takes WebSocket connections, sends envelopes, hears acknowledgements."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class FakeSocketMode:
    """A WebSocket server; `answers` are the JSON texts that came back, `connections` counts all there ever were."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.connections = 0
        self.changed = threading.Condition()
        self._open: list[socket.socket] = []
        self._numbers = itertools.count(1)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="fake-socket-mode").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.hang_up()

    @property
    def url(self) -> str:
        """What apps.connections.open answers."""
        return f"ws://127.0.0.1:{self.port}/link/?ticket=1"

    def send(self, payload: Mapping[str, Any], kind: str = "interactive") -> str:
        """Send an envelope down the newest connection; returns its id."""
        envelope_id = f"envelope-{next(self._numbers)}"
        self.send_raw({"type": kind, "envelope_id": envelope_id, "payload": payload, "accepts_response_payload": True})
        return envelope_id

    def send_raw(self, message: Mapping[str, Any]) -> None:
        """Send a message as it is."""
        _write(self._open[-1], _TEXT, json.dumps(message).encode())

    def hang_up(self) -> None:
        """Break every connection."""
        with self.changed:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
            self._open.clear()

    def wait_for(self, predicate: Callable[[Self], Any], timeout: float = 15.0) -> Any:
        """The first true value of `predicate(self)`; AssertionError after `timeout` s."""
        with self.changed:
            found = self.changed.wait_for(lambda: predicate(self), timeout)
        assert found, f"not seen within {timeout} s; {self.connections} connections, answers {self.answers}"
        return found

    def answer_to(self, envelope_id: str) -> dict[str, Any]:
        """The acknowledgement of an envelope, as soon as it is there."""
        return dict(
            self.wait_for(lambda fake: next((a for a in fake.answers if a.get("envelope_id") == envelope_id), None))
        )

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError, ValueError):
            stream = peer.makefile("rb")
            key = b""
            while line := stream.readline().strip():
                if line.lower().startswith(b"sec-websocket-key:"):
                    key = line.partition(b":")[2].strip()
            accept = base64.b64encode(hashlib.sha1(key + _MAGIC).digest())  # noqa: S324  (the protocol's)
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            with self.changed:
                self._open.append(peer)
                self.connections += 1
                self.changed.notify_all()
            _write(peer, _TEXT, b'{"type": "hello", "num_connections": 1}')
            while True:
                opcode, data = _read(stream)
                if opcode == _PING:
                    _write(peer, _PONG, data)
                elif opcode == _TEXT:
                    with self.changed:
                        self.answers.append(json.loads(data))
                        self.changed.notify_all()
                elif opcode == _CLOSE:
                    break
        with self.changed:
            if peer in self._open:
                self._open.remove(peer)
            self.changed.notify_all()
        peer.close()


def _read(stream: Any) -> tuple[int, bytes]:
    """One frame from a client, unmasked."""
    head = _exactly(stream, 2)
    length = head[1] & 0x7F
    if length >= 126:
        length = int.from_bytes(_exactly(stream, 2 if length == 126 else 8), "big")
    mask = _exactly(stream, 4) if head[1] & 0x80 else b"\0\0\0\0"
    data = _exactly(stream, length)
    return head[0] & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def _exactly(stream: Any, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return bytes(data)


def _write(peer: socket.socket, opcode: int, data: bytes) -> None:
    size = len(data)
    head = bytes([0x80 | opcode]) + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big"))
    peer.sendall(head + data)
