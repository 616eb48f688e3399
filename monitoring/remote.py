"""A Prometheus-compatible server in place of the store: asked and written to behind the same calls.

Hides HTTP, protobuf and JSON. Samples for rules come by remote read, which keeps stale markers, so that a rule answers
as it does over the store; questions of pages are answered by the server itself.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import numpy as np

from monitoring import remote_wire
from monitoring.promql import Block, EvaluationError, Labels, Matcher, QueryError, Result
from monitoring.promql.labels import NAME
from monitoring.promql.values import RawSeries

AGENT = "alphaq-portal"
WRITE_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
READ_HEADERS = {**WRITE_HEADERS, "X-Prometheus-Remote-Read-Version": "0.1.0", "Accept-Encoding": "snappy"}
FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
ERROR_CHARS = 300


class BackendAway(QueryError):
    """The server that holds the samples does not answer as it should; the text says how."""


class Refused(Exception):
    """The server answered that it will never take these samples; trying again is no use."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class Remote:
    """The server at one address. A connection a request: requests are rare and large, and threads share this object."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        self._parts, self._timeout = parts, timeout_seconds
        self._path = parts.path.rstrip("/")
        self.shown_url = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{self._path}"
        self._headers = {"User-Agent": AGENT}
        if parts.username:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()

    def __repr__(self) -> str:
        return f"Remote({self.shown_url!r})"

    # -- samples -------------------------------------------------------------------------------------------------------

    def write(self, body: bytes) -> None:
        """Send a write request (remote_wire.write_request); raises BackendAway to try again, Refused never to."""
        answer = self._ask("POST", "/api/v1/write", body, WRITE_HEADERS)
        if answer.status // 100 == 2:
            return
        text = f"HTTP {answer.status}: {_text(answer.body)}"
        # Remote write 1.0: 5xx and 429 are tried again, any other 4xx is not.
        if answer.status // 100 == 4 and answer.status not in (401, 403, 404, 408, 429):
            raise Refused(text)
        raise BackendAway(f"{self.shown_url} does not take samples: {text}")

    def select(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return all series that satisfy the matchers, stale markers included (promql.Select); raises BackendAway."""
        body = remote_wire.read_request(matchers, start_ms, end_ms)
        answer = self._ask("POST", "/api/v1/read", body, READ_HEADERS)
        if answer.status != 200:
            raise _error(self.shown_url, answer)
        try:
            found = remote_wire.read_response(answer.body)
        except remote_wire.BadMessage as error:
            raise BackendAway(f"{self.shown_url}: {error}") from error
        return _blocks(found)

    # -- questions -----------------------------------------------------------------------------------------------------

    def instant(self, expr: str, at_ms: int) -> Result:
        """Return the server's answer to an expression at one time; raises EvaluationError or BackendAway."""
        return instant_result(self._data("/api/v1/query", {"query": expr, "time": f"{at_ms / 1000:.3f}"}), at_ms)

    def range_(self, expr: str, start_ms: int, end_ms: int, step_ms: int) -> Result:
        """Return the server's answer to an expression over a range; raises EvaluationError or BackendAway."""
        times = {"start": f"{start_ms / 1000:.3f}", "end": f"{end_ms / 1000:.3f}", "step": f"{step_ms / 1000:.3f}"}
        data = self._data("/api/v1/query_range", {"query": expr, **times})
        return range_result(data, np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64))

    def series(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Labels]:
        """Return the sorted label sets of the matching series."""
        rows = self._data("/api/v1/series", _asked(matchers, start_ms, end_ms))
        return sorted(Labels.of(row) for row in rows)

    def label_names(
        self, matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None
    ) -> list[str]:
        """Return the sorted label names of the matching series."""
        return sorted(self._data("/api/v1/labels", _asked(matchers, start_ms, end_ms)))

    def label_values(
        self, name: str, matchers: Sequence[Matcher] = (), start_ms: int | None = None, end_ms: int | None = None
    ) -> list[str]:
        """Return the sorted values of a label among the matching series."""
        if not (name.isascii() and name.isidentifier()):
            return []  # the server's address has no room for other names
        path = f"/api/v1/label/{name}/values?{urlencode(_asked(matchers, start_ms, end_ms), doseq=True)}"
        return sorted(self._read(self._ask("GET", path)))

    def metric_names(self) -> list[str]:
        """Return the sorted names of all metrics."""
        return self.label_values(NAME)

    def problem(self) -> str:
        """Return what is wrong with the server, "" when it answers."""
        try:
            self.instant("vector(1)", 0)
        except QueryError as error:
            return str(error)
        return ""

    # -- the wire ------------------------------------------------------------------------------------------------------

    def _data(self, path: str, form: Mapping[str, Any]) -> Any:
        return self._read(self._ask("POST", path, urlencode(form, doseq=True).encode(), FORM_HEADERS))

    def _read(self, answer: _Answer) -> Any:
        if answer.status != 200:
            raise _error(self.shown_url, answer)
        try:
            return json.loads(answer.body)["data"]
        except (ValueError, LookupError, TypeError) as error:
            raise BackendAway(f"{self.shown_url} does not speak Prometheus' API: {_text(answer.body)}") from error

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> _Answer:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        try:
            connection.request(method, self._path + path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
            return _Answer(response.status, response.read())
        except TimeoutError as error:
            raise BackendAway(f"{self.shown_url} has not answered within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            words = getattr(error, "strerror", None) or type(error).__name__
            raise BackendAway(f"{self.shown_url} cannot be reached: {words}") from error
        finally:
            connection.close()


def _error(url: str, answer: _Answer) -> QueryError:
    """Return what an answer other than 200 means: the question was wrong, or the server is."""
    try:
        found = json.loads(answer.body)
        text, kind = str(found["error"]), str(found.get("errorType", ""))
    except (ValueError, LookupError, TypeError):
        return BackendAway(f"{url} answered HTTP {answer.status}: {_text(answer.body)}")
    if answer.status in (400, 422) or kind in ("bad_data", "execution"):
        return EvaluationError(text)
    return BackendAway(f"{url} answered HTTP {answer.status}: {text[:ERROR_CHARS]}")


def _text(body: bytes) -> str:
    return body[:ERROR_CHARS].decode("utf-8", "replace").strip()


def _asked(matchers: Sequence[Matcher], start_ms: int | None, end_ms: int | None) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if matchers:
        asked["match[]"] = "{" + ",".join(str(matcher) for matcher in matchers) + "}"
    if start_ms is not None:
        asked["start"] = f"{start_ms / 1000:.3f}"
    if end_ms is not None:
        asked["end"] = f"{end_ms / 1000:.3f}"
    return asked


def _blocks(found: Sequence[tuple[Labels, Any, Any]]) -> list[Block]:
    """Return blocks of the series that share their times."""
    groups: dict[bytes, list[tuple[Labels, Any, Any]]] = {}
    for labels, ts, values in found:
        if len(ts):
            groups.setdefault(ts.tobytes(), []).append((labels, ts, values))
    return [
        Block(tuple([labels for labels, _, _ in group]), group[0][1], np.stack([values for _, _, values in group]))
        for group in groups.values()
    ]


def instant_result(data: Any, at_ms: int) -> Result:
    """Return the "data" of an instant query as a result."""
    kind, rows = data["resultType"], data["result"]
    at = np.array([at_ms], np.int64)
    nothing = np.zeros(0)
    if kind == "scalar":
        return Result("scalar", [], at, np.array([float(rows[1])]), np.ones(1, bool))
    if kind == "string":
        return Result("string", [], at, nothing, np.zeros(0, bool), string=str(rows[1]))
    labels = [Labels.of(row["metric"]) for row in rows]
    if kind == "matrix":
        raw = [RawSeries(each, *_points(row.get("values", []))) for each, row in zip(labels, rows, strict=True)]
        return Result("matrix", labels, at, nothing, np.zeros(0, bool), raw=raw)
    values = np.array([float(row["value"][1]) for row in rows], np.float64)
    return Result("vector", labels, at, values, np.ones(len(values), bool))


def range_result(data: Any, ts: Any) -> Result:
    """Return the "data" of a range query as a result at the steps ``ts``."""
    rows = data["result"]
    values, present = np.zeros((len(rows), len(ts))), np.zeros((len(rows), len(ts)), bool)
    for line, row in enumerate(rows):
        at, found = _points(row.get("values", []))
        places = np.searchsorted(ts, at)
        values[line, places], present[line, places] = found, True
    return Result("matrix", [Labels.of(row["metric"]) for row in rows], ts, values, present)


def _points(pairs: Sequence[tuple[float, str]]) -> tuple[Any, Any]:
    at = np.array([round(at * 1000) for at, _ in pairs], np.int64)
    return at, np.array([float(value) for _, value in pairs], np.float64)
