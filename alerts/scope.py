"""Limits for objects of the registry: the matchers that say which series are the model's, the version's, the host's.

Hides which labels carry them: model_name and model_version as alphaq's instrumentation and the registry's targets set
them, host as the hosts' own samples have it, gpu and uuid as the GPU collector writes them.
"""

from __future__ import annotations

import re

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet

from alerts.models import Rule, Threshold
from monitoring.models import ModelVersion
from monitoring.promql import Matcher

# What a reader of rows should fetch along with them, so that no row costs a query of its own.
RELATED = ("model", "version__model", "host")


def matchers_of(row: Threshold) -> tuple[Matcher, ...] | None:
    """Return the matchers of the row's objects; None when there is no such series now, as no version at its stage.

    A row of the past may be for an object that is gone by now: None too.
    """
    try:
        return _matchers(row)
    except ObjectDoesNotExist:
        return None


def _matchers(row: Threshold) -> tuple[Matcher, ...] | None:
    found: list[Matcher] = []
    if row.version_id is not None and row.version is not None:
        found += [Matcher("=", "model_name", row.version.model.name), _version(row.version.version)]
    elif row.model_id is not None and row.model is not None:
        found.append(Matcher("=", "model_name", row.model.name))
        if row.stage:
            versions = _versions_at(row.model_id, row.stage)
            if not versions:
                return None
            found.append(_one_of("model_version", versions))
    if row.host_id is not None and row.host is not None:
        found.append(Matcher("=", "host", row.host.name))
    if row.gpu:
        found.append(Matcher("=", "uuid" if row.gpu.startswith(("GPU-", "MIG-")) else "gpu", row.gpu))
    return tuple(found)


def state_of_registry(rules: QuerySet[Rule]) -> tuple[object, ...]:
    """Return what changes whenever the objects that the limits of rules are for change; () when there are none."""
    rows = Threshold.objects.filter(rule__in=rules)
    scoped = rows.exclude(model=None, version=None, host=None)
    names = scoped.order_by("pk").values_list(
        "pk", "model__name", "version__model__name", "version__version", "host__name"
    )
    staged = rows.exclude(stage="").values("model_id")
    versions = ModelVersion.objects.filter(model_id__in=staged).order_by("pk").values_list("pk", "stage", "version")
    return (*names, *(versions if staged else ()))


def _versions_at(model_id: int, stage: str) -> list[str]:
    return sorted(ModelVersion.objects.filter(model_id=model_id, stage=stage).values_list("version", flat=True))


def _version(name: str) -> Matcher:
    return Matcher("=", "model_version", name)


def _one_of(label: str, values: list[str]) -> Matcher:
    if len(values) == 1:
        return Matcher("=", label, values[0])
    return Matcher("=~", label, "|".join(re.escape(value) for value in values))
