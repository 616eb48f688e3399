"""POST /api/v1/models/<name>/deploys: a pipeline tells that a version went live; GET lists what it and others told."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .api_answer import dumps, failure, log, success
from .api_auth import caller_name, refusal
from .deploys import Refused, read, record
from .models import Deploy, ServedModel

MAX_BODY_BYTES = 64_000
MOST_LISTED = 100


@csrf_exempt
@never_cache
def deploys(request: HttpRequest, name: str) -> HttpResponse:
    """Record a deploy (POST: 201, or 200 when it was told before) or list the newest (GET)."""
    if request.method not in ("GET", "POST"):
        return failure("method_not_allowed", f"{request.method} is not answered here; use GET or POST")
    is_read = request.method == "GET"
    permission = "monitoring.view_deploy" if is_read else "monitoring.add_deploy"
    # What changes the registry needs a name: being on this machine is not enough.
    refused = refusal(request, permission, is_open_here=is_read)
    if refused is not None:
        return failure("unauthorized" if refused.status == 401 else "forbidden", refused.reason)
    try:
        return _list(name) if is_read else _record(request, name)
    except Refused as error:
        return failure(error.kind, str(error))
    except DatabaseError:
        log.exception("deploy_failed", path=request.path)
        return failure("internal", "The database did not answer; see the portal's log.")


def _record(request: HttpRequest, name: str) -> HttpResponse:
    # A form of a foreign page can send text but not this type without asking first (CORS), so a session is safe here.
    if request.content_type != "application/json":
        raise Refused("bad_data", "send JSON, with Content-Type: application/json")
    try:
        body = request.body
        if len(body) > MAX_BODY_BYTES:
            raise Refused("bad_data", f"more than {MAX_BODY_BYTES:,} bytes")
        told = json.loads(body)
    except RequestDataTooBig as error:
        raise Refused("bad_data", f"more than {MAX_BODY_BYTES:,} bytes") from error
    except (ValueError, RecursionError) as error:
        raise Refused("bad_data", f"no JSON: {error}") from error
    deploy, is_new = record(name, read(told, timezone.now(), caller_name(request)))
    answer = success(dumps(_row(deploy)))
    answer.status_code = 201 if is_new else 200
    return answer


def _list(name: str) -> HttpResponse:
    model = ServedModel.objects.filter(name=name).first()
    if model is None:
        raise Refused("not_found", f"there is no model {name!r}")
    rows = Deploy.objects.filter(model=model).select_related("model", "version", "deployment")
    return success(dumps([_row(row) for row in rows[:MOST_LISTED]]))


def _row(deploy: Deploy) -> dict[str, Any]:
    return {
        "id": deploy.pk, "model": deploy.model.name, "version": deploy.version.version, "stage": deploy.stage,
        "deployment": deploy.deployment_id, "at": deploy.at.isoformat().replace("+00:00", "Z"), "by": deploy.by,
        "note": deploy.note, "url": deploy.url,
    }  # fmt: skip
