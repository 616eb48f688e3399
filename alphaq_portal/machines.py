"""A shorter way through the middlewares for machines that speak to Alertmanager's API."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.urls import Resolver404, resolve
from django_prometheus.middleware import PrometheusAfterMiddleware

from alphaq_portal.profile_hooks import ProfileMiddleware

PREFIX = "/api/v2/"
# Few addresses are asked for all the time, and each is looked for among all of the portal's.
_match = lru_cache(maxsize=100)(resolve)


class MachineMiddleware:
    """Answers a request to Alertmanager's API that has no cookie without the middlewares that come after this one.

    They are for people: sessions, messages, forms, static files, security headers of pages. A Prometheus that resends
    what fires sends dozens of such requests a second. What counts, profiles and compresses is kept, the
    check of the host's name and the view's own look at who asks as well; the request is nobody's, as it would be with
    an empty session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._for_people = get_response
        self._counted = PrometheusAfterMiddleware(self._view)
        self._for_machines = GZipMiddleware(ProfileMiddleware(self._counted))

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; raises DisallowedHost, which Django answers with 400."""
        if not request.path_info.startswith(PREFIX) or request.META.get("HTTP_COOKIE"):
            return self._for_people(request)
        try:
            request.resolver_match = _match(request.path_info)
        except Resolver404:
            return self._for_people(request)
        request.get_host()
        request.user = AnonymousUser()
        return cast("HttpResponse", self._for_machines(request))  # no handler of ours is asynchronous

    def _view(self, request: HttpRequest) -> HttpResponse:
        match = request.resolver_match
        assert match is not None  # noqa: S101  (set above; for the type checker)
        self._counted.process_view(request, match.func, match.args, match.kwargs)
        try:
            response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        except Exception as error:
            self._counted.process_exception(request, error)
            raise
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Content-Length", str(len(response.content)))
        return response
