"""The Content-Security-Policy header, on pages only."""

from __future__ import annotations

from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponseBase


class PageCspMiddleware(CSPMiddleware):
    """django-csp, which makes out the policy of answers that are exempt from it as well; here they pass at once."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the header, unless the response is marked `_csp_exempt`."""
        return response if getattr(response, "_csp_exempt", False) else super().process_response(request, response)
