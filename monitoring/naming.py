"""Lint of metrics as a target exposes them: names, units, suffixes, labels that grow without end. Pure.

Sources of the rules: Prometheus, practices/naming and practices/instrumentation; promtool check metrics (promlint).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .collect.openmetrics import Malformed, Oversized, read_line
from .promql.metric_names import EXPLANATIONS, Finding, Level, camel_case, lint_name

__all__ = [
    "EXPLANATIONS", "Family", "Finding", "Level", "families_of", "lint_family", "lint_name", "lint_text",
    "read_families",
]  # fmt: skip

#: More values of one label of one metric in one scrape than this is a warning: 10 metrics × 20 targets × 100 = 20,000.
MAX_LABEL_VALUES = 100
_SERIES_SUFFIXES = ("_bucket", "_sum", "_count", "_created")
_ID_LABELS = re.compile(
    r"(user|customer|account|session|request|trace|span|order|message|job|task)_?(id|uuid)|uuid|guid|email|e_mail"
    r"|ip_address|client_ip|remote_addr|user_agent|query_string|timestamp"
)
_ID_VALUE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUID
    r"|[0-9a-fA-F]{16,}|[0-9]{8,}"  # hash, number, timestamp
    r"|[^@\s/]+@[^@\s/]+\.[a-z]+",  # e-mail
    re.IGNORECASE,
)
_RAW_PATH = re.compile(r"/(?:[^?]*/)?(?:[0-9]+|[0-9a-fA-F-]{16,})(?:/[^?]*)?(?:\?.*)?|/[^?]*\?.*")


@dataclass(slots=True)
class Family:
    """One metric of a scrape: its series' label values, those of a histogram's or summary's parts together."""

    name: str
    type: str = ""
    help: str = ""
    is_declared: bool = False
    has_series: bool = False
    series: int = 0
    labels: dict[str, set[str]] = field(default_factory=dict)


def read_families(body: str, is_openmetrics: bool = False) -> list[Family]:
    """Return the metrics of an exposition in order of name; raises Malformed with the line."""
    families: dict[str, Family] = {}
    for number, line in enumerate(body.split("\n"), 1):
        text = line.strip()
        if text.startswith("#"):
            _read_comment(text, families, is_openmetrics)
        elif text:
            try:
                sample = read_line(text.encode("utf-8", "surrogateescape"), is_openmetrics)
            except Oversized:
                continue  # the scrape leaves it out as well
            except ValueError as error:
                raise Malformed(number, str(error)) from error
            family = families.setdefault(_family_of(sample.name, families), Family(sample.name))
            family.has_series = True
            family.series += 1
            for label, value in sample.labels:
                family.labels.setdefault(label, set()).add(value)
    return sorted((family for family in families.values() if family.has_series), key=lambda family: family.name)


def families_of(
    series: Iterable[tuple[str, Mapping[str, str]]],
    declared: Mapping[str, tuple[str, str]],
    is_openmetrics: bool = False,
) -> list[Family]:
    """Return the metrics of series (name, labels), with what was `declared` of them: {name: (type, help)}."""
    families: dict[str, Family] = {}
    for name, (kind, text) in declared.items():
        is_short = is_openmetrics and kind == "counter" and not name.endswith("_total")
        families[name] = Family(f"{name}_total" if is_short else name, kind, text, bool(kind))
    for name, labels in series:
        base = _family_of(name, families)
        family = families.setdefault(base, Family(base))
        family.has_series = True
        family.series += 1
        for label, value in labels.items():
            family.labels.setdefault(label, set()).add(value)
    return sorted((family for family in families.values() if family.has_series), key=lambda family: family.name)


def _read_comment(text: str, families: dict[str, Family], is_openmetrics: bool) -> None:
    words = text.split(None, 3)
    if len(words) < 3 or words[1] not in ("TYPE", "HELP"):
        return
    family = families.setdefault(words[2], Family(words[2]))
    if words[1] == "TYPE":
        family.type = words[3] if len(words) > 3 else ""
        family.is_declared = True
        if is_openmetrics and family.type == "counter":
            family.name = f"{words[2]}_total"  # OpenMetrics declares the name without its suffix
    else:
        family.help = words[3] if len(words) > 3 else ""


def _family_of(series: str, families: dict[str, Family]) -> str:
    """Return the declared name that a series belongs to, the series' own name when there is none."""
    if series in families:
        return series
    for suffix in (*_SERIES_SUFFIXES, "_total"):
        base = families.get(series.removesuffix(suffix)) if series.endswith(suffix) else None
        if base is not None and base.type in ("histogram", "summary", "counter", "gaugehistogram"):
            return series.removesuffix(suffix)
    return series


def lint_text(body: str, is_openmetrics: bool = False, model_names: Sequence[str] = ()) -> list[Finding]:
    """Return the findings for all metrics of an exposition, in order of name; raises Malformed."""
    families = read_families(body, is_openmetrics)
    return [finding for family in families for finding in lint_family(family, model_names)]


def lint_family(family: Family, model_names: Sequence[str] = ()) -> list[Finding]:
    """Return what is unusual about one metric, what matters most first; `model_names` are those of the registry."""
    found = [
        *lint_name(family.name, family.type, model_names),
        *_label_findings(family),
        *_declaration_findings(family),
    ]
    return sorted(found, key=lambda finding: finding.level is Level.INFO)


def _label_findings(family: Family) -> list[Finding]:
    found: list[Finding | None] = []
    for label, values in sorted(family.labels.items()):
        found += [
            _reserved_label(family, label), _taken(family, label), _unbounded(family, label, values),
            camel_case(label, family.name, "label"),
        ]  # fmt: skip
        if label != "le" and len(values) > MAX_LABEL_VALUES:
            text = f'the label "{label}" of {family.name} has {len(values):,} values, such as "{min(values)[:60]}"'
            found.append(Finding("high-cardinality", Level.WARNING, family.name, text, ""))
    return [finding for finding in found if finding is not None]


def _reserved_label(family: Family, label: str) -> Finding | None:
    owner = {"le": ("histogram", "gaugehistogram"), "quantile": ("summary",)}.get(label)
    if owner is None or family.type in (*owner, "", "untyped", "unknown"):
        return None
    text = f'{family.name} is a {family.type}, but the label "{label}" belongs to a {owner[0]}'
    return Finding("reserved-label", Level.WARNING, family.name, text, "")


def _taken(family: Family, label: str) -> Finding | None:
    if label not in ("job", "instance"):
        return None
    text = f'{family.name} has a label "{label}" of its own, which becomes exported_{label}'
    return Finding("label-taken", Level.INFO, family.name, text, "")


def _unbounded(family: Family, label: str, values: set[str]) -> Finding | None:
    example = next((value for value in sorted(values) if _ID_VALUE.fullmatch(value)), None)
    path = next((value for value in sorted(values) if _RAW_PATH.fullmatch(value)), None)
    if _ID_LABELS.fullmatch(label) and any(values):
        text, better = f'the label "{label}" of {family.name} names single users, requests or moments', ""
    elif example is not None and label not in ("le", "quantile"):
        text, better = f'the label "{label}" of {family.name} holds ids, such as "{example[:60]}"', ""
    elif path is not None:
        text = f'the label "{label}" of {family.name} holds raw paths, such as "{path[:60]}"'
        route = re.sub(r"/(?:[0-9]+|[0-9a-fA-F-]{16,})(?=/|$)", "/<id>", path.partition("?")[0])
        better = f'{label}="{route}"'
    else:
        return None
    return Finding("unbounded-label", Level.WARNING, family.name, text, better)


def _declaration_findings(family: Family) -> list[Finding]:
    found = []
    if not family.is_declared:
        found.append(Finding("no-type", Level.INFO, family.name, f"{family.name} has no type", ""))
    if not family.help:
        found.append(Finding("no-help", Level.INFO, family.name, f"{family.name} has no help text", ""))
    return found
