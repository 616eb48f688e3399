"""Relabelling of alerts before they are routed; Prometheus, model/relabel/relabel.go.

Hides the defaults and the actions: replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep,
lowercase, uppercase.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any

from monitoring.promql import EvaluationError, Labels
from monitoring.promql.matchers import compile_regex

ACTIONS = (
    "replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
    "uppercase",
)  # fmt: skip
_FIELDS = {"source_labels", "separator", "regex", "modulus", "target_label", "replacement", "action"}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# relabel.go relabelTarget: a target may hold references such as ${1}.
_TARGET = re.compile(r"(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+", re.ASCII)
_DOLLAR = re.compile(r"\$(\$|\w+|\{\w+\})", re.ASCII)


class RelabelError(ValueError):
    """A relabel rule that Prometheus would refuse; the text says which and what to change."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """One rule with its defaults filled in."""

    action: str = "replace"
    source_labels: tuple[str, ...] = ()
    separator: str = ";"
    regex: str = "(.*)"
    modulus: int = 0
    target_label: str = ""
    replacement: str = "$1"


def parse_relabel(configs: Any, where: str = "alert_relabel_configs") -> tuple[Relabel, ...]:
    """Return the rules of a list as YAML gives it; RelabelError names the place of the first that is wrong."""
    if configs is None:
        return ()
    if not isinstance(configs, list):
        raise RelabelError(f"{where}: give a list of relabel rules")
    return tuple(_parsed(one, f"{where}[{number}]") for number, one in enumerate(configs))


def _parsed(raw: Any, where: str) -> Relabel:
    if not isinstance(raw, Mapping):
        raise RelabelError(f"{where}: give a mapping such as {{action: labeldrop, regex: replica}}")
    if unknown := sorted(map(str, raw.keys() - _FIELDS)):
        raise RelabelError(f"{where}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(_FIELDS))}")
    given: dict[str, Any] = {name: value for name, value in raw.items() if value is not None}
    sources = given.pop("source_labels", ())
    if not isinstance(sources, list | tuple) or not all(isinstance(one, str) for one in sources):
        raise RelabelError(f"{where}.source_labels: give a list of label names")
    modulus = given.pop("modulus", 0)
    if not isinstance(modulus, int) or isinstance(modulus, bool) or modulus < 0:
        raise RelabelError(f"{where}.modulus: give a whole number above 0")
    texts = {name: str(value) for name, value in given.items()}
    rule = Relabel(
        **{**texts, "action": texts.get("action", "replace").lower()}, source_labels=tuple(sources), modulus=modulus
    )
    if complaint := _complaint(rule):
        raise RelabelError(f"{where}: {complaint}")
    return rule


def _complaint(rule: Relabel) -> str:
    """What is wrong with a rule, "" when nothing is; relabel.go Config.Validate."""
    if rule.action not in ACTIONS:
        return f"unknown action {rule.action!r}; known are {', '.join(ACTIONS)}"
    try:
        compile_regex(rule.regex)
    except EvaluationError as error:
        return str(error)
    needs_target = rule.action in ("replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal")
    if needs_target and not rule.target_label:
        return f"the action {rule.action} needs target_label"
    if rule.action == "hashmod" and not rule.modulus:
        return "the action hashmod needs a modulus above 0"
    if rule.action == "replace" and not _TARGET.fullmatch(rule.target_label):
        return f"{rule.target_label!r} is no label name for the action replace"
    if needs_target and rule.action != "replace" and not _LABEL.fullmatch(rule.target_label):
        return f"{rule.target_label!r} is no label name for the action {rule.action}"
    if rule.action in ("labeldrop", "labelkeep") and (rule.source_labels or rule.target_label):
        return f"the action {rule.action} takes only regex"
    return ""


def relabel(labels: Mapping[str, str], rules: Iterable[Relabel]) -> Labels | None:
    """Return the labels after all rules, None when one drops the alert."""
    found = {name: value for name, value in labels.items() if value}
    for rule in rules:
        changed = _apply(found, rule)
        if changed is None:
            return None
        found = changed
    return Labels.of(found)


def _apply(labels: dict[str, str], rule: Relabel) -> dict[str, str] | None:
    match rule.action:
        case "labelmap" | "labeldrop" | "labelkeep":
            return _by_name(labels, rule)
        case "keep" | "drop":
            matches = compile_regex(rule.regex).fullmatch(_source(labels, rule)) is not None
            return labels if matches == (rule.action == "keep") else None
        case "keepequal" | "dropequal":
            is_equal = _source(labels, rule) == labels.get(rule.target_label, "")
            return labels if is_equal == (rule.action == "keepequal") else None
    return _set_one(labels, rule)


def _source(labels: Mapping[str, str], rule: Relabel) -> str:
    return rule.separator.join(labels.get(name, "") for name in rule.source_labels)


def _set_one(labels: dict[str, str], rule: Relabel) -> dict[str, str]:
    """The actions that write one label; an empty value takes it away."""
    source, name = _source(labels, rule), rule.target_label
    match rule.action:
        case "hashmod":
            # relabel.go: the last 8 bytes of the MD5, big-endian.
            digest = md5(source.encode(), usedforsecurity=False).digest()
            value = str(int.from_bytes(digest[8:], "big") % rule.modulus)
        case "lowercase":
            value = source.lower()
        case "uppercase":
            value = source.upper()
        case _:
            match = compile_regex(rule.regex).fullmatch(source)
            if match is None:
                return labels
            name, value = _expanded(rule.target_label, match), _expanded(rule.replacement, match)
            if not _LABEL.fullmatch(name):
                return labels
    changed = {**labels, name: value}
    if not value:
        del changed[name]
    return changed


def _by_name(labels: dict[str, str], rule: Relabel) -> dict[str, str]:
    """The actions that look at label names."""
    fullmatch = compile_regex(rule.regex).fullmatch
    if rule.action == "labeldrop":
        return {name: value for name, value in labels.items() if fullmatch(name) is None}
    if rule.action == "labelkeep":
        return {name: value for name, value in labels.items() if fullmatch(name) is not None}
    found = dict(labels)
    for name, value in labels.items():
        match = fullmatch(name)
        if match is not None:
            found[_expanded(rule.replacement, match)] = value
    return found


def _expanded(text: str, match: Any) -> str:
    """The text with $1, ${1} and $name filled in as Go's Regexp.Expand does; an unknown one is empty."""

    def fill(found: re.Match[str]) -> str:
        key = found.group(1)
        if key == "$":
            return "$"
        key = key.strip("{}")
        try:
            return match.group(int(key) if key.isdigit() else key) or ""
        except (IndexError, KeyError):
            return ""

    return _DOLLAR.sub(fill, text)


def outgoing(identity: Labels, external: Sequence[tuple[str, str]], rules: Sequence[Relabel]) -> Labels | None:
    """The labels under which an alert is told: external ones where it has none of that name, then relabelled (PN-6).

    None when a rule drops it: the alert exists and nobody is told.
    """
    labels = identity.as_dict()
    for name, value in external:
        labels.setdefault(name, value)
    return relabel(labels, rules) if rules else Labels.of(labels)
