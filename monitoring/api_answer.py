"""The envelope of Prometheus' HTTP API: success, warnings, errors with their kinds and status codes.

Shapes and codes: Prometheus 3, web/api/v1/api.go (Response, respondError, returnAPIError).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .api_auth import refusal
from .api_params import BadData, Params
from .promql import LimitError, ParseError, QueryError

log = structlog.get_logger("alphaq.api")

CODES = {
    "bad_data": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "method_not_allowed": 405,
    "conflict": 409, "execution": 422, "internal": 500, "timeout": 503,
}  # fmt: skip
TRUNCATED = "results truncated due to limit"

P = ParamSpec("P")
View = Callable[Concatenate[Params, P], HttpResponse]


def dumps(value: Any) -> str:
    """Return a value as compact JSON; stray bytes in texts become U+FFFD, as Go's encoder makes them."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def success(data: str, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> HttpResponse:
    """Return the answer around `data`, which is JSON already."""
    notes = "".join(
        f',"{name}":{dumps(list(texts))}' for name, texts in (("warnings", warnings), ("infos", infos)) if texts
    )
    return HttpResponse(f'{{"status":"success","data":{data}{notes}}}', content_type="application/json")


def listed(rows: Sequence[Any], limit: int, warnings: Sequence[str] = ()) -> HttpResponse:
    """Return rows as an answer, the first `limit` of them when it is not 0."""
    if limit and len(rows) > limit:
        return success(dumps(rows[:limit]), [*warnings, TRUNCATED])
    return success(dumps(rows), warnings)


def failure(kind: str, reason: str) -> HttpResponse:
    """Return an error with the status code of its kind."""
    body = dumps({"status": "error", "errorType": kind, "error": reason})
    response = HttpResponse(body, status=CODES[kind], content_type="application/json")
    if kind == "unauthorized":
        response["WWW-Authenticate"] = 'Bearer realm="alphaq"'
    # An answer to the one who asked, not a fault of the portal: Django would log each as a warning.
    response._has_been_logged = kind != "internal"  # type: ignore[attr-defined]
    return response


def failed_query(error: QueryError) -> HttpResponse:
    """Return the error of a question: what is no PromQL is bad_data, out of time is timeout, the rest execution."""
    if isinstance(error, ParseError):
        return failure("bad_data", f'invalid parameter "query": {error}')
    if isinstance(error, LimitError) and error.limit == "timeout_seconds":
        return failure("timeout", f"query timed out: {error}")
    return failure("execution", str(error))


def endpoint(
    permission: str, *methods: str
) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponse]]:
    """Return a decorator that lets in who may ask, hands over the parameters and answers every error as upstream does.

    Requests by POST change nothing, so they need no CSRF token: promtool and Grafana have none.
    """

    def decorate(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @csrf_exempt
        @never_cache
        @functools.wraps(view)
        def answer(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if request.method not in methods:
                return failure(
                    "method_not_allowed", f"{request.method} is not answered here; use {' or '.join(methods)}"
                )
            refused = refusal(request, permission)
            if refused is not None:
                return failure("unauthorized" if refused.status == 401 else "forbidden", refused.reason)
            try:
                return view(Params(request), *args, **kwargs)
            except BadData as error:
                return failure("bad_data", str(error))
            except QueryError as error:
                return failed_query(error)
            except DatabaseError:
                log.exception("api_failed", path=request.path)
                return failure("internal", "The database did not answer; see the portal's log.")

        return answer

    return decorate
