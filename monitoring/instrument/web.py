"""Requests of a web service, counted and timed by method, route and status: for WSGI, ASGI and Flask.

Hides where each kind of server keeps its route. Label values are bounded: methods are known ones, an endpoint is a
route and never a path that somebody typed, statuses have three digits, errors are class names.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from .bounds import OTHER, Bounded, PerRegistry

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
#: A WSGI application that routes by itself writes its route here: environ[ROUTE_KEY] = "/predict/<name>".
ROUTE_KEY = "alphaq.route"
#: The endpoint of a request that no route was found for, so that a scan of random paths is one series.
UNMATCHED = "unmatched"
SERVER_ERROR = "500"
#: As nginx counts a client that went away before the answer.
CLIENT_GONE = "499"
MAX_ENDPOINTS = 500
MAX_ERROR_TYPES = 100
#: From a cache hit to a long generation, in seconds.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class _Families:
    """The three metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ["method", "endpoint"]
        self.requests = Counter("http_requests_total", "Total HTTP requests", [*names, "status"], registry=registry)
        self.seconds = Histogram(
            "http_request_duration_seconds", "HTTP request latency", names, buckets=LATENCY_BUCKETS, registry=registry
        )
        self.errors = Counter(
            "http_request_errors_total",
            "Exceptions that ended an HTTP request, by class",
            [*names, "error"],
            registry=registry,
        )
        self.endpoint = Bounded(MAX_ENDPOINTS)
        self.error = Bounded(MAX_ERROR_TYPES)


_families = PerRegistry(_Families)


class _Request:
    """One request from its start to its last byte."""

    def __init__(self, families: _Families, method: str) -> None:
        self._families = families
        self._method = method if method in METHODS else OTHER
        self._started = time.perf_counter()
        self._has_ended = False
        self.route: str | None = None
        self.status = ""
        self.error = ""

    def fail(self, error: BaseException) -> None:
        """Take note of what ended the request."""
        if isinstance(error, Exception):
            self.status, self.error = SERVER_ERROR, type(error).__name__
        elif not self.status:  # cancelled, or the process is told to end
            self.status = CLIENT_GONE

    def end(self) -> None:
        """Count and time the request, once."""
        if self._has_ended:
            return
        self._has_ended = True
        families, endpoint = self._families, self._families.endpoint(self.route or UNMATCHED)
        # Without a status the server answers 500 in the application's place.
        status = self.status if len(self.status) == 3 and self.status.isdecimal() else SERVER_ERROR
        families.requests.labels(self._method, endpoint, status).inc()
        families.seconds.labels(self._method, endpoint).observe(time.perf_counter() - self._started)
        if self.error:
            families.errors.labels(self._method, endpoint, families.error(self.error)).inc()


_current: ContextVar[_Request | None] = ContextVar("alphaq_request", default=None)


class _Body:
    """An answer's chunks; the request ends with the last one, or when the server closes it."""

    def __init__(self, chunks: Iterable[bytes], request: _Request, find_route: Callable[[], None]) -> None:
        self._chunks, self._request, self._find_route = chunks, request, find_route
        self._iterator = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._iterator)
        except BaseException as error:
            if not isinstance(error, StopIteration):
                self._request.fail(error)
            self._end()
            raise

    def close(self) -> None:
        """Close the application's answer, as WSGI servers must call it."""
        try:
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self._request.fail(error)
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._find_route()
        self._request.end()


def route_in_environ(environ: Mapping[str, Any]) -> str | None:
    """Return the route that a WSGI application wrote under ROUTE_KEY, None when it wrote none."""
    return environ.get(ROUTE_KEY)


class WsgiMetrics:
    """A WSGI application with its requests measured.

    `route_of(environ)` is asked when the answer has ended and returns the route, None when there was none; it must
    never return the path itself. The time counts until the last byte has been handed to the server.
    """

    def __init__(
        self,
        app: WsgiApp,
        route_of: Callable[[Environ], str | None] = route_in_environ,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._app, self._route_of, self._families = app, route_of, _families(registry)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as the application does; an exception is counted as 500 and raised again."""
        request = _Request(self._families, environ.get("REQUEST_METHOD", ""))

        def remember(status: str, *rest: Any) -> Any:
            request.status = status[:3]
            return start_response(status, *rest)

        def find_route() -> None:
            request.route = request.route or self._route_of(environ)

        token = _current.set(request)
        try:
            return _Body(self._app(environ, remember), request, find_route)
        except BaseException as error:
            request.fail(error)
            find_route()
            request.end()
            raise
        finally:
            _current.reset(token)


class FlaskLike(Protocol):
    """What of a Flask application is used here."""

    wsgi_app: Any
    handle_exception: Any
    url_map: Any

    def url_value_preprocessor(self, f: Callable[[str | None, Any], None]) -> Any:
        """Call f(endpoint, values) before each request is handled."""


def instrument_flask(app: FlaskLike, registry: CollectorRegistry = REGISTRY) -> None:
    """Measure the requests of a Flask application; the endpoint is the URL rule, such as /predict/<name>."""
    handle = app.handle_exception

    def find_route(endpoint: str | None, _values: Any) -> None:
        request = _current.get()
        if request is not None and endpoint is not None:
            rule = next(app.url_map.iter_rules(endpoint), None)
            request.route = rule.rule if rule is not None else None

    def handle_exception(*args: Any) -> Any:
        # Flask turns an exception into an answer, so that the middleware outside never sees it.
        request = _current.get()
        if request is not None:
            request.fail(args[-1])
        return handle(*args)

    app.url_value_preprocessor(find_route)
    app.handle_exception = handle_exception
    app.wsgi_app = WsgiMetrics(app.wsgi_app, registry=registry)


def route_in_scope(scope: Scope) -> str | None:
    """Return the route of an ASGI request: FastAPI's path template, else the name of Starlette's endpoint, or None."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    name = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
    return f"{getattr(endpoint, '__module__', '')}.{name}"


class AsgiMetrics:
    """An ASGI application with its HTTP requests measured; web sockets and lifespan events pass through.

    `route_of(scope)` is asked when the application has ended and returns the route, None when there was none.
    """

    def __init__(
        self,
        app: AsgiApp,
        route_of: Callable[[Scope], str | None] = route_in_scope,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._app, self._route_of, self._families = app, route_of, _families(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does; an exception is counted as 500 and raised again."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(self._families, scope["method"])

        async def remember(message: Any) -> None:
            if message["type"] == "http.response.start":
                request.status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, remember)
        except BaseException as error:
            request.fail(error)
            raise
        finally:
            request.route = self._route_of(scope)
            request.end()
