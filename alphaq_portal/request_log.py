"""One `request_processed` line a request, with an id that other lines of the same request carry."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

log = structlog.get_logger("alphaq.request")
_LOGGER = logging.getLogger("alphaq.request")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What proxies and clients send as X-Request-ID: UUIDs, hex, base64url; nothing that could pass for another field.
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{7,127}")


def request_id_for(given: str) -> str:
    """Return the caller's id when it is a sane one (8 to 128 letters, digits, . _ - + =), else a new one."""
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class RequestLogMiddleware:
    """Gives each request an id and writes one `request_processed` line with its outcome.

    A response whose view marked it `is_routine` leaves its line at the level DEBUG: machines that say the same thing
    many times a second would bury what people look for.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; the line is written whatever the outcome."""
        if request.method not in METHODS:
            # Before anything counts it: a made-up method would become a label value.
            return HttpResponse("This method is not known here.\n", status=501, content_type="text/plain")
        started = time.perf_counter()
        request_id = request_id_for(request.headers.get("X-Request-ID", ""))
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            response = self.get_response(request)
            level = logging.DEBUG if getattr(response, "is_routine", False) else logging.INFO
            if _LOGGER.isEnabledFor(level):
                self._write(request, response.status_code, time.perf_counter() - started, level)
            response["X-Request-ID"] = request_id
            return response
        finally:
            structlog.contextvars.unbind_contextvars("request_id")

    def _write(self, request: HttpRequest, status: int, duration: float, level: int) -> None:
        match = request.resolver_match
        user = getattr(request, "user", None)
        log.log(
            level,
            "request_processed",
            method=request.method,
            path=request.path,
            route=match.route if match else None,
            status=status,
            duration=round(duration, 6),
            user_id=getattr(user, "pk", None),
        )
