"""Deploys: what a pipeline or the admin tells of versions that went live, checked and recorded.

Hides how a version, a stage and a place are named in a request, and what a deploy changes in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from monitoring import probes, targets
from monitoring.models import Deploy, Deployment, ModelVersion, ServedModel
from monitoring.models.registry import url_problem

FIELDS = ("version", "stage", "deployment", "at", "by", "note", "url")
#: Clocks of build machines differ; more than this ahead is a mistake.
FUTURE = timedelta(minutes=5)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_NOTE_CHARS = 2000
Stage = ModelVersion.Stage


class Refused(Exception):
    """A deploy that is not recorded; `kind` is bad_data, not_found or conflict, the text says what to change."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deploy as somebody tells of it; `deployment` is an id, a host, a URL or host:port, "" for none."""

    version: str
    at: datetime
    stage: str = ""
    deployment: str = ""
    by: str = ""
    note: str = ""
    url: str = ""


def read(body: object, now: datetime, caller: str) -> Wanted:
    """Return what a request tells; raises Refused with everything that is wrong with it."""
    if not isinstance(body, dict):
        raise Refused("bad_data", 'send a JSON object such as {"version": "4", "stage": "production"}')
    problems = [f"{name!r} is not known; known are {', '.join(FIELDS)}" for name in body.keys() - set(FIELDS)]
    texts = {name: _text(body, name, problems) for name in ("version", "stage", "by", "note", "url")}
    deployment = body.get("deployment", "")
    if isinstance(deployment, bool) or not isinstance(deployment, str | int | None):
        problems.append("deployment must be the id, host or URL of a deployment")
    if not texts["version"]:
        problems.append("version is missing: the name of the version that went live")
    if texts["stage"] and texts["stage"] not in Stage.values:
        problems.append(f"stage {texts['stage']!r} is none of {', '.join(Stage.values)}")
    if texts["url"] and (problem := url_problem(texts["url"])):
        problems.append(f"url: {problem}")
    at = _moment(body.get("at"), now, problems)
    if problems:
        raise Refused("bad_data", "; ".join(problems))
    place = "" if deployment is None else str(deployment).strip()
    return Wanted(**{**texts, "by": texts["by"] or caller}, at=at, deployment=place)


def _text(body: Mapping[str, Any], name: str, problems: list[str]) -> str:
    value = body.get(name)
    longest = {"note": MAX_NOTE_CHARS, "url": 2000, "by": 150, "version": 100}.get(name, 100)
    if name == "version" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        problems.append(f"{name} must be a text")
    elif len(value) > longest:
        problems.append(f"{name} is longer than {longest} characters")
    elif "\0" in value:
        problems.append(f"{name} holds a NUL character")
    else:
        return value.strip()
    return ""


def _moment(value: object, now: datetime, problems: list[str]) -> datetime:
    """Return the time of a deploy: ISO 8601 (UTC unless said otherwise), unix seconds, or now."""
    at: datetime | None = now if value is None else None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value, tz=UTC)
        elif isinstance(value, str):
            at = datetime.fromisoformat(value)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None:
        problems.append(f"at {str(value)[:50]!r} is no time; write 2026-03-04T12:00:00Z or unix seconds")
    elif not EARLIEST <= at <= now + FUTURE:
        problems.append(f"at {at.isoformat()} is {'in the future' if at > now else 'before the year 2000'}")
    return at or now


@transaction.atomic
def record(model_name: str, wanted: Wanted) -> tuple[Deploy, bool]:
    """Record a deploy and return it, and whether it is new; the same one told again is found again.

    A version nobody has registered yet is made. With a stage the version comes to it; with a deployment that one runs
    the version from now on, unless it has had a later deploy. Raises Refused.
    """
    model = ServedModel.objects.select_for_update().filter(name=model_name).first()
    if model is None:
        raise Refused("not_found", f"there is no model {model_name!r}; add it in the admin, Models")
    deployment = _deployment(model, wanted.deployment) if wanted.deployment else None
    version = _version(model, wanted)
    deploy, is_new = Deploy.objects.get_or_create(
        version=version, deployment=deployment, stage=wanted.stage, at=wanted.at,
        defaults={"model": model, "by": wanted.by, "note": wanted.note, "url": wanted.url, "source": Deploy.Source.API},
    )  # fmt: skip
    if is_new:
        _promote(version, wanted.stage, wanted.at)
        if deployment is not None:
            _move(deployment, version, wanted.at)
    return deploy, is_new


def _version(model: ServedModel, wanted: Wanted) -> ModelVersion:
    version = ModelVersion.objects.filter(model=model, version=wanted.version).first()
    if version is None:
        version = ModelVersion(model=model, version=wanted.version)
        try:
            version.full_clean()
        except ValidationError as error:
            raise Refused("bad_data", "; ".join(error.messages)) from error
        version.save()
    elif version.stage == Stage.ARCHIVED and not wanted.stage:
        raise Refused("conflict", f"{version} is archived; give the stage it comes back to")
    version.model = model
    return version


def _deployment(model: ServedModel, text: str) -> Deployment:
    """Return the deployment of a model that an id, a host, a URL or host:port names; raises Refused."""
    known = Deployment.objects.filter(version__model=model).select_related("version__model", "host")
    if text.isascii() and text.isdigit() and len(text) < 18:
        found = list(known.filter(pk=int(text)))
    else:
        is_named = Q(host__name=text) | Q(url=text) | Q(metrics_url=text)
        found = list(known.filter(is_named)) or [one for one in known if one.place == text]
    if not found:
        there = ", ".join(f"{one.pk} ({one.place})" for one in known[:10]) or "none"
        raise Refused("not_found", f"{model.name} has no deployment {text[:200]!r}; it has {there}")
    if len(found) > 1:
        ids = ", ".join(str(one.pk) for one in found)
        raise Refused("conflict", f"{text[:200]!r} fits several deployments; give the id of one: {ids}")
    return found[0]


def _promote(version: ModelVersion, stage: str, at: datetime) -> None:
    if stage and version.stage != stage:
        version.stage = stage
        if stage == Stage.PRODUCTION:
            version.promoted_at = at
        version.save(update_fields=["stage", "promoted_at"])


def _move(deployment: Deployment, version: ModelVersion, at: datetime) -> None:
    is_old_news = Deploy.objects.filter(deployment=deployment, at__gt=at).exists()
    if is_old_news or deployment.version_id == version.pk:
        return
    deployment.version = version
    deployment.save(update_fields=["version"])
    targets.follow(deployment)
    probes.follow(deployment)


def note(
    version: ModelVersion, at: datetime, by: str, *, deployment: Deployment | None = None, stage: str = ""
) -> None:
    """Record what the admin has just saved: a version on a deployment, or one that came to a stage."""
    Deploy.objects.get_or_create(
        version=version, deployment=deployment, stage=stage, at=at,
        defaults={"model_id": version.model_id, "by": by, "source": Deploy.Source.ADMIN},
    )  # fmt: skip
