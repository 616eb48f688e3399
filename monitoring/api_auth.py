"""Who may ask the API: a signed-in user with the permission, a bearer of the token, or this very machine."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest

SCHEME = "Bearer "


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: 401 when nobody is known, 403 when somebody may not."""

    status: int
    reason: str


def refusal(request: HttpRequest, permission: str) -> Refusal | None:
    """Return why this caller may not ask what needs `permission`, or None.

    A token that is given must be right: a wrong one is never excused by where it comes from.
    """
    given = request.headers.get("Authorization", "")
    if given.startswith(SCHEME):
        if _is_token(given.removeprefix(SCHEME).strip()):
            return None
        return Refusal(401, "This token is not known. Send the one of ALPHAQ_METRICS_TOKEN.")
    if request.user.is_authenticated:
        if request.user.has_perm(permission):
            return None
        return Refusal(403, f"{request.user.get_username()} may not ask this: the permission {permission} is missing.")
    if settings.ENV.api_open_on_loopback and is_local(request):
        return None
    return Refusal(401, "Sign in, or send Authorization: Bearer with the token of ALPHAQ_METRICS_TOKEN.")


def _is_token(given: str) -> bool:
    token = settings.ENV.metrics_token
    return bool(token) and hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))


def is_local(request: HttpRequest) -> bool:
    """Whether the request comes from a process of this machine and was not passed on by a proxy on it."""
    try:
        address = ipaddress.ip_address(str(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        return False
    # A reverse proxy on this machine makes everybody look local: its headers give it away.
    is_forwarded = any(name in request.headers for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"))
    return address.is_loopback and not is_forwarded
