"""A loopback HTTP server in a thread that records every request and can fail in all the ways a network can."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")
MODES = ("ok", "down", "hang", "reset", "status", "ratelimit", "ok_false", "slow", "accept_reset")


@dataclass
class Mode:
    """How a destination behaves until `times` requests have met it (None: until it is changed).

    reset and down: the connection breaks and nothing is accepted · hang: no answer · accept_reset: accepted, answer
    lost · slow: answers after `seconds` · status: `code` and `body` · ratelimit: 429 with `retry_after` · ok_false:
    Slack's 200 with an `error`.
    """

    name: str
    times: int | None = None
    method: str = ""
    code: int = 500
    body: str = "error"
    error: str = "internal_error"
    retry_after: float = 1
    seconds: float = 1.0
    location: str = ""


@dataclass(frozen=True)
class Reply:
    """One answer; `status` 0 means the connection was dropped without one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, status: int = 200, **headers: str) -> Reply:
        """A JSON answer."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"} | named)

    @classmethod
    def of_text(cls, text: str, status: int = 200, **headers: str) -> Reply:
        """A plain text answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, text.encode(), {"Content-Type": "text/plain"} | named)


DROP = Reply(status=0)


@dataclass
class Request:
    """One request as it arrived; `key` is the destination it was for and `accepted` whether it took effect."""

    verb: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    data: dict[str, Any]
    key: str = ""
    method: str = ""
    fault: str = ""
    accepted: bool = False
    status: int = 0


class LoopbackServer:
    """A server on 127.0.0.1; subclasses say what a request is for and what the true answer is."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self.changed = threading.Condition(threading.RLock())
        self._modes: dict[str, list[Mode]] = {}
        self._stopped = False
        self._server: ThreadingHTTPServer | None = None
        self.port = port
        self.up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen (again), on the same port as before."""
        if self._server is not None:
            return
        server = _Server(("127.0.0.1", self.port), _Handler)
        server.fake = self
        self._server, self.port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True, name="loopback").start()

    def down(self) -> None:
        """Stop listening: connections are refused until `up`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def stop(self) -> None:
        """Stop listening and let hanging requests go."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()
        self.down()

    def set_mode(self, key: str, name: str, **parameters: Any) -> None:
        """How requests for `key` ("*": all) are treated from now on; "ok" ends it, "down" for "*" stops listening.

        Several modes for one key are met one after the other when they have `times`; a mode without `times`
        replaces the others. `method` limits a mode to one API method.
        """
        if name not in MODES:
            raise ValueError(f"unknown mode {name!r}; one of {', '.join(MODES)}")
        if key == "*" and name in ("ok", "down"):
            self.down() if name == "down" else self.up()
        with self.changed:
            key, mode = self.mode_key(key), Mode(name, **parameters)
            if name == "ok" or (key == "*" and name == "down"):
                self._modes.pop(key, None)
            elif mode.times is None and not mode.method:
                self._modes[key] = [mode]
            else:
                self._modes.setdefault(key, []).append(mode)
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[Self], T], timeout: float = 10.0) -> T:
        """The first true value of `predicate(self)`, checked after every request; AssertionError after `timeout` s."""
        with self.changed:
            found = self.changed.wait_for(lambda: predicate(self), timeout)
            if not found:
                seen = [f"{r.verb} {r.path} {r.key} {r.fault or 'ok'} {r.status}" for r in self.requests[-20:]]
                raise AssertionError(f"not seen within {timeout} s; the last requests were {seen or 'none'}")
            return found

    # What subclasses answer; all of it runs under the lock.

    def mode_key(self, key: str) -> str:
        """The form of a destination's name under which modes are kept."""
        return key

    def identify(self, request: Request) -> None:
        """Set `key` and `method` of a request."""
        request.key = request.path

    def accept(self, request: Request) -> Reply:
        """Let the request take effect and answer it; sets `accepted`."""
        request.accepted = True
        return Reply.of_json({})

    def fault_reply(self, request: Request, mode: Mode) -> Reply:
        """The answer of a mode that has one."""
        if mode.name == "ratelimit":
            return Reply.of_text("rate_limited", 429, Retry_After=str(mode.retry_after))
        location = {"Location": mode.location} if mode.location else {}
        return Reply.of_text(mode.body, mode.code, **location)

    # The run of one request.

    def serve(self, request: Request) -> Reply:
        """Record a request, apply its mode and return the answer."""
        with self.changed:
            self.identify(request)
            mode = self._take_mode(request)
            request.fault = mode.name if mode else ""
            if mode and mode.name == "hang":
                self._record(request, DROP)
                self.changed.wait_for(lambda: self._stopped or not self._is_hanging(request.key))
                return DROP
            if mode and mode.name == "slow":
                self.changed.wait_for(lambda: self._stopped, mode.seconds)
            if mode and mode.name in ("status", "ratelimit", "ok_false"):
                return self._record(request, self.fault_reply(request, mode))
            if mode and mode.name in ("down", "reset"):
                return self._record(request, DROP)
            reply = self.accept(request)
            return self._record(request, DROP if mode and mode.name == "accept_reset" else reply)

    def _record(self, request: Request, reply: Reply) -> Reply:
        request.status = reply.status
        self.requests.append(request)
        self.changed.notify_all()
        return reply

    def _take_mode(self, request: Request) -> Mode | None:
        for key in (request.key, "*"):
            for mode in list(self._modes.get(key, ())):
                if mode.method and mode.method != request.method:
                    continue
                if mode.times is not None:
                    mode.times -= 1
                    if mode.times <= 0:
                        self._modes[key].remove(mode)
                return mode
        return None

    def _is_hanging(self, key: str) -> bool:
        return any(mode.name == "hang" for name in (key, "*") for mode in self._modes.get(name, ()))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    fake: LoopbackServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.fake.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the requests are recorded."""

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        parts = urlsplit(self.path)
        data = _parse(headers.get("content-type", ""), raw) | {k: v[0] for k, v in parse_qs(parts.query).items()}
        reply = self.server.fake.serve(Request(self.command, parts.path, headers, raw, data))
        if reply.status == 0:
            self._drop()
            return
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _drop(self) -> None:
        """Break the connection with a reset, as a dying machine does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())


def _parse(content_type: str, raw: bytes) -> dict[str, Any]:
    """Fields of a JSON or form body; JSON inside a form's fields (blocks, metadata, payload) is read as well."""
    if "json" in content_type:
        try:
            value = json.loads(raw or b"{}")
        except ValueError:
            return {"_unreadable": True}
        return value if isinstance(value, dict) else {"_value": value}
    if "x-www-form-urlencoded" not in content_type:
        return {}
    fields: dict[str, Any] = {name: values[0] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()}
    for name in ("blocks", "attachments", "metadata", "files", "view"):
        if isinstance(fields.get(name), str):
            try:
                fields[name] = json.loads(fields[name])
            except ValueError:
                fields["_unreadable"] = True
    if isinstance(fields.get("payload"), str):
        return dict(json.loads(fields["payload"]))
    return fields
