"""Requests of a service, measured: WSGI, ASGI and Flask."""

from __future__ import annotations

import asyncio
import io
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client import CollectorRegistry

from monitoring.instrument import ROUTE_KEY, AsgiMetrics, WsgiMetrics, exposition, instrument_flask
from monitoring.instrument.web import MAX_ENDPOINTS


class Broken(Exception):
    """What the applications here raise."""


@pytest.fixture
def registry():
    return CollectorRegistry()


def answer(status="200 OK", chunks=(b"ok",), route="/predict/<name>"):
    """A WSGI application that always answers so."""

    def app(environ, start_response):
        environ[ROUTE_KEY] = route
        start_response(status, [("Content-Type", "text/plain")])
        return chunks

    return app


def ask(app, method="GET", path="/predict/ranker"):
    """What a server does with one request; the body, and each start_response."""
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path}
    setup_testing_defaults(environ)
    started = []
    body = app(environ, lambda status, headers, exc_info=None: started.append(status))
    try:
        return b"".join(body), started
    finally:
        getattr(body, "close", lambda: None)()


def requests(registry, **labels):
    return registry.get_sample_value("http_requests_total", labels)


def all_requests(registry):
    return {
        tuple(sample.labels.values())
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


def test_a_wsgi_request_is_counted_by_method_route_and_status(registry):
    app = WsgiMetrics(answer(), registry=registry)
    assert ask(app) == (b"ok", ["200 OK"])
    assert requests(registry, method="GET", endpoint="/predict/<name>", status="200") == 1


def test_a_wsgi_request_is_timed_once(registry):
    ask(WsgiMetrics(answer(chunks=[b"a", b"b"]), registry=registry))
    labels = {"method": "GET", "endpoint": "/predict/<name>"}
    assert registry.get_sample_value("http_request_duration_seconds_count", labels) == 1


def test_a_request_without_a_route_is_never_counted_by_its_path(registry):
    app = WsgiMetrics(answer("404 Not Found", route=None), registry=registry)
    for number in range(50):
        ask(app, path=f"/wp-login/{number}")
    assert all_requests(registry) == {("GET", "unmatched", "404")}


def test_a_made_up_method_is_counted_as_other(registry):
    app = WsgiMetrics(answer(), registry=registry)
    for number in range(20):
        ask(app, method=f"HACK{number}")
    assert all_requests(registry) == {("other", "/predict/<name>", "200")}


def test_routes_beyond_the_bound_are_one_series(registry):
    app = WsgiMetrics(answer(), route_of=lambda environ: environ["PATH_INFO"], registry=registry)
    for number in range(MAX_ENDPOINTS + 20):
        ask(app, path=f"/{number}")
    assert len(all_requests(registry)) == MAX_ENDPOINTS + 1
    assert requests(registry, method="GET", endpoint="other", status="200") == 20


def test_an_exception_is_counted_as_500_by_its_class_and_raised_again(registry):
    def app(environ, start_response):
        environ[ROUTE_KEY] = "/boom"
        raise Broken

    with pytest.raises(Broken):
        ask(WsgiMetrics(app, registry=registry))
    assert requests(registry, method="GET", endpoint="/boom", status="500") == 1
    labels = {"method": "GET", "endpoint": "/boom", "error": "Broken"}
    assert registry.get_sample_value("http_request_errors_total", labels) == 1


def test_an_exception_in_the_middle_of_an_answer_is_counted_as_500(registry):
    def chunks():
        yield b"a"
        raise Broken

    with pytest.raises(Broken):
        ask(WsgiMetrics(answer(chunks=chunks()), registry=registry))
    assert all_requests(registry) == {("GET", "/predict/<name>", "500")}


def test_an_answer_that_the_client_stops_reading_is_counted_once_and_closed(registry):
    closed = []

    class Chunks:
        def __iter__(self):
            return iter([b"a", b"b"])

        def close(self):
            closed.append(True)

    environ = {"REQUEST_METHOD": "GET"}
    setup_testing_defaults(environ)
    body = WsgiMetrics(answer(chunks=Chunks()), registry=registry)(environ, lambda *_: None)
    next(iter(body))
    body.close()
    assert closed == [True]
    assert requests(registry, method="GET", endpoint="/predict/<name>", status="200") == 1


def test_two_middlewares_of_one_registry_share_their_metrics(registry):
    for app in (WsgiMetrics(answer(), registry=registry), WsgiMetrics(answer(), registry=registry)):
        ask(app)
    assert requests(registry, method="GET", endpoint="/predict/<name>", status="200") == 2


def test_the_exposition_answers_in_the_format_that_was_asked(registry):
    ask(WsgiMetrics(answer(), registry=registry))
    text, kind = exposition(registry=registry)
    assert b'http_requests_total{endpoint="/predict/<name>",method="GET",status="200"} 1.0' in text
    assert kind.startswith("text/plain")
    openmetrics, kind = exposition("application/openmetrics-text;version=1.0.0", registry)
    assert openmetrics.endswith(b"# EOF\n")
    assert kind.startswith("application/openmetrics-text")


class Route:
    """What FastAPI puts into the scope."""

    path = "/items/{item}"


def ask_asgi(app, scope=None):
    """What a server does with one HTTP request; the messages that were sent."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    asyncio.run(
        app(scope if scope is not None else {"type": "http", "method": "GET", "path": "/items/7"}, receive, send)
    )
    return sent


def asgi_answer(status=200, route=None, endpoint=None, error=None):
    async def app(scope, receive, send):
        if route:
            scope["route"] = route
        if endpoint:
            scope["endpoint"] = endpoint
        if error:
            raise error
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def test_an_asgi_request_is_counted_by_its_path_template(registry):
    sent = ask_asgi(AsgiMetrics(asgi_answer(route=Route()), registry=registry))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert requests(registry, method="GET", endpoint="/items/{item}", status="200") == 1


def test_an_asgi_request_without_a_template_is_counted_by_its_endpoint(registry):
    ask_asgi(AsgiMetrics(asgi_answer(endpoint=ask), registry=registry))
    assert requests(registry, method="GET", endpoint="tests.test_instrument.ask", status="200") == 1


def test_an_asgi_request_that_nothing_matched_is_unmatched(registry):
    ask_asgi(AsgiMetrics(asgi_answer(404), registry=registry))
    assert requests(registry, method="GET", endpoint="unmatched", status="404") == 1


def test_an_asgi_exception_is_counted_as_500_and_raised_again(registry):
    with pytest.raises(Broken):
        ask_asgi(AsgiMetrics(asgi_answer(route=Route(), error=Broken()), registry=registry))
    assert requests(registry, method="GET", endpoint="/items/{item}", status="500") == 1


def test_a_cancelled_asgi_request_is_no_error_of_the_service(registry):
    with pytest.raises(asyncio.CancelledError):
        ask_asgi(AsgiMetrics(asgi_answer(route=Route(), error=asyncio.CancelledError()), registry=registry))
    assert all_requests(registry) == {("GET", "/items/{item}", "499")}


def test_what_is_not_http_passes_uncounted(registry):
    passed = []

    async def app(scope, receive, send):
        passed.append(scope["type"])

    ask_asgi(AsgiMetrics(app, registry=registry), {"type": "lifespan"})
    assert passed == ["lifespan"]
    assert all_requests(registry) == set()


@pytest.fixture
def shop(registry):
    """A real Flask application; measured."""
    flask = pytest.importorskip("flask", reason="Flask is not installed")
    app = flask.Flask("shop")

    @app.route("/predict/<name>", methods=["GET", "POST"])
    def predict(name):
        return f"score of {name}"

    @app.route("/boom")
    def boom():
        raise Broken

    instrument_flask(app, registry)
    return app


def test_a_flask_request_is_counted_by_its_rule(shop, registry):
    shop.test_client().post("/predict/ranker", buffered=True)
    assert requests(registry, method="POST", endpoint="/predict/<name>", status="200") == 1


def test_a_flask_request_to_nowhere_is_unmatched(shop, registry):
    shop.test_client().get("/wp-login/17", buffered=True)
    shop.test_client().put("/predict/ranker", buffered=True)
    assert all_requests(registry) == {("GET", "unmatched", "404"), ("PUT", "unmatched", "405")}


@pytest.mark.parametrize("is_propagated", [False, True])
def test_a_flask_exception_is_counted_by_its_class(shop, registry, is_propagated):
    shop.config["PROPAGATE_EXCEPTIONS"] = is_propagated
    if is_propagated:
        with pytest.raises(Broken):
            shop.test_client().get("/boom", buffered=True)
    else:
        assert shop.test_client().get("/boom", buffered=True).status_code == 500
    assert requests(registry, method="GET", endpoint="/boom", status="500") == 1
    labels = {"method": "GET", "endpoint": "/boom", "error": "Broken"}
    assert registry.get_sample_value("http_request_errors_total", labels) == 1


class FlaskShaped:
    """A stand-in with the four members of Flask that are used, for where Flask is not installed."""

    class Rule:
        rule = "/predict/<name>"

    def __init__(self, error=None):
        self.url_map, self.error, self.preprocessors = self, error, []

    def iter_rules(self, endpoint):
        return iter([self.Rule()] if endpoint == "predict" else [])

    def url_value_preprocessor(self, f):
        self.preprocessors.append(f)

    def handle_exception(self, error):
        return "500 INTERNAL SERVER ERROR"

    def wsgi_app(self, environ, start_response):
        for preprocess in self.preprocessors:
            preprocess("predict" if environ["PATH_INFO"].startswith("/predict/") else None, {})
        start_response(self.handle_exception(self.error) if self.error else "200 OK", [])
        return io.BytesIO(b"ok")


def test_an_application_shaped_like_flask_is_counted_by_its_rule(registry):
    app = FlaskShaped()
    instrument_flask(app, registry)
    ask(app.wsgi_app)
    ask(app.wsgi_app, path="/nowhere/1")
    assert all_requests(registry) == {("GET", "/predict/<name>", "200"), ("GET", "unmatched", "200")}


def test_an_exception_that_became_an_answer_keeps_its_class(registry):
    app = FlaskShaped(Broken())
    instrument_flask(app, registry)
    ask(app.wsgi_app)
    labels = {"method": "GET", "endpoint": "/predict/<name>", "error": "Broken"}
    assert registry.get_sample_value("http_request_errors_total", labels) == 1
