"""One request for metrics: keep-alive connections, gzip, limits, redirects, and one deadline for all of it.

Hides http.client. Every failure is a `ScrapeFailed` whose text a person can act on.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from .policy import Forbidden, connect

#: As Prometheus 2.42 asks (scrape/scrape.go): OpenMetrics rather than text, text rather than nothing.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 65_536


class ScrapeFailed(Exception):
    """No usable answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The text of a target, unpacked, and whether it says that it is OpenMetrics."""

    body: bytes
    is_openmetrics: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer of whatever status, unpacked, from the address that the redirects ended at."""

    status: int
    reason: str
    kind: str  # the media type, lower case, without parameters
    body: bytes
    url: str
    redirects: int


class _Timed(io.RawIOBase):
    """A socket's reading end on which every read ends before the deadline of its connection."""

    def __init__(self, connection: _Http) -> None:
        self._sock: socket.socket = connection.sock
        self._raw: Any = self._sock.makefile("rb", buffering=0)
        self._deadline = connection.deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _TimedSocket:
    """What http.client reads an answer from; a server that dribbles a byte a second still meets the deadline."""

    def __init__(self, connection: _Http) -> None:
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._connection), _CHUNK)


class _Http(http.client.HTTPConnection):
    """A connection to an allowed address; `deadline` (of time.monotonic) holds for whatever is done with it."""

    deadline = 0.0

    def connect(self) -> None:
        """Connect, the policy permitting."""
        self.sock = connect(self.host, self.port, self.deadline)

    def response_class(self, _sock: socket.socket, method: str | None = None) -> http.client.HTTPResponse:  # type: ignore[override]
        """Return an answer that is read against the deadline."""
        return http.client.HTTPResponse(_TimedSocket(self), method=method)  # type: ignore[arg-type]


class _Https(_Http):
    """The same over TLS; certificates are checked against the system's authorities."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(host, port)
        self._context = context

    def connect(self) -> None:
        """Connect and agree on keys."""
        super().connect()
        self.sock.settimeout(_left(self.deadline))
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


class Requester:
    """Asks one URL again and again over one connection."""

    def __init__(self, url: str, timeout_seconds: float, body_limit_bytes: int) -> None:
        self.url, self.timeout_seconds, self.body_limit_bytes = url, timeout_seconds, body_limit_bytes
        self._kept: tuple[tuple[str, str], _Http] | None = None
        self._tls: ssl.SSLContext | None = None

    def get(self) -> Answer:
        """Return the target's answer within the timeout; raises ScrapeFailed."""
        reply = self.reply(is_any_status=False)
        return Answer(reply.body, reply.kind == "application/openmetrics-text")

    def reply(self, *, is_any_status: bool = True, deadline: float | None = None) -> Reply:
        """Return the answer, only of status 200 unless `is_any_status`, before `deadline` (of time.monotonic).

        Without a deadline the timeout counts from now. Raises ScrapeFailed.
        """
        deadline = time.monotonic() + self.timeout_seconds if deadline is None else deadline
        try:
            return self._get(deadline, is_any_status)
        except ScrapeFailed:
            self.close()
            raise
        except (OSError, http.client.HTTPException, Forbidden, zlib.error, ValueError) as error:
            self.close()
            raise ScrapeFailed(self._words(error)) from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        kept, self._kept = self._kept, None
        if kept:
            kept[1].close()

    def abort(self) -> None:
        """Make a request that runs in another thread fail now."""
        kept = self._kept
        sock = kept[1].sock if kept else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _get(self, deadline: float, is_any_status: bool) -> Reply:
        url = self.url
        for redirects in range(MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            response = self._ask(parts, deadline)
            if response.status not in _REDIRECTS:
                body, kind = self._read(response, is_any_status)
                return Reply(response.status, response.reason, kind, body, url, redirects)
            place = response.getheader("Location")
            if not place:
                raise ScrapeFailed(f"HTTP {response.status} redirects to nowhere")
            self.close()  # a redirect is rare; its body is not worth reading
            url = urljoin(url, place)
            if urlsplit(url).scheme not in ("http", "https"):
                raise ScrapeFailed(f"redirected to {url[:100]!r}, which is neither http:// nor https://")
        raise ScrapeFailed(f"more than {MAX_REDIRECTS} redirects; the last led to {url[:200]}")

    def _ask(self, parts: SplitResult, deadline: float) -> http.client.HTTPResponse:
        """Send the request; a kept connection that the target has closed meanwhile is replaced once."""
        place = parts.scheme, parts.netloc
        if self._kept and self._kept[0] != place:
            self.close()
        if self._kept and self._kept[1].sock is not None:
            try:
                return self._send(self._kept[1], parts, deadline)
            except (http.client.RemoteDisconnected, ConnectionError):
                self.close()
        connection = self._connection(parts)
        self._kept = place, connection
        return self._send(connection, parts, deadline)

    def _connection(self, parts: SplitResult) -> _Http:
        host = parts.hostname or ""
        if parts.scheme == "http":
            return _Http(host, parts.port or http.client.HTTP_PORT)
        self._tls = self._tls or ssl.create_default_context()
        return _Https(host, parts.port or http.client.HTTPS_PORT, self._tls)

    def _send(self, connection: _Http, parts: SplitResult, deadline: float) -> http.client.HTTPResponse:
        connection.deadline = deadline
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("Accept", ACCEPT)
        connection.putheader("Accept-Encoding", "gzip")
        connection.putheader("User-Agent", "alphaq-portal")
        connection.putheader("X-Prometheus-Scrape-Timeout-Seconds", f"{self.timeout_seconds:g}")
        connection.endheaders()
        return connection.getresponse()

    def _read(self, response: http.client.HTTPResponse, is_any_status: bool) -> tuple[bytes, str]:
        if response.status != 200 and not is_any_status:
            raise ScrapeFailed(f"HTTP {response.status} {response.reason}"[:200])
        limit = self.body_limit_bytes
        body = response.read(limit + 1)
        if response.length and len(body) <= limit:
            raise ScrapeFailed(f"the answer broke off {response.length:,} bytes before its end")
        encoding = (response.getheader("Content-Encoding") or "identity").lower()
        if encoding in ("gzip", "x-gzip"):
            body = _unpacked(body, limit)
        elif encoding != "identity":
            raise ScrapeFailed(f"the answer is packed with {encoding[:50]!r}; only gzip was asked for")
        if len(body) > limit:
            raise ScrapeFailed(f"the answer is larger than {limit:,} bytes, the limit of this target")
        if response.will_close:
            self.close()
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return body, kind

    def _words(self, error: Exception) -> str:
        """Return what went wrong for people who know the target, not the library."""
        if isinstance(error, TimeoutError):
            return f"no complete answer within {self.timeout_seconds:g} s"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused: nothing listens there"
        if isinstance(error, socket.gaierror):
            return f"the name cannot be resolved: {error.strerror}"
        if isinstance(error, ssl.SSLError):
            return f"TLS failed: {getattr(error, 'verify_message', '') or error.reason or error}"
        if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
            return "the target closed the connection without an answer"
        if isinstance(error, http.client.IncompleteRead):
            return "the answer broke off before its end"
        if isinstance(error, zlib.error):
            return f"the answer is not gzip although it says so: {error}"
        if isinstance(error, OSError) and error.strerror:
            return f"no connection: {error.strerror}"
        if isinstance(error, http.client.HTTPException):
            return f"not an HTTP answer: {type(error).__name__} {str(error)[:200]}".rstrip()
        return str(error)[:500]


def _unpacked(body: bytes, limit: int) -> bytes:
    """Return gunzipped bytes, one more than `limit` at most; a bomb costs no more memory than an honest answer."""
    unpack = zlib.decompressobj(31)
    out = unpack.decompress(body, limit + 1)
    if len(out) <= limit and not unpack.eof:
        raise ScrapeFailed("the packed answer broke off before its end")
    return out


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
