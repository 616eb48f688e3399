"""Lint of metric names: units, suffixes, and names that hide a label (Prometheus, practices/naming)."""

import re
from collections.abc import Iterable, Mapping, Sequence

from alerts.engine.findings import Finding, Level

_BASE_UNITS = {
    **dict.fromkeys(("milliseconds", "millis", "ms", "microseconds", "nanoseconds", "minutes", "hours"), "seconds"),
    **dict.fromkeys(("kilobytes", "megabytes", "gigabytes", "kb", "mb", "gb", "kib", "mib", "gib", "bits"), "bytes"),
    **dict.fromkeys(("fahrenheit", "kelvin"), "celsius"),
    **dict.fromkeys(("percent", "percentage", "pct"), "ratio"),
}
_SERIES_SUFFIXES = ("_bucket", "_sum", "_count")


def lint_metric(name: str, metric_type: str = "", model_names: Sequence[str] = ()) -> list[Finding]:
    """Return what is unusual about a metric's name; metric_type is counter, gauge, histogram, summary or ""."""
    return [
        finding
        for finding in (
            _model_in_name(name, model_names),
            _total(name, metric_type),
            _unit(name),
            _letters(name),
            _reserved(name, metric_type),
        )
        if finding is not None
    ]


def lint_metrics(metric_types: Mapping[str, str], model_names: Sequence[str] = ()) -> list[Finding]:
    """Return the findings for all metrics, series of one histogram or summary counted as one, in order of name."""
    families = {_family(name, metric_types): kind for name, kind in metric_types.items()}
    return [finding for name in sorted(families) for finding in lint_metric(name, families[name], model_names)]


def _family(name: str, metric_types: Mapping[str, str]) -> str:
    for suffix in _SERIES_SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and (metric_types.get(name) in ("histogram", "summary") or f"{base}_count" in metric_types):
            return base
    return name


def _finding(code: str, level: Level, message: str, suggestion: str = "") -> Finding:
    return Finding(code, level, message, "metric", suggestion=suggestion)


def _total(name: str, metric_type: str) -> Finding | None:
    base = next((name.removesuffix(suffix) for suffix in _SERIES_SUFFIXES if name.endswith(suffix)), name)
    if metric_type == "counter" and base == name and not name.endswith(("_total", "_created")):
        return _finding(
            "counter-without-total", Level.WARNING, f"{name} is a counter: end it in _total", f"{name}_total"
        )
    if metric_type in ("gauge", "histogram", "summary") and name.endswith("_total"):
        text = f"{name} is a {metric_type}, but _total says counter"
        return _finding("total-without-counter", Level.WARNING, text, name.removesuffix("_total"))
    return None


def _unit(name: str) -> Finding | None:
    words = name.split("_")
    for position, word in enumerate(words):
        base = _BASE_UNITS.get(word)
        if base is None:
            continue
        better = "_".join([*words[:position], base, *words[position + 1 :]])
        wanted = "as a ratio from 0 to 1" if base == "ratio" else f"in the base unit, {base}"
        level = Level.INFO if base == "ratio" else Level.WARNING
        return _finding("unit", level, f'{name} is in "{word}": measure {wanted}', better)
    return None


def _letters(name: str) -> Finding | None:
    if re.search(r"[a-z][A-Z]", name):
        better = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        return _finding("camel-case", Level.INFO, f"{name} is in camel case: use snake_case", better)
    return None


def _reserved(name: str, metric_type: str) -> Finding | None:
    suffix = next((suffix for suffix in _SERIES_SUFFIXES if name.endswith(suffix)), "")
    if metric_type == "gauge" and suffix in ("_bucket", "_sum", "_count"):
        return _finding("reserved-suffix", Level.INFO, f"{name} is a gauge, but {suffix} belongs to histograms", "")
    return None


def _model_in_name(name: str, model_names: Iterable[str]) -> Finding | None:
    """A model in the metric's name needs a new rule for each model; a label does not."""
    for model in sorted(model_names, key=len, reverse=True):
        plain = re.sub(r"\W", "_", model)
        match = re.search(rf"(?:^|_){re.escape(plain)}(?=_|$)", name) if len(plain) > 1 else None
        if match is not None and match.group().strip("_") != name:
            better = (name[: match.start()] + name[match.end() :]).strip("_")
            text = f'{name} has the model "{model}" in its name: one rule for all models needs it as a label'
            return _finding("model-in-name", Level.WARNING, text, f'{better}{{model_name="{model}"}}')
    return None
