"""Lint of metrics as a target exposes them: names, units, suffixes, labels that grow without end. Pure.

Sources of the rules: Prometheus, practices/naming and practices/instrumentation; promtool check metrics (promlint).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .collect.openmetrics import Malformed, Oversized, read_line


class Level(StrEnum):
    """How much a finding matters: a warning costs somebody later, an info is a matter of habit."""

    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is unusual about a metric; `code` is explained in EXPLANATIONS, `suggestion` may be empty."""

    code: str
    level: Level
    metric: str
    message: str
    suggestion: str = ""

    @property
    def why(self) -> str:
        """Why the rule exists."""
        return EXPLANATIONS[self.code]


#: What each code means and why it matters; docs/instrumentation.md has examples.
EXPLANATIONS = {
    "model-in-name": "Each model in a name needs its own rule, chart and threshold; as a label, one serves all.",
    "counter-without-total": "_total tells readers and tools that only rate() and increase() make sense.",
    "total-without-counter": "_total promises a counter; rate() of anything else is nonsense.",
    "unit": "Base units (seconds, bytes, ratios from 0 to 1) can be compared and divided without a factor.",
    "no-unit": "Without a unit in the name nobody knows what a threshold of 5 means.",
    "camel-case": "Names are snake_case everywhere else; one spelling is found by one search.",
    "reserved-suffix": "_bucket, _sum and _count belong to histograms and summaries; queries take them for such.",
    "reserved-label": "le and quantile belong to histograms and summaries; queries take the series for such.",
    "type-in-name": "The type is told by # TYPE; in a name it is noise that becomes wrong when the type changes.",
    "colon": "Colons are kept for recording rules, so that a reader sees what is computed and what is measured.",
    "no-help": "The help text is what a colleague reads at night.",
    "no-type": "Without a type no tool can say whether rate() makes sense.",
    "high-cardinality": "Each value of a label is a series of its own, in memory and on disk, while samples are kept.",
    "unbounded-label": "Ids and raw paths never end: the number of series grows with every user and request.",
    "label-taken": "job and instance are set by the scrape; a target's own become exported_job and exported_instance.",
}

#: More values of one label of one metric in one scrape than this is a warning: 10 metrics × 20 targets × 100 = 20,000.
MAX_LABEL_VALUES = 100
_UNITS = {
    **dict.fromkeys(("milliseconds", "millis", "ms", "microseconds", "us", "nanoseconds", "ns"), "seconds"),
    **dict.fromkeys(("minutes", "hours", "days", "sec", "secs", "mins", "hrs"), "seconds"),
    **dict.fromkeys(("kilobytes", "megabytes", "gigabytes", "terabytes", "bits"), "bytes"),
    **dict.fromkeys(("kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib"), "bytes"),
    "fahrenheit": "celsius",
    **dict.fromkeys(("percent", "percentage", "pct"), "ratio"),
    **dict.fromkeys(("milliwatts", "kilowatts"), "watts"),
}
_BASE_UNITS = frozenset(
    (
        "seconds",
        "bytes",
        "ratio",
        "celsius",
        "kelvin",
        "watts",
        "joules",
        "hertz",
        "volts",
        "amperes",
        "grams",
        "meters",
    )
)
#: Last words that measure something without saying in what.
_UNITLESS = {
    **dict.fromkeys(("duration", "latency", "time", "delay", "elapsed", "runtime", "uptime"), "seconds"),
    **dict.fromkeys(("memory", "heap", "rss", "vram"), "bytes"),
    "temperature": "celsius",
    "utilization": "ratio",
}
_SERIES_SUFFIXES = ("_bucket", "_sum", "_count", "_created")
_TYPE_WORDS = frozenset(("counter", "gauge", "histogram", "summary"))
#: The shapes of the monitoring guide's ModelMetrics, and what people make of them.
_GUIDE_NAME = re.compile(
    r"model_(?P<model>\w+?)_(?P<rest>inference_seconds|inference_duration_seconds|batch_size|queue_size|accuracy)"
)
_NO_MODELS = frozenset(("inference", "training", "input", "output", "request", "batch", "queue"))
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
    found = [*_name_findings(family, model_names), *_label_findings(family), *_declaration_findings(family)]
    return sorted(found, key=lambda finding: finding.level is Level.INFO)


def lint_name(name: str, metric_type: str = "", model_names: Sequence[str] = ()) -> list[Finding]:
    """Return what is unusual about a name alone; metric_type may be unknown ("")."""
    return _name_findings(Family(name, metric_type), model_names)


def _name_findings(family: Family, model_names: Sequence[str]) -> list[Finding]:
    name, kind = family.name, family.type
    checks = (
        _model_in_name(name, model_names), _total(name, kind), _unit(name), _no_unit(name, kind),
        _reserved_suffix(name, kind), _type_in_name(name), _colon(name), _camel_case(name, name, "metric"),
    )  # fmt: skip
    return [finding for finding in checks if finding is not None]


def _model_in_name(name: str, model_names: Iterable[str]) -> Finding | None:
    for model in sorted(model_names, key=len, reverse=True):
        plain = re.sub(r"\W", "_", model)
        match = re.search(rf"(?:^|_){re.escape(plain)}(?=_|$)", name, re.IGNORECASE) if len(plain) > 1 else None
        if match is not None and match.group().strip("_") != name:
            rest = (name[: match.start()] + name[match.end() :]).strip("_")
            return _model_finding(name, model, rest)
    guide = _GUIDE_NAME.fullmatch(name)
    if guide is not None and guide["model"] not in _NO_MODELS:
        return _model_finding(name, guide["model"], f"model_{guide['rest']}")
    return None


def _model_finding(name: str, model: str, rest: str) -> Finding:
    better = rest.replace("inference_seconds", "inference_duration_seconds")
    text = f'{name} has the model "{model}" in its name: make it a label'
    return Finding("model-in-name", Level.WARNING, name, text, f'{better}{{model_name="{model}"}}')


def _total(name: str, kind: str) -> Finding | None:
    if kind == "counter" and not name.endswith("_total"):
        text = f"{name} is a counter: end it in _total"
        return Finding("counter-without-total", Level.WARNING, name, text, f"{name}_total")
    if kind in ("gauge", "histogram", "summary") and name.endswith("_total"):
        text = f"{name} is a {kind}, but _total says counter"
        return Finding("total-without-counter", Level.WARNING, name, text, name.removesuffix("_total"))
    return None


def _unit(name: str) -> Finding | None:
    words = name.split("_")
    for place, word in enumerate(words):
        base = _UNITS.get(word)
        if base is None or (base in words and place < len(words) - 1):
            continue
        better = "_".join([*words[:place], base, *words[place + 1 :]])
        wanted = "as a ratio from 0 to 1" if base == "ratio" else f"in the base unit, {base}"
        level = Level.INFO if base == "ratio" else Level.WARNING
        return Finding("unit", level, name, f'{name} is in "{word}": measure {wanted}', better)
    return None


def _no_unit(name: str, kind: str) -> Finding | None:
    base = name.removesuffix("_total") if kind == "counter" else name
    words = base.split("_")
    unit = _UNITLESS.get(words[-1])
    if unit is None or _BASE_UNITS & set(words) or _UNITS.keys() & set(words):
        return None
    better = f"{base}_{unit}{'_total' if base != name else ''}"
    return Finding("no-unit", Level.WARNING, name, f"{name} does not say its unit", better)


def _reserved_suffix(name: str, kind: str) -> Finding | None:
    suffix = next((suffix for suffix in ("_bucket", "_sum", "_count") if name.endswith(suffix)), "")
    if suffix and kind in ("gauge", "counter"):
        text = f"{name} is a {kind}, but {suffix} belongs to histograms and summaries"
        return Finding("reserved-suffix", Level.INFO, name, text, "")
    return None


def _type_in_name(name: str) -> Finding | None:
    words = name.split("_")
    word = next((word for word in words if word in _TYPE_WORDS), None)
    if word is None:
        return None
    better = "_".join(other for other in words if other != word)
    return Finding("type-in-name", Level.INFO, name, f'{name} has the type "{word}" in its name', better)


def _colon(name: str) -> Finding | None:
    if ":" not in name:
        return None
    text = f"{name} has a colon, which only recording rules use"
    return Finding("colon", Level.WARNING, name, text, re.sub(":+", "_", name))


def _camel_case(text: str, metric: str, what: str) -> Finding | None:
    if not re.search(r"[a-z][A-Z]", text):
        return None
    better = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return Finding("camel-case", Level.INFO, metric, f"the {what} {text} is in camel case: use snake_case", better)


def _label_findings(family: Family) -> list[Finding]:
    found: list[Finding | None] = []
    for label, values in sorted(family.labels.items()):
        found += [
            _reserved_label(family, label), _taken(family, label), _unbounded(family, label, values),
            _camel_case(label, family.name, "label"),
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
