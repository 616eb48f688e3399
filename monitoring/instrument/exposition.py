"""The text that is scraped, of one process or of all that share PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from .web import Environ, Receive, Scope, Send

_collect_all: Any = MultiProcessCollector  # untyped in prometheus_client


def exposition(accept: str = "", registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """Return (body, content type) of all metrics, in OpenMetrics when the Accept header asks for it.

    With PROMETHEUS_MULTIPROC_DIR the body holds what all processes have counted, and `registry` is not asked.
    """
    shared = CollectorRegistry()
    try:
        _collect_all(shared)
    except ValueError:  # there is no such folder: this process is alone
        shared = registry
    encode, content_type = choose_encoder(accept)
    return encode(shared), content_type


def metrics_wsgi(environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer a scrape, as a WSGI application."""
    body, content_type = exposition(environ.get("HTTP_ACCEPT", ""))
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


async def metrics_asgi(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a scrape, as an ASGI application."""
    accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
    body, content_type = exposition(accept)
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
