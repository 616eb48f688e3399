"""What the series of an answer are spread over: models, hosts, and the labels that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

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
