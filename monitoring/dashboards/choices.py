"""What can be chosen for each variable of a dashboard, and what is chosen now.

After Grafana 11, packages/grafana-prometheus metric_find_query.ts: label_values, label_names, metrics, query_result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import re2

from monitoring import query
from monitoring.dashboards.macros import ALL, Values, fill, names_in, windows
from monitoring.dashboards.spec import VariableSpec
from monitoring.promql import NAME, Matcher, QueryError, parse

#: A list somebody chooses from; who has more types the name into the address.
MOST_CHOICES = 1000
_LABEL_VALUES = re.compile(r"\s*label_values\(\s*(?:(?P<selector>.+?)\s*,\s*)?(?P<label>[a-zA-Z_]\w*)\s*\)\s*", re.S)
_LABEL_NAMES = re.compile(r"\s*label_names\(\s*(?P<selector>.*?)\s*\)\s*", re.S)
_METRICS = re.compile(r"\s*metrics\(\s*(?P<regex>.*?)\s*\)\s*", re.S)
_QUERY_RESULT = re.compile(r"\s*query_result\(\s*(?P<expr>.*)\s*\)\s*", re.S)


@dataclass(frozen=True)
class Choice:
    """One variable with what can be chosen, what is chosen, and why nothing can be."""

    variable: VariableSpec
    options: tuple[str, ...]
    chosen: tuple[str, ...]  # (ALL,) for all
    error: str = ""

    @property
    def is_all(self) -> bool:
        """Whether all of them are chosen."""
        return self.chosen == (ALL,)

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.variable.label or self.variable.name


def choose(
    variables: Sequence[VariableSpec], wanted: Mapping[str, Sequence[str]], start: datetime, end: datetime
) -> list[Choice]:
    """Return each variable with its choices among the series of a time range, in order: later ones may use earlier.

    `wanted` holds what the reader asked for; what it leaves out has the variable's default.
    """
    found: list[Choice] = []
    for variable in variables:
        values = values_of(found)
        error = ""
        try:
            options = _options(variable, values, start, end)
        except (QueryError, re2.error) as problem:
            options, error = (), str(problem)
        chosen = _chosen(variable, options, wanted.get(variable.name, ()))
        found.append(Choice(variable, options, chosen, error))
    return found


def values_of(choices: Sequence[Choice]) -> Values:
    """Return the values for monitoring.dashboards.macros.fill."""
    return Values(
        tuple(one.variable for one in choices),
        {one.variable.name: one.chosen for one in choices},
        {one.variable.name: one.options for one in choices},
    )


def choose_for(
    texts: Sequence[str],
    variables: Sequence[VariableSpec],
    wanted: Mapping[str, Sequence[str]],
    start: datetime,
    end: datetime,
) -> Values:
    """Return the values that some queries need, asking for choices only where "all" or "the first" depends on them."""
    needed = _needed(texts, variables)
    found: list[Choice] = []
    for variable in variables:
        if variable.name not in needed:
            continue
        chosen = _chosen(variable, variable.options, wanted.get(variable.name, ()))
        options = variable.options
        if variable.kind == "query" and (not chosen or (chosen == (ALL,) and not variable.all_value)):
            options = _options(variable, values_of(found), start, end)
            chosen = _chosen(variable, options, wanted.get(variable.name, ()))
        found.append(Choice(variable, options, chosen))
    return values_of(found)


def _needed(texts: Sequence[str], variables: Sequence[VariableSpec]) -> set[str]:
    """Return the names that the texts ask for, and those that the choices of these ask for in turn."""
    needed = {name for text in texts for name in names_in(text)}
    for variable in reversed(variables):  # a variable may use those before it
        if variable.name in needed:
            needed |= set(names_in(variable.query))
    return needed


def label_of(variable: VariableSpec) -> str:
    """Return the label whose values a variable offers, such as "host"; empty when it offers something else."""
    match = _LABEL_VALUES.fullmatch(variable.query) if variable.kind == "query" else None
    return match["label"] if match else ""


def _chosen(variable: VariableSpec, options: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    picked = tuple(value for value in wanted if value)
    if variable.kind == "constant":
        return tuple(variable.options[:1])
    picked = picked or variable.default
    if variable.has_all and (ALL in picked or not picked):
        return (ALL,)
    picked = tuple(value for value in picked if value != ALL)
    if not picked:
        picked = tuple(options[:1])
    return picked if variable.is_multi else picked[:1]


def _options(variable: VariableSpec, values: Values, start: datetime, end: datetime) -> tuple[str, ...]:
    if variable.kind != "query":
        return variable.options
    window = windows(start.timestamp(), end.timestamp(), 60)
    found = _ask(fill(variable.query, values, window), start, end)
    return tuple(_filtered(found, variable.regex))[:MOST_CHOICES]


def _ask(text: str, start: datetime, end: datetime) -> list[str]:
    if match := _LABEL_VALUES.fullmatch(text):
        return query.label_values(match["label"], _matchers(match["selector"] or ""), start, end)
    if match := _LABEL_NAMES.fullmatch(text):
        return query.label_names(_matchers(match["selector"]), start, end)
    if match := _METRICS.fullmatch(text):
        return query.label_values(NAME, (Matcher("=~", NAME, f".*(?:{match['regex']}).*"),), start, end)
    match = _QUERY_RESULT.fullmatch(text)
    answer = query.instant(match["expr"] if match else text, end)
    return [f"{labels} {value:g}" for labels, value in zip(answer.labels, answer.values.tolist(), strict=False)]


def _matchers(selector: str) -> tuple[Matcher, ...]:
    if not selector:
        return ()
    selectors = parse(selector).selectors()
    return selectors[0].matchers if selectors else ()


def _filtered(found: Sequence[str], regex: str) -> list[str]:
    """Return what the variable's regex leaves: its first group where it has one, as Grafana does."""
    if not regex:
        return list(found)
    pattern = re2.compile(regex[1:].rpartition("/")[0] if regex.startswith("/") and "/" in regex[1:] else regex)
    kept: dict[str, None] = {}
    for text in found:
        if match := pattern.search(text):
            groups = match.groups()
            kept[(groups[0] if groups else text) or text] = None
    return list(kept)
