"""What happened meanwhile: when alerts fired, from the ALERTS series, and when versions were deployed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring import query
from monitoring.charts import Span
from monitoring.dashboards.choices import label_of
from monitoring.dashboards.macros import ALL, Values, fill
from monitoring.models import Deploy
from monitoring.promql import NAME, Labels, Matcher, parse_matchers

#: More bands than this colour the whole page.
MAX_BANDS = 200
MAX_DEPLOYS = 50
_OWN = frozenset({NAME, "alertname", "alertstate", "severity"})


@dataclass(frozen=True)
class Scope:
    """Which alerts and deploys concern a page: matchers of alerts, and the models whose deploys count (None: all)."""

    matchers: tuple[Matcher, ...] = ()
    models: tuple[str, ...] | None = None


def scope_of(alert_matchers: str, values: Values) -> Scope:
    """Return the scope of a page: its own matchers, and the hosts or models its reader has chosen.

    Raises ParseError when the matchers are none.
    """
    matchers = [*parse_matchers(fill(alert_matchers, values))]
    models: tuple[str, ...] | None = None
    for variable in values.variables:
        label, chosen = label_of(variable), values.of(variable.name)
        if not label or not chosen or chosen == (ALL,):
            continue
        matchers.append(_one_of(label, chosen))
        models = chosen if label == "model_name" else models
    return Scope(tuple(matchers), models)


def _one_of(label: str, values: Sequence[str]) -> Matcher:
    if len(values) == 1:
        return Matcher("=", label, values[0])
    # Built as data, not as text: each value stands for itself, whatever characters it holds.
    escaped = ["".join(f"\\{char}" if char in "\\^$*+?.()|[]{}" else char for char in value) for value in values]
    return Matcher("=~", label, "|".join(escaped))


def bands(span: Span, scope: Scope) -> list[dict[str, Any]]:
    """Return when alerts fired: [{"from", "to" (unix seconds), "severity", "label", "labels"}], the newest first.

    "labels" are the alert's without name, state and severity: a chart shows those that fit one of its series.
    Raises QueryError.
    """
    firing = (Matcher("=", NAME, "ALERTS"), Matcher("=", "alertstate", "firing"), *scope.matchers)
    expr = "{" + ",".join(map(str, firing)) + "}"
    answer = query.range_(expr, span.start, span.end, span.step_seconds)
    found = []
    for labels, present in zip(answer.labels, answer.present, strict=True):
        for first, last in runs(present):
            found.append(_band(labels, int(answer.ts[first]) // 1000, int(answer.ts[last]) // 1000))
    return sorted(found, key=lambda band: -band["to"])[:MAX_BANDS]


def _band(labels: Labels, first: int, last: int) -> dict[str, Any]:
    return {
        "from": first, "to": last, "severity": labels.get("severity"), "label": labels.get("alertname"),
        "labels": labels.without(_OWN).as_dict(),
    }  # fmt: skip


def deploys(span: Span, scope: Scope) -> list[dict[str, Any]]:
    """Return the deploys of a span: [{"at" (unix seconds), "label", "labels"}], oldest first."""
    rows = Deploy.objects.select_related("model", "version__model", "deployment__host").order_by("-at")
    rows = rows.filter(at__gte=span.start, at__lte=span.end)
    if scope.models is not None:
        rows = rows.filter(model__name__in=scope.models)
    found = [
        {"at": round(row.at.timestamp()), "label": str(row), "labels": {"model_name": row.model.name}}
        for row in rows[:MAX_DEPLOYS]
    ]
    return found[::-1]


def runs(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, last) positions of each unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], present.astype(np.int8), [0]))))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
