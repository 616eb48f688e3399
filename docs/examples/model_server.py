"""A model server that is watched: one file, the standard library and prometheus_client.

    python docs/examples/model_server.py --port 9100

POST /predict/<name> with {"inputs": [[1, 2], [3, 4]]} answers a score for each input; GET /metrics is scraped,
GET /health says that it lives. The model is arithmetic: what matters is where the calls to the metrics stand.
"""

from __future__ import annotations

import argparse
import json
import queue
import re
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Counter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # not needed once the folder is copied or installed

from monitoring.instrument import ROUTE_KEY, ModelMetrics, WsgiMetrics, metrics_wsgi, profile_memory

MAX_BATCH = 16
MAX_BODY_BYTES = 1_000_000
PREDICT = re.compile(r"/predict/(?P<name>[\w.-]+)$")

# A business metric: what the answers are worth, in the words of the trade. Few label values, all known beforehand.
RECOMMENDED = Counter("shop_recommendations_total", "Scores given, by what the shop does with them", ["verdict"])


@dataclass
class Job:
    """One request that waits for its batch."""

    inputs: list[list[float]]
    scores: Future[list[float]] = field(default_factory=Future)


class Model:
    """A linear model behind a queue: requests that arrive together are computed together."""

    def __init__(self, name: str, version: str, slowness_seconds: float) -> None:
        self.metrics = ModelMetrics(name, version)
        self.slowness_seconds = slowness_seconds
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        # Measured on held-out data when the version was trained; a server that gets feedback tells it again and again.
        self.metrics.set_accuracy(0.94, samples=2_000)
        threading.Thread(target=self._serve, daemon=True).start()

    def submit(self, inputs: list[list[float]]) -> list[float]:
        """Return the scores of some inputs, after their batch has been computed."""
        job = Job(inputs)
        self.jobs.put(job)
        self.metrics.update_queue(self.jobs.qsize())
        return job.scores.result(timeout=30)

    def _serve(self) -> None:
        while True:
            jobs = [self.jobs.get()]
            with self.metrics.time_batch():
                while len(jobs) < MAX_BATCH and not self.jobs.empty():
                    jobs.append(self.jobs.get())
                self.metrics.update_queue(self.jobs.qsize())
                self._answer(jobs)

    def _answer(self, jobs: list[Job]) -> None:
        inputs = [row for job in jobs for row in job.inputs]
        try:
            with self.metrics.time(batch_size=len(inputs)):
                scores = iter(self._infer(inputs))
        except Exception as error:  # noqa: BLE001  (whatever it was: those who wait must be told)
            for job in jobs:
                job.scores.set_exception(error)
            return
        for job in jobs:
            job.scores.set_result([next(scores) for _ in job.inputs])

    def _infer(self, inputs: list[list[float]]) -> list[float]:
        time.sleep(self.slowness_seconds)
        return [sum(row) / len(row) for row in inputs]


class Server:
    """The WSGI application."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Route a request; the route, never the path, becomes the label `endpoint`."""
        path = environ["PATH_INFO"]
        if path == "/metrics":
            environ[ROUTE_KEY] = "/metrics"
            return metrics_wsgi(environ, start_response)
        if path == "/health":
            environ[ROUTE_KEY] = "/health"
            return _json(start_response, "200 OK", {"status": "healthy"})
        if PREDICT.match(path) and environ["REQUEST_METHOD"] == "POST":
            environ[ROUTE_KEY] = "/predict/<name>"
            return self._predict(environ, start_response)
        return _json(start_response, "404 Not Found", {"error": f"nothing at {path}"})

    def _predict(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_BODY_BYTES:
            return _json(start_response, "413 Content Too Large", {"error": f"at most {MAX_BODY_BYTES} bytes"})
        try:
            inputs = [
                [float(number) for number in row] for row in json.loads(environ["wsgi.input"].read(length))["inputs"]
            ]
        except (ValueError, KeyError, TypeError):
            return _json(start_response, "400 Bad Request", {"error": 'send {"inputs": [[1, 2], [3, 4]]}'})
        if not inputs:
            return _json(start_response, "400 Bad Request", {"error": "send at least one input"})
        scores = self.model.submit(inputs)
        for score in scores:
            RECOMMENDED.labels("shown" if score > 0.5 else "hidden").inc()
        return _json(start_response, "200 OK", {"scores": scores})


def _json(start_response: Callable[..., Any], status: str, body: dict[str, Any]) -> list[bytes]:
    text = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: requests are counted."""


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description="A model server with metrics.")
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--model", default="ranker")
    parser.add_argument("--version", default="1")
    parser.add_argument("--slowness", type=float, default=0.02, help="seconds one inference takes")
    parser.add_argument("--profile-memory", action="store_true", help="print where the memory of each batch goes")
    options = parser.parse_args()
    model = Model(options.model, options.version, options.slowness)
    if options.profile_memory:
        model._infer = profile_memory("batch")(model._infer)  # type: ignore[method-assign]
    app = WsgiMetrics(Server(model))
    with make_server("127.0.0.1", options.port, app, server_class=_Threaded, handler_class=_Quiet) as server:
        print(f"serving {options.model} on http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
