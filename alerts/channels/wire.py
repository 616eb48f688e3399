"""One HTTP POST to the outside: hides proxies, time limits, the address policy and what a broken connection means.

Nothing is retried and no redirect is followed: a library that repeats by itself posts twice (SL-6), and one that
follows a redirect hands credentials and internal addresses to whoever answers.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import io
import ipaddress
import json
import select
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# An answer is a short receipt; more is cut so that no receiver can fill our memory.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Who asks for more silence than this is asked again: alerts wait behind it.
MAX_WAIT_SECONDS = 3600.0
# A connection that has waited longer is not used again; few servers end one sooner.
REUSE_SECONDS = 0.5
# Where clouds answer with credentials of the machine, beyond the link-local range.
_METADATA_ADDRESSES = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "instance-data", "metadata"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotSent(Exception):
    """The request did not leave whole, so the other side cannot have acted on it."""


class AnswerLost(Exception):
    """The request left whole and no answer came: the other side may have acted on it."""


class Refused(Exception):
    """The address is one we do not send to."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 become replacement signs."""
        return self.body.decode("utf-8", "replace")

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is anything else."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def is_loopback(host: str) -> bool:
    """Whether the name or address can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, at most an hour; None where it is missing or a date (that needs a clock)."""
    raw = headers.get("retry-after", "").strip()
    return min(float(raw), MAX_WAIT_SECONDS) if raw.isascii() and raw.isdigit() else None


def address_problem(address: Address) -> str | None:
    """Why we do not send to this address, or None; private and loopback addresses are allowed."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return address_problem(inner)
    if address.is_link_local or address in _METADATA_ADDRESSES:
        return "it is a link-local address, where clouds hand out credentials"
    if address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_loopback):
        return "it is no address of a single machine"
    return None


def url_problem(url: str, *, needs_https: bool) -> str | None:
    """What is wrong with a URL to send to, in words that do not repeat it, or None."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "it is not a valid URL"
    if parts.scheme not in ("http", "https") or not host:
        return "it must start with https:// and name a host"
    if any(character.isspace() or ord(character) < 32 for character in url):
        return "it contains a space or a control character"
    if needs_https and parts.scheme != "https" and not is_loopback(host):
        return "it must start with https:// (plain http is accepted for this machine only)"
    return None


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float) -> Answer:
    """The answer to one POST, whatever its status; NotSent, AnswerLost or Refused otherwise.

    All of it ends within `timeout_seconds`, except that looking up a name takes as long as the system lets it and
    each step of a proxy's greeting may take as long again.
    """
    parts, deadline = urlsplit(url), time.monotonic() + timeout_seconds
    try:
        way = _way(parts)
        sock = _take(way) or _connect(way, deadline)
    except ssl.SSLError as error:
        raise NotSent(f"the TLS connection failed: {error.reason or 'unknown reason'}") from error
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise NotSent(f"no connection: {_words(error)}") from error
    try:
        try:
            sock.settimeout(_left(deadline))
            _write(sock, way, parts, body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NotSent(f"the connection broke while sending: {_words(error)}") from error
        try:
            answer, stays_open = _read(sock, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise AnswerLost(f"no answer: {_words(error)}") from error
    except BaseException:
        sock.close()
        raise
    _keep(way, sock) if stays_open else sock.close()
    return answer


def _left(deadline: float) -> float:
    """Seconds until the deadline; TimeoutError after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _TimedReader(io.RawIOBase):
    """A socket's bytes until a deadline, however slowly they come; a socket's own timeout starts anew at each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock, self.deadline = sock, deadline

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what is there; TimeoutError after the deadline."""
        self.sock.settimeout(_left(self.deadline))
        return self.sock.recv_into(buffer)

    def makefile(self, _: str) -> io.BufferedReader:
        """What http.client asks a socket for."""
        return io.BufferedReader(self)


def _write(sock: socket.socket, way: _Way, parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> None:
    path = quote(parts.path or "/", safe="%/:=&~+!$,;'@()*") + (
        f"?{quote(parts.query, safe='%/:=&~+!$,;@()*?')}" if parts.query else ""
    )
    extra = _authorization(parts, "Authorization")
    if way.proxy and not way.https:
        path = f"http://{parts.netloc.rpartition('@')[2]}{path}"
        extra |= _authorization(way.proxy, "Proxy-Authorization")
    if not _mine.keeps:
        extra["Connection"] = "close"
    connection = http.client.HTTPConnection(way.host, way.port)
    connection.default_port = 443 if way.https else 80
    connection.sock = sock
    connection.request("POST", path, body, {**headers, **extra})
    # On a kept connection, who writes head and body apart waits for the head to be acknowledged: 40 ms otherwise.
    with contextlib.suppress(OSError, AttributeError):  # it has left: what fails now is found by reading
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _read(sock: socket.socket, deadline: float) -> tuple[Answer, bool]:
    """The answer, and whether the connection may be used again."""
    reader: Any = _TimedReader(sock, deadline)
    response = http.client.HTTPResponse(reader, method="POST")
    response.begin()
    body = response.read(MAX_ANSWER_BYTES)
    if response.length and len(body) < MAX_ANSWER_BYTES:
        # A read of some bytes ends quietly where the connection ended early; a cut receipt is no receipt.
        raise http.client.IncompleteRead(body, response.length)
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    return answer, _mine.keeps and response.isclosed() and not response.will_close


@dataclass(frozen=True)
class _Way:
    """Where a request goes; requests with the same way may use one connection after the other."""

    host: str
    port: int
    https: bool
    proxy: SplitResult | None = field(repr=False)


def _way(parts: SplitResult) -> _Way:
    """The way to a URL; raises Refused."""
    host, https = parts.hostname or "", parts.scheme == "https"
    if host.rstrip(".").lower() in _METADATA_NAMES:
        raise Refused("its name is that of a cloud's metadata service")
    proxy = _proxy(parts.scheme, host)
    if proxy is not None:
        _check_literal(host)
    return _Way(host, parts.port or (443 if https else 80), https, proxy)


class _Kept:
    """An open connection between two requests of a thread; closed when the thread forgets it or ends."""

    def __init__(self, way: _Way, sock: socket.socket) -> None:
        self.way, self.sock, self.since = way, sock, time.monotonic()
        self.is_taken = False

    def __del__(self) -> None:
        if not self.is_taken:
            self.sock.close()


class _Mine(threading.local):
    """What belongs to one thread: whether it keeps connections, and the last one."""

    keeps = False
    kept: _Kept | None = None


_mine = _Mine()


def keep_connections() -> None:
    """Let this thread, as long as it lives, use a connection again for the next request if that comes at once.

    A server may end a connection that waits, and what is sent into that moment is lost without an answer. So one that
    has waited for REUSE_SECONDS is not used again, nor one on which there is something to read.
    """
    _mine.keeps = True


def _keep(way: _Way, sock: socket.socket) -> None:
    _mine.kept = _Kept(way, sock)


def _take(way: _Way) -> socket.socket | None:
    """The connection that this thread used last, if it goes the same way and is sound."""
    kept, _mine.kept = _mine.kept, None
    if kept is None or kept.way != way or time.monotonic() - kept.since > REUSE_SECONDS:
        return None
    poll = select.poll()
    poll.register(kept.sock, select.POLLIN)
    if poll.poll(0):  # its end, or an answer to nothing
        return None
    kept.is_taken = True
    return kept.sock


def _connect(way: _Way, deadline: float) -> socket.socket:
    """A connection to the other side, or to the proxy in between."""
    if way.proxy is None:
        return _direct(way, deadline)
    to = (way.proxy.hostname or "", way.proxy.port or 80)
    if not way.https:
        plain = http.client.HTTPConnection(*to, timeout=_left(deadline))
        plain.connect()
        return plain.sock
    tunnel = http.client.HTTPSConnection(*to, timeout=_left(deadline), context=_tls())
    tunnel.set_tunnel(way.host, way.port, _authorization(way.proxy, "Proxy-Authorization"))
    tunnel.connect()
    return tunnel.sock


def _direct(way: _Way, deadline: float) -> socket.socket:
    """A connection over a socket whose address was checked."""
    sock = _open_socket(way.host, way.port, deadline)
    if way.https:
        try:
            sock.settimeout(_left(deadline))
            return _tls().wrap_socket(sock, server_hostname=way.host)
        except BaseException:
            sock.close()
            raise
    return sock


def _open_socket(host: str, port: int, deadline: float) -> socket.socket:
    """A socket to the first address that answers, after every address passed the policy.

    The checked address is the one connected to, so a name cannot change its meaning in between.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for entry in found:
        reason = address_problem(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]))
        if reason:
            raise Refused(reason)
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _check_literal(host: str) -> None:
    """Refused for a forbidden address written out; behind a proxy names are resolved there, out of our sight."""
    try:
        reason = address_problem(ipaddress.ip_address(host))
    except ValueError:
        return
    if reason:
        raise Refused(reason)


def _proxy(scheme: str, host: str) -> SplitResult | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for this host; never one for this machine itself."""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    address = urllib.request.getproxies().get(scheme, "")
    if not address:
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _authorization(parts: SplitResult, header: str) -> dict[str, str]:
    """Basic authorization from the user and password of a URL."""
    if not parts.username:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {header: "Basic " + base64.b64encode(pair.encode()).decode("ascii")}


@functools.lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    # Loading the trusted roots costs some 20 ms, so one context serves the process.
    return ssl.create_default_context()


def _words(error: BaseException) -> str:
    """The failure in a few words, without host, path or headers of the request."""
    if isinstance(error, TimeoutError):
        return "time ran out"
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
        return "the other side closed the connection"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__
