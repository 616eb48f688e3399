"""What the series of an answer are spread over: models, hosts, and the labels that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.models import Host, ModelVersion, ServedModel
from monitoring.promql import NAME, Labels

# Labels that people speak of, in the order in which a form offers them; every other one follows by name.
_KNOWN = {"model_name": ("model", "models"), "host": ("host", "hosts"), "gpu": ("GPU", "GPUs")}
_FIRST = ("model_name", "model_version", "stage", "host", "gpu", "instance", "job")
# A list to choose from; past this somebody types.
MOST_VALUES = 200


def scopes(labels: Sequence[Labels]) -> dict[str, list[str]]:
    """The labels of some series with their sorted values, those that people know first."""
    values: dict[str, set[str]] = {}
    for one in labels:
        for name, value in one:
            if name != NAME:
                values.setdefault(name, set()).add(value)
    order = sorted(values, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return {name: sorted(values[name])[:MOST_VALUES] for name in order}


def registered(found: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
    """The registry's objects among the values of labels, for limits that follow an object when it is renamed.

    {"model": [[id, name]], "host": [[id, name]], "version": [[id, model, version]], "stage": [[model id, model,
    stage]]}.
    """
    names, versions = found.get("model_name", ()), found.get("model_version", ())
    models = ServedModel.objects.filter(name__in=names).order_by("name")
    known = ModelVersion.objects.filter(model__name__in=names, version__in=versions).order_by("model__name", "version")
    rows = list(known.values_list("pk", "model__name", "version", "stage", "model_id")[:MOST_VALUES])
    stages = sorted({(model, stage, model_id) for _, model, _, stage, model_id in rows if stage})
    return {
        "model": [list(pair) for pair in models.values_list("pk", "name")],
        "host": [list(pair) for pair in Host.objects.filter(name__in=found.get("host", ())).values_list("pk", "name")],
        "version": [[pk, model, version] for pk, model, version, _, _ in rows],
        "stage": [[model_id, model, stage] for model, stage, model_id in stages],
    }


def reach(labels: Sequence[Labels]) -> str:
    """How many models, hosts and GPUs some series speak of: "3 models on 2 hosts"; empty when of none."""
    told = []
    for name, (one, many) in _KNOWN.items():
        # GPUs are numbered on each host: GPU 0 of two hosts is two.
        found = {(series.get("host") if name == "gpu" else "", series.get(name)) for series in labels}
        count = len([pair for pair in found if pair[1]])
        if count:
            told.append(f"{count} {one if count == 1 else many}")
    if len(told) > 1 and told[0].split()[1].startswith("model"):
        return f"{told[0]} on {' with '.join(told[1:])}"
    return " with ".join(told)
