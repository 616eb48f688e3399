"""Lint of a metric's name: units, suffixes, names that hide a label. Pure; for targets, rules and commands alike.

Sources of the rules: Prometheus, practices/naming and practices/instrumentation; promtool check metrics (promlint).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


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
_TYPE_WORDS = frozenset(("counter", "gauge", "histogram", "summary"))
#: The shapes of the monitoring guide's ModelMetrics, and what people make of them.
_GUIDE_NAME = re.compile(
    r"model_(?P<model>\w+?)_(?P<rest>inference_seconds|inference_duration_seconds|batch_size|queue_size|accuracy)"
)
_NO_MODELS = frozenset(("inference", "training", "input", "output", "request", "batch", "queue"))


def lint_name(name: str, metric_type: str = "", model_names: Sequence[str] = ()) -> list[Finding]:
    """Return what is unusual about a name alone; metric_type may be unknown ("")."""
    kind = metric_type
    checks = (
        _model_in_name(name, model_names), _total(name, kind), _unit(name), _no_unit(name, kind),
        _reserved_suffix(name, kind), _type_in_name(name), _colon(name), camel_case(name, name, "metric"),
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


def camel_case(text: str, metric: str, what: str) -> Finding | None:
    """Return the finding on a name in camel case, None for one that is not."""
    if not re.search(r"[a-z][A-Z]", text):
        return None
    better = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return Finding("camel-case", Level.INFO, metric, f"the {what} {text} is in camel case: use snake_case", better)
