"""Variables in PromQL and titles: $name, ${name}, ${name:format}, [[name]], and Grafana's own $__interval and kin.

After Grafana 11: packages/grafana-prometheus datasource.ts (interpolateQueryExpr, calculateRateInterval) and
features/templating/formatVariableValue.ts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitoring.dashboards.spec import VariableSpec

#: Hosts and targets are asked every 15 s unless a row says otherwise; a rate needs four of them.
SCRAPE_SECONDS = 15
ALL = "$__all"
_PLACE = re.compile(
    r"\$\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|\[\[(?P<old>\w+)(?::\w+)?\]\]|\$(?P<bare>\w+)", re.ASCII
)
_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}]")
_INTERNAL = re.compile(r"__(auto_interval_\w+|interval(_ms)?|rate_interval(_ms)?|range(_s|_ms)?|from|to)\Z")


@dataclass(frozen=True)
class Values:
    """What the variables of a page stand for; `chosen` holds the values of each, (ALL,) for all of them."""

    variables: tuple[VariableSpec, ...] = ()
    chosen: Mapping[str, tuple[str, ...]] | None = None
    choices: Mapping[str, Sequence[str]] | None = None  # what "all" stands for

    def find(self, name: str) -> VariableSpec | None:
        """Return the variable of a name, or None."""
        return next((one for one in self.variables if one.name == name), None)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the values chosen for a variable, (ALL,) for all of them."""
        return tuple((self.chosen or {}).get(name, ()))


def fill(text: str, values: Values, window: Mapping[str, str] | None = None, *, is_title: bool = False) -> str:
    """Return a query with its variables filled in; a name nobody knows stays as it stands.

    `window`: the texts of Grafana's own macros by name, from `windows`; None leaves those as they stand. In a title
    several values are "a + b" and not a pattern.
    """

    def put(match: re.Match[str]) -> str:
        name = match["braced"] or match["old"] or match["bare"]
        if _INTERNAL.match(name):
            key = "__interval" if name.startswith("__auto_interval_") else name
            return (window or {}).get(key, match[0])
        variable = values.find(name)
        if variable is None:
            return match[0]
        if variable.kind == "interval" and values.of(name) == ("auto",):
            return (window or {}).get("__interval", "$__interval")
        if is_title:
            chosen = values.of(name)
            return "All" if chosen == (ALL,) else " + ".join(chosen)
        return _text(variable, values, match["format"] or "")

    return _PLACE.sub(put, text)


def windows(start_seconds: float, end_seconds: float, step_seconds: int) -> dict[str, str]:
    """Return what Grafana's macros stand for in a chart of this time and step."""
    reach = max(1, round(end_seconds - start_seconds))
    # Grafana: the step plus one scrape, four scrapes at least, so that a rate always finds two samples.
    rate = max(step_seconds + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)
    return {
        "__interval": f"{step_seconds}s", "__interval_ms": str(step_seconds * 1000),
        "__rate_interval": f"{rate}s", "__rate_interval_ms": str(rate * 1000),
        "__range": f"{reach}s", "__range_s": str(reach), "__range_ms": str(reach * 1000),
        "__from": str(round(start_seconds * 1000)), "__to": str(round(end_seconds * 1000)),
    }  # fmt: skip


def names_in(text: str) -> list[str]:
    """Return the names of the variables that a text asks for, Grafana's own left out."""
    found = [match["braced"] or match["old"] or match["bare"] for match in _PLACE.finditer(text)]
    return [name for name in dict.fromkeys(found) if not _INTERNAL.match(name)]


def _text(variable: VariableSpec, values: Values, form: str) -> str:
    chosen = values.of(variable.name)
    if chosen == (ALL,):
        if variable.all_value and form in ("", "regex", "raw"):
            return variable.all_value
        chosen = tuple((values.choices or {}).get(variable.name, ()))
        # Nothing to choose from: everything, so that the panel says "no samples" and not "bad query".
        if not chosen and form in ("", "regex"):
            return ".*"
    if form in ("raw", "text", "csv", "pipe"):
        return ("|" if form == "pipe" else ",").join(chosen)
    if form != "regex" and not (variable.is_multi or variable.has_all):
        return _in_string("".join(chosen[:1]).replace("\\", "\\\\"))
    escaped = [_regex(value) for value in chosen]
    if not escaped:
        return ""
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _regex(value: str) -> str:
    """Return a value as a pattern for itself.

    As a class of one character, [.] instead of \\\\., which reads the same in every kind of quotes.
    """

    def one(match: re.Match[str]) -> str:
        char = match[0]
        return "\\\\" * 2 if char == "\\" else "\\\\" + char if char in "^]" else f"[{char}]"

    return _in_string(_SPECIAL.sub(one, value))


def _in_string(text: str) -> str:
    """Return a text that cannot leave the quotes around it."""
    return text.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


def probe_values(variables: Sequence[VariableSpec]) -> Values:
    """Return values with which a query can be parsed although nobody has chosen anything yet."""
    chosen = {}
    for one in variables:
        standard = next((value for value in (*one.default, *one.options) if value not in (ALL, "auto")), "")
        chosen[one.name] = (standard or ("5m" if one.kind == "interval" else "1"),)
    return Values(tuple(variables), chosen)
