"""A rule file of Prometheus as values: groups and rules with the lines they stand on; nothing is asked or saved.

Source of the format: Prometheus 3, model/rulefmt/rulefmt.go. Also read: a list of groups, a list of rules, one rule,
and the PrometheusRule object of the Prometheus operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from alerts.engine.durations import parse_duration
from alerts.rulefile.yaml_nodes import FileError, Reader, Value, is_list, is_mapping_with, lines_of, load

GROUP_FIELDS = ("name", "interval", "query_offset", "limit", "labels", "rules")
RULE_FIELDS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
# More than anybody writes by hand, and less than a hostile file could ask for by aliases.
MOST_RULES = 20_000
MOST_CHARACTERS = 20_000_000


@dataclass(frozen=True)
class FileRule:
    """One rule as written, the labels of its group under its own; `lines`: where each field stands, from 1."""

    kind: str
    name: str
    expr: str
    hold_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FileGroup:
    """One group as written; None where the file leaves it to the global setting."""

    name: str
    rules: tuple[FileRule, ...]
    interval_seconds: float | None = None
    query_offset_seconds: float | None = None
    limit: int = 0
    line: int = 0


def read(text: str, default_group: str = "imported", ignores_unknown: bool = False) -> tuple[FileGroup, ...]:
    """Return the groups of a rule file; raises FileError that names every problem with its line.

    default_group: the name of the group that rules without one are put into.
    """
    if len(text) > MOST_CHARACTERS:
        raise FileError([f"the file has {len(text):,} characters; {MOST_CHARACTERS:,} are allowed"])
    root, reader = load(text), Reader(ignores_unknown)
    if root is None:
        return ()
    groups = _groups(reader, root, default_group)
    _check_names(reader, groups)
    reader.finish()
    if sum(len(group.rules) for group in groups) > MOST_RULES:
        raise FileError([f"the file has more than {MOST_RULES:,} rules"])
    return tuple(groups)


def _groups(reader: Reader, root: Value, default_group: str) -> list[FileGroup]:
    if is_mapping_with(root, ("spec",)) and is_mapping_with(root, ("apiVersion", "kind")):
        root = reader.mapping(root)["spec"]
    if is_list(root):
        items = reader.items(root)
        if items and all(is_mapping_with(item, ("rules", "name")) for item in items):
            return [_group(reader, item) for item in items]
        return [FileGroup(default_group, _rules(reader, items, {}), line=root.line)]
    if is_mapping_with(root, ("alert", "record")):
        return [FileGroup(default_group, _rules(reader, [root], {}), line=root.line)]
    if is_mapping_with(root, ("rules",)) and not is_mapping_with(root, ("groups",)):
        return [_group(reader, root)]
    found = reader.fields(root, ("groups",), "a rule file")
    return [_group(reader, item) for item in reader.items(found.get("groups"))]


def _check_names(reader: Reader, groups: list[FileGroup]) -> None:
    seen: set[str] = set()
    for group in groups:
        if not group.name.strip():
            reader.problems.append(f"line {group.line}: the group has no name")
        elif group.name in seen:
            reader.problems.append(f"line {group.line}: a group {group.name!r} is in this file already")
        elif len(group.name) > 200:
            reader.problems.append(f"line {group.line}: the group's name has more than 200 characters")
        seen.add(group.name)


def _group(reader: Reader, value: Value) -> FileGroup:
    found = reader.fields(value, GROUP_FIELDS, "a group")
    labels = reader.texts(found.get("labels"))
    return FileGroup(
        name=reader.text(found.get("name")),
        rules=_rules(reader, reader.items(found.get("rules")), labels),
        interval_seconds=_number(reader, found.get("interval"), parse_duration),
        query_offset_seconds=_number(reader, found.get("query_offset"), parse_duration),
        limit=int(_number(reader, found.get("limit"), _whole) or 0),
        line=value.line,
    )


def _rules(reader: Reader, items: list[Value], labels: Mapping[str, str]) -> tuple[FileRule, ...]:
    return tuple(_rule(reader, item, labels) for item in items)


def _rule(reader: Reader, value: Value, group_labels: Mapping[str, str]) -> FileRule:
    found = reader.fields(value, RULE_FIELDS, "a rule")
    names = [name for name in ("record", "alert") if reader.text(found.get(name))]
    if len(names) != 1:
        text = "has both record and alert; write two rules" if names else 'needs "alert" or "record" with a name'
        reader.complain(value, f"the rule {text}")
    kind = names[0] if names else "alert"
    rule = FileRule(
        kind=kind,
        name=reader.text(found.get(kind)),
        expr=reader.text(found.get("expr")),
        hold_seconds=_number(reader, found.get("for"), parse_duration) or 0.0,
        keep_firing_seconds=_number(reader, found.get("keep_firing_for"), parse_duration) or 0.0,
        labels={**group_labels, **reader.texts(found.get("labels"))},
        annotations=reader.texts(found.get("annotations")),
        line=value.line,
        lines=lines_of(found),
    )
    if not rule.expr.strip():
        reader.complain(value, f"the rule {rule.name!r} needs an expr")
    if kind == "record":
        _check_record(reader, value, rule, found)
    return rule


def _check_record(reader: Reader, value: Value, rule: FileRule, found: Mapping[str, Value]) -> None:
    for name in ("for", "keep_firing_for", "annotations"):
        if name in found and not found[name].is_null:
            reader.complain(found[name], f"the recording rule {rule.name!r} cannot have this; take it out")


def _number(reader: Reader, value: Value | None, parse: Callable[[str], float]) -> float | None:
    if value is None or value.is_null:
        return None
    try:
        return parse(reader.text(value))
    except ValueError as error:
        reader.complain(value, str(error))
        return None


def _whole(text: str) -> float:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{text!r} is no whole number of 0 or more")
    if int(text) > 2_147_483_647:
        raise ValueError(f"{text} is too large for a limit")
    return int(text)
