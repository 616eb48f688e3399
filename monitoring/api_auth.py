"""Who may ask the API: a signed-in user with the permission, the bearer of a token, or this very machine."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest

from monitoring.models.tokens import ApiToken, digest_of

SCHEME = "Bearer "
#: `last_used_at` is for people who look for forgotten tokens; a write a request would cost more than the answer.
NOTE_USE_EVERY = timedelta(minutes=1)
_CONFIGURES = frozenset(
    {"alerts.change_rule", "alerts.change_route", "alerts.change_escalationpolicy", "monitoring.change_target"}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: 401 when nobody is known, 403 when somebody may not."""

    status: int
    reason: str


def refusal(request: HttpRequest, permission: str, *, is_open_here: bool = True) -> Refusal | None:
    """Return why this caller may not ask what needs `permission` (such as "monitoring.view_host"), or None.

    A token that is given must be right: a wrong one is never excused by where it comes from. `is_open_here`: whether
    processes of this machine need neither token nor session where the settings allow it.
    """
    given = _given(request)
    if given is not None:
        return _refusal_of_token(given, permission)
    if request.user.is_authenticated:
        if request.user.has_perm(permission):
            return None
        return Refusal(403, f"{request.user.get_username()} may not ask this: the permission {permission} is missing.")
    if is_open_here and settings.ENV.api_open_on_loopback and is_local(request):
        return None
    return Refusal(401, "Sign in, or send Authorization: Bearer with an API token (Admin, API tokens).")


def caller_name(request: HttpRequest) -> str:
    """Return who asks, for records: the token's name, the user's, or the machine's; "" for a token nobody knows."""
    given = _given(request)
    if given is not None:
        if _is_metrics_token(given):
            return "ALPHAQ_METRICS_TOKEN"
        return next(iter(ApiToken.objects.filter(digest=digest_of(given)).values_list("name", flat=True)), "")
    return request.user.get_username() or "this machine"


def scope_of(permission: str) -> str:
    """Return the scope a token needs for what a user needs `permission` for; "" when no token opens it."""
    app, _, codename = permission.partition(".")
    if codename.startswith("view_"):
        return ApiToken.Scope.READ
    if permission == "monitoring.add_deploy":
        return ApiToken.Scope.DEPLOY
    if permission in _CONFIGURES:
        return ApiToken.Scope.CONFIG
    return ApiToken.Scope.ALERTS if app == "alerts" and codename.endswith(("_alert", "_silence")) else ""


def _given(request: HttpRequest) -> str | None:
    header = request.headers.get("Authorization", "")
    return header.removeprefix(SCHEME).strip() if header.startswith(SCHEME) else None


def _refusal_of_token(given: str, permission: str) -> Refusal | None:
    scope = scope_of(permission)
    if _is_metrics_token(given):
        if scope == ApiToken.Scope.READ:
            return None
        return Refusal(403, "ALPHAQ_METRICS_TOKEN opens reading only; make an API token in the admin for this.")
    is_valid = Q(expires_at=None) | Q(expires_at__gt=Now())
    token = ApiToken.objects.filter(is_valid, digest=digest_of(given), is_enabled=True).first()
    if token is None:
        return Refusal(401, "This token is not known, switched off or expired. Make one in the admin, API tokens.")
    if scope not in token.scopes:
        return Refusal(403, f"The token {token.name} may not do this; it needs the scope {scope or 'of nobody'}.")
    is_noted = Q(last_used_at__gt=Now() - NOTE_USE_EVERY)
    ApiToken.objects.filter(pk=token.pk).exclude(is_noted).update(last_used_at=Now())
    return None


def _is_metrics_token(given: str) -> bool:
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
