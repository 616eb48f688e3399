"""One probe of each kind of server: what is well, what is not, and servers that lie."""

from __future__ import annotations

import json

import pytest

from monitoring.collect.probe import Question, Verdict, ask
from tests.scrape.server import Handler, dribbles, hangs, redirects_for_ever, streams, target

HTML = "<!doctype html><title>Sign in</title>"


def server(pages: dict[str, tuple[int, object]], kind: str = "application/json"):
    """A server of some paths; texts are sent as they are, the rest as JSON."""

    def answer(handler: Handler) -> None:
        status, body = pages.get(handler.path, (404, {"error": "not found"}))
        text = body if isinstance(body, str) else json.dumps(body)
        handler.send(text, status=status, Content_Type="text/html" if text.startswith("<") else kind)

    return target(answer)


def probe(kind: str, pages: dict[str, tuple[int, object]], path: str = "", model: str = "ranker") -> Verdict:
    with server(pages) as running:
        return ask(Question(kind, f"http://127.0.0.1:{running.server_port}{path}", model))


READY = {
    "/v2/health/ready": (200, {"ready": True}),
    "/v2/models/ranker/ready": (200, {"name": "ranker", "ready": True}),
}
TAGS = {"/api/tags": (200, {"models": [{"name": "llama3:latest", "model": "llama3:latest"}]})}
WORKERS = [
    {"modelName": "ranker", "workers": [{"id": "9000", "status": "READY"}, {"id": "9001", "status": "UNLOADING"}]}
]
WELL = [
    ("plain", {"/well": (204, "")}, "/well", ""),
    ("plain", {"/": (200, HTML)}, "", ""),
    ("kserve", READY, "", "ranker"),
    ("kserve", READY, "/v2/health/ready", "ranker"),
    ("kserve", READY, "/v2/models/ranker/ready", "another"),
    ("kserve", {f"/proxy{path}": page for path, page in READY.items()}, "/proxy", "ranker"),
    ("triton", {"/v2/health/ready": (200, ""), "/v2/models/ranker/ready": (200, "")}, "", "ranker"),
    ("vllm", {"/health": (200, "")}, "", ""),
    ("vllm", {"/health": (200, ""), "/v1/models": (200, {"data": [{"id": "meta/llama"}]})}, "/health", "meta/llama"),
    ("torchserve", {"/ping": (200, {"status": "Healthy"})}, "", "ranker"),
    ("torchserve", {"/models/ranker": (200, WORKERS)}, "/models/ranker", "ranker"),
    ("ollama", TAGS, "", "llama3"),
    ("ollama", TAGS, "/api/tags", "llama3:latest"),
]  # fmt: skip
ILL = [
    ("plain", {"/": (503, {"detail": "loading"})}, "", "", "HTTP 503 Service Unavailable: '{\"detail\""),
    ("plain", {}, "", "", "HTTP 404"),
    ("kserve", {"/v2/health/ready": (200, {"ready": False})}, "", "ranker", "not ready"),
    ("kserve", {"/v2/health/ready": (200, HTML)}, "", "ranker", "web page"),
    ("kserve", {"/v2/health/ready": (200, {"ready": True})}, "", "ranker", "no model 'ranker'"),
    ("kserve", READY | {"/v2/models/ranker/ready": (200, {"ready": False})}, "", "ranker", "model 'ranker' is not"),
    ("triton", {"/v2/health/ready": (200, ""), "/v2/models/ranker/ready": (400, "")}, "", "ranker", "another name"),
    ("vllm", {"/health": (500, "")}, "", "", "HTTP 500"),
    ("vllm", {"/health": (200, HTML)}, "", "", "web page"),
    ("vllm", {"/health": (200, ""), "/v1/models": (200, {"data": [{"id": "b"}]})}, "", "a", "no model 'a'; it has b"),
    ("torchserve", {"/ping": (200, {"status": "Unhealthy"})}, "", "", "Unhealthy"),
    ("torchserve", {"/ping": (200, "pong")}, "", "", "no JSON object but 'pong'"),
    ("torchserve", {"/models/ranker": (200, [{"workers": []}])}, "/models/ranker", "", "none of 0 workers"),
    ("torchserve", {"/models/ranker": (200, {"code": 1})}, "/models/ranker", "", "no model status"),
    ("ollama", TAGS, "", "mistral", "no model 'mistral'; it has llama3:latest"),
    ("ollama", {"/api/tags": (200, {"models": None})}, "", "mistral", "no list of models"),
    ("ollama", {"/api/tags": (200, "[[[[")}, "", "mistral", "no JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "pages", "path", "model"), WELL)
def test_a_server_that_is_well_is_told_as_well(kind, pages, path, model):
    verdict = probe(kind, pages, path, model)
    assert (verdict.is_ok, verdict.error, verdict.http_status // 100) == (True, "", 2)
    assert verdict.duration_seconds > 0


@pytest.mark.parametrize(("kind", "pages", "path", "model", "words"), ILL)
def test_a_server_that_is_not_well_or_lies_is_told_with_the_reason(kind, pages, path, model, words):
    verdict = probe(kind, pages, path, model)
    assert not verdict.is_ok
    assert words in verdict.error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hangs, "no complete answer within 0.5 s"),
        (dribbles, "no complete answer within 0.5 s"),
        (redirects_for_ever, "redirects"),
        (streams(3_000_000), "1,000,000 bytes, the limit of a probe"),
    ],
)
def test_a_server_that_never_comes_to_an_end_is_given_up(answer, words):
    with target(answer) as running:
        verdict = ask(Question("plain", running.url, timeout_seconds=0.5 if answer in (hangs, dribbles) else 20))
    assert (verdict.is_ok, verdict.http_status) == (False, 0)
    assert words in verdict.error


def test_a_redirect_to_a_sign_in_page_is_not_well():
    def answer(handler: Handler) -> None:
        if handler.path == "/login":
            handler.send(HTML, Content_Type="text/html")
        else:
            handler.send("", status=302, Location="/login")

    with target(answer) as running:
        verdict = ask(Question("plain", running.url))
    assert "sign-in form" in verdict.error


def test_nobody_listening_is_told():
    assert "connection refused" in ask(Question("plain", "http://127.0.0.1:9/")).error


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/", "http://[::ffff:169.254.169.254]/"])
def test_the_metadata_services_of_clouds_are_never_asked(url):
    assert "not allowed" in ask(Question("plain", url)).error


def test_a_redirect_to_a_metadata_service_is_not_followed():
    with target(lambda handler: handler.send("", status=302, Location="http://169.254.169.254/")) as running:
        assert "not allowed" in ask(Question("plain", running.url)).error
