"""Alertmanager's API v2: what amtool, Prometheus and Grafana ask of an Alertmanager, answered by the portal.

Source of shapes, codes and texts: Alertmanager 0.25, api/v2/openapi.yaml and api.go (ALERTING.md AP).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from alerts import amfile, amingest, amread, amsilences, tasks
from alerts.amapi_answer import ApiError, answer, body, endpoint, flag, matchers, time_text
from alerts.amread import Shown, Wanted
from alerts.engine.matching import MatcherError, checked_matcher
from alerts.engine.silences import Silence as SilenceValue
from alerts.models import Silence
from alerts.policy import silence_value
from monitoring.promql import Matcher

#: The release whose API and semantics these are; amtool compares it with its own.
SPOKEN_VERSION = "0.25.0"
_STARTED = timezone.now()


# -- alerts ------------------------------------------------------------------------------------------------------------


@endpoint(GET="alerts.view_alert", POST="alerts.add_alert")
def alerts(request: HttpRequest) -> HttpResponse:
    """Answer what fires, or take alerts in."""
    return _get_alerts(request) if request.method == "GET" else _post_alerts(request)


def _get_alerts(request: HttpRequest) -> HttpResponse:
    return answer([_alert(one) for one in amread.alerts(_wanted(request), timezone.now())])


def _post_alerts(request: HttpRequest) -> HttpResponse:
    items = body(request)
    if not isinstance(items, list):
        raise ApiError(400, f"parsing alerts body failed: a list of alerts is expected, not {type(items).__name__}")
    try:
        outcome = amingest.ingest(items, timezone.now())
    except amingest.MissingError as error:
        raise _missing(str(error)) from error
    except amingest.SchemaError as error:
        raise _misfit(str(error)) from error
    if outcome.is_routed:
        tasks.flush_soon()
    if outcome.problems:
        raise ApiError(400, "; ".join(outcome.problems))
    response = answer()
    response.is_routine = not outcome.is_routed  # type: ignore[attr-defined]  # a resend, for the log of requests
    return response


@endpoint(GET="alerts.view_alert")
def groups(request: HttpRequest) -> HttpResponse:
    """Answer the groups of what fires, each with the receiver it is told to."""
    return answer([
        {"alerts": [_alert(one) for one in shown], "labels": group.labels, "receiver": {"name": receiver}}
        for group, receiver, shown in amread.groups(_wanted(request), timezone.now())
    ])  # fmt: skip


def _wanted(request: HttpRequest) -> Wanted:
    receiver = request.GET.get("receiver", "")
    try:
        name = checked_matcher("=~", "receiver", receiver) if receiver else None
    except MatcherError as error:
        raise ApiError(400, f"failed to parse receiver param: {error}") from error
    flag(request, "unprocessed")  # every alert is processed in the transaction that stored it
    return Wanted(
        matchers(request), name, flag(request, "active"), flag(request, "silenced"), flag(request, "inhibited")
    )


def _alert(one: Shown) -> dict[str, Any]:
    row = one.alert
    return {
        "annotations": row.annotations,
        "endsAt": time_text(one.ends_at),
        "fingerprint": row.fingerprint,
        "receivers": [{"name": name} for name in one.receivers],
        "startsAt": time_text(row.fired_at or row.active_since),
        "status": {"inhibitedBy": [*one.inhibited_by], "silencedBy": [*one.silenced_by], "state": one.state},
        "updatedAt": time_text(row.updated_at),
        "generatorURL": row.generator_url,
        "labels": row.labels,
    }


# -- silences ----------------------------------------------------------------------------------------------------------


@endpoint(GET="alerts.view_silence", POST="alerts.add_silence")
def silences(request: HttpRequest) -> HttpResponse:
    """Answer the silences, or make or change one."""
    at = timezone.now()
    if request.method == "GET":
        return answer([_silence(row, at) for row in amsilences.listed(matchers(request), at)])
    author = request.user.pk if request.user.is_authenticated else None
    try:
        made = amsilences.keep(_posted_silence(body(request)), at, author)
    except amsilences.SilenceNotFoundError as error:
        raise ApiError(404, str(error)) from error
    except amsilences.InvalidSilence as error:
        raise ApiError(400, f"invalid silence: {error}") from error
    return answer({"silenceID": str(made)})


@endpoint(GET="alerts.view_silence", DELETE="alerts.change_silence")
def silence(request: HttpRequest, silence_id: str) -> HttpResponse:
    """Answer one silence, or end it."""
    try:
        id_ = uuid.UUID(silence_id)
    except ValueError as error:
        raise ApiError(422, f'silenceID in path must be of type uuid: "{silence_id}"', is_schema=True) from error
    at = timezone.now()
    try:
        if request.method == "GET":
            return answer(_silence(amsilences.find(id_), at))
        amsilences.expire(id_, at)
    except amsilences.SilenceNotFoundError as error:
        raise ApiError(404, str(error)) from error
    return answer()


def _silence(row: Silence, at: datetime) -> dict[str, Any]:
    value: SilenceValue = silence_value(row)
    return {
        "id": value.id,
        "status": {"state": value.state(at)},
        "updatedAt": time_text(row.updated_at),
        "comment": row.comment,
        "createdBy": row.created_by,
        "endsAt": time_text(row.ends_at),
        "matchers": [_matcher(one) for one in value.matchers],
        "startsAt": time_text(row.starts_at),
    }


def _matcher(one: Matcher) -> dict[str, Any]:
    return {
        "isEqual": one.op in ("=", "=~"), "isRegex": one.op in ("=~", "!~"), "name": one.name, "value": one.value,
    }  # fmt: skip


def _posted_silence(raw: Any) -> amsilences.PostedSilence:
    if not isinstance(raw, dict):
        raise ApiError(400, "parsing silence body failed: an object is expected")
    for name in ("matchers", "startsAt", "endsAt", "createdBy", "comment"):
        if raw.get(name) is None:
            raise _missing(f"{name} in body is required")
    if not isinstance(raw["matchers"], list):
        raise _misfit("matchers in body must be a list")
    if not raw["matchers"]:
        raise _missing("matchers in body should have at least 1 items")
    if not isinstance(raw["createdBy"], str) or not isinstance(raw["comment"], str):
        raise _misfit("createdBy and comment in body must be of type string")
    try:
        id_ = uuid.UUID(raw["id"]) if raw.get("id") else None
    except (ValueError, AttributeError, TypeError) as error:
        raise ApiError(404, f"silence {raw['id']} not found") from error
    return amsilences.PostedSilence(
        tuple(_posted_matcher(one) for one in raw["matchers"]), _time(raw, "startsAt"), _time(raw, "endsAt"),
        raw["createdBy"], raw["comment"], id_,
    )  # fmt: skip


def _posted_matcher(raw: Any) -> Matcher:
    kinds = {"name": str, "value": str, "isRegex": bool}
    if not isinstance(raw, Mapping):
        raise _misfit("each of matchers in body must be an object")
    if absent := [name for name in kinds if raw.get(name) is None]:
        raise _missing(f"{' and '.join(absent)} of each of matchers in body is required")
    is_equal = True if raw.get("isEqual") is None else raw["isEqual"]
    if not all(isinstance(raw[name], kind) for name, kind in kinds.items()) or not isinstance(is_equal, bool):
        raise _misfit("matchers in body need name and value of type string and isRegex of type boolean")
    try:
        return amsilences.matcher(raw["name"], raw["value"], is_regex=raw["isRegex"], is_equal=is_equal)
    except MatcherError as error:
        raise ApiError(400, f"invalid silence: invalid label matcher: {error}") from error


def _time(raw: Mapping[str, Any], name: str) -> datetime:
    try:
        found = datetime.fromisoformat(raw[name].upper())
    except (ValueError, AttributeError) as error:
        raise _misfit(f"{name} in body must be of type date-time: {raw[name]!r}") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _missing(words: str) -> ApiError:
    return ApiError(422, f"validation failure list:\n{words}", is_schema=True)


def _misfit(words: str) -> ApiError:
    """A value of the wrong type, which upstream's decoder refuses before its schema is asked."""
    return ApiError(400, f"parsing body failed: {words}", is_schema=True)


# -- about the portal --------------------------------------------------------------------------------------------------


@endpoint(GET="alerts.view_receiver")
def receivers(request: HttpRequest) -> HttpResponse:
    """Answer the names of the receivers."""
    return answer([{"name": row.name} for row in amfile.told_receivers()])


@endpoint(GET="alerts.view_route")
def status(request: HttpRequest) -> HttpResponse:
    """Answer the configuration with its secrets hidden, and whose API this is."""
    unknown = {"branch": "", "buildDate": "", "buildUser": "alphaq-portal", "goVersion": "", "revision": ""}
    return answer(
        {
            "cluster": {"peers": [], "status": "disabled"},  # any number of workers share one database instead
            "config": {"original": amfile.write()},
            "uptime": time_text(_STARTED),
            "versionInfo": {**unknown, "version": SPOKEN_VERSION},
        }
    )


@never_cache
@require_safe
def healthy(request: HttpRequest) -> HttpResponse:
    """Answer that the process serves."""
    return HttpResponse("OK", content_type="text/plain")


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer whether alerts can be taken in: 503 while the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("The database does not answer.", status=503, content_type="text/plain")
    return HttpResponse("OK", content_type="text/plain")


app_name = "alertmanager_api"
urlpatterns = [
    path("alerts", alerts, name="alerts"),
    path("alerts/groups", groups, name="groups"),
    path("silences", silences, name="silences"),
    path("silence/<str:silence_id>", silence, name="silence"),
    path("receivers", receivers, name="receivers"),
    path("status", status, name="status"),
]
