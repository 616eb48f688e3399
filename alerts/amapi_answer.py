"""The envelope of Alertmanager's API v2: who may ask, bodies in and out, and errors as upstream words them.

Source: Alertmanager 0.25, api/v2 (go-openapi): an error of the handler is a JSON string, one of the schema an object
with a code.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec

import orjson
import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.views.decorators.csrf import csrf_exempt

from alerts.engine.matching import MatcherError, parse_alertmanager_matcher
from monitoring.api_auth import refusal
from monitoring.promql import Matcher

log = structlog.get_logger("alphaq.api")
# A post of 50,000 alerts; Alertmanager has no limit, a process with a bounded memory needs one.
MAX_BODY_BYTES = 48 * 1024 * 1024
_SCHEMA, _SYNTAX = 602, 400

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


class ApiError(Exception):
    """What a client did wrong, with the status of the answer; `is_schema` for what does not fit openapi.yaml."""

    def __init__(self, status: int, reason: str, *, is_schema: bool = False) -> None:
        """Keep the status and the words."""
        super().__init__(reason)
        self.status, self.reason, self.is_schema = status, reason, is_schema


def answer(value: Any = None, status: int = 200) -> HttpResponse:
    """The value as JSON; without a value an empty body, as upstream's successful posts have it."""
    text = "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    response = HttpResponse(text.encode("utf-8", "replace"), status=status, content_type="application/json")
    response["Cache-Control"] = "no-store"
    response._csp_exempt = True  # type: ignore[attr-defined]  # nothing of it is ever shown as a page
    return response


def failure(error: ApiError) -> HttpResponse:
    """An error as upstream answers it."""
    code = _SCHEMA if error.status == 422 else error.status
    body = {"code": code, "message": error.reason} if error.is_schema else error.reason
    response = answer(body, error.status)
    if error.status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="alphaq"'
    # An answer to the one who asked, not a fault of the portal: Django would log each as a warning.
    response._has_been_logged = error.status < 500  # type: ignore[attr-defined]
    return response


def endpoint(**permissions: str) -> Callable[[View[P]], View[P]]:
    """Return a decorator that lets in who may: `permissions` by method, such as GET="alerts.view_alert"."""

    def decorate(view: View[P]) -> View[P]:
        @csrf_exempt
        @functools.wraps(view)
        def answered(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                _let_in(request, permissions)
                return view(request, *args, **kwargs)
            except ApiError as error:
                return failure(error)
            except DatabaseError:
                log.exception("api_failed", path=request.path)
                return failure(ApiError(500, "The database did not answer; see the portal's log."))

        return answered

    return decorate


def _let_in(request: HttpRequest, permissions: dict[str, str]) -> None:
    method = request.method or ""
    permission = permissions.get(method)
    if permission is None:
        raise ApiError(405, f"method {method} is not allowed, but [{','.join(permissions)}] are")
    refused = refusal(request, permission)
    if refused is not None:
        raise ApiError(refused.status, refused.reason)
    if method == "GET":
        return
    # A page of somebody else's could send a form here, to this machine or with the cookie of who is signed in; it
    # cannot send JSON, nor the token of a session.
    if method == "POST" and request.content_type != "application/json":
        raise ApiError(415, f'unsupported media type "{request.content_type}", only [application/json] are allowed')
    by_session = request.user.is_authenticated and "Authorization" not in request.headers
    if by_session and CsrfViewMiddleware(_nothing).process_view(request, _nothing, (), {}) is not None:
        raise ApiError(403, "Send the X-CSRFToken header along with the session, or use an API token.")


def _nothing(request: HttpRequest) -> HttpResponse:
    """Stand for the view in the check of the CSRF token: this one is exempt, and asks for it by itself."""
    return HttpResponse()


def body(request: HttpRequest) -> Any:
    """The decoded JSON of a request; raises ApiError."""
    # Not request.body: its limit is meant for forms, and a storm of alerts is larger.
    raw = request.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        raise ApiError(413, f"the body has more than {MAX_BODY_BYTES} bytes; post fewer alerts at once")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass  # it refuses a few texts that upstream takes, such as half a surrogate pair
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(_SYNTAX, f"parsing body body from {str(raw[:40])!r} failed: {error}") from error


def flag(request: HttpRequest, name: str, default: bool = True) -> bool:
    """A truth value of the query; raises ApiError."""
    text = request.GET.get(name, "")
    if text == "":
        return default
    words = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    if text.lower() not in words:
        raise ApiError(422, f"{name} in query must be of type boolean: {text!r}", is_schema=True)
    return words[text.lower()]


def matchers(request: HttpRequest) -> tuple[Matcher, ...]:
    """The matchers of `filter`, each a parameter of its own; raises ApiError."""
    try:
        return tuple(parse_alertmanager_matcher(text) for text in request.GET.getlist("filter"))
    except MatcherError as error:
        raise ApiError(400, f"bad matcher format: {error}") from error


def time_text(at: datetime) -> str:
    """A time as go-openapi writes it: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
