"""What people and programs read when an address leads nowhere, is not theirs, or broke: a page, or JSON for an API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from django.contrib import admin
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import TemplateDoesNotExist

from alphaq_portal.ui import chrome_context


@dataclass(frozen=True)
class Trouble:
    """One kind of error in the words of its page."""

    status: int
    icon: str
    title: str
    text: str
    error_type: str  # as Prometheus' API names it


NOT_FOUND = Trouble(
    404, "explore_off", "There is nothing at this address.",
    "What it led to may have been deleted or renamed, or the address is mistyped.", "not_found",
)  # fmt: skip
FORBIDDEN = Trouble(
    403, "lock", "This is not yours to see or do.",
    "Your groups do not give the right. Whoever manages users here can add you to Responder, Editor or Admin.",
    "forbidden",
)  # fmt: skip
BAD_REQUEST = Trouble(
    400, "report", "This request cannot be understood.", "Go back, load the page anew and try again.", "bad_data"
)
BROKEN = Trouble(
    500, "error", "The portal made a mistake.",
    "You did nothing wrong. What happened is in the log; try again, and if it stays, tell whoever runs the portal.",
    "internal",
)  # fmt: skip


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: in the portal's frame for staff, plain for strangers, JSON under /api/."""
    return _answer(request, NOT_FOUND)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, in the same three ways."""
    return _answer(request, FORBIDDEN)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: without the frame, which may be what cannot be drawn."""
    return _answer(request, BAD_REQUEST, is_framed=False)


def broken(request: HttpRequest) -> HttpResponse:
    """500: without database and frame, which may be what broke; it names the request's id in the log."""
    return _answer(request, BROKEN, is_framed=False)


def _answer(request: HttpRequest, trouble: Trouble, *, is_framed: bool = True) -> HttpResponse:
    if request.path.startswith("/api/") or not request.accepts("text/html"):
        return _json(request, trouble)
    context: dict[str, Any] = {"trouble": trouble, "request_id": _request_id()}
    try:
        if is_framed and admin.site.has_permission(request):
            framed = chrome_context(request, title=trouble.title) | context
            return render(request, "portal/error.html", framed, status=trouble.status)
    except DatabaseError:
        pass  # whether somebody is signed in cannot be known now; the plain page says what there is to say
    try:
        return render(None, "portal/error_plain.html", context, status=trouble.status)
    except (TemplateDoesNotExist, ValueError):  # ValueError: static files were not collected
        return HttpResponse(f"{trouble.title} {trouble.text}\n", content_type="text/plain", status=trouble.status)


def _json(request: HttpRequest, trouble: Trouble) -> JsonResponse:
    """As the API of that path tells errors: Alertmanager's for version 2, Prometheus' otherwise."""
    words = f"{trouble.title} {trouble.text}"
    if request.path.startswith("/api/v2/"):
        return JsonResponse({"code": trouble.status, "message": words}, status=trouble.status)
    return JsonResponse({"status": "error", "errorType": trouble.error_type, "error": words}, status=trouble.status)


def _request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
