"""YAML read strictly: known fields only, each value with the line it stands on, every problem told at once.

Hides PyYAML's nodes. Scalars stay the text they are in the file, as Go's decoder of Prometheus keeps them for strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class FileError(ValueError):
    """A file that cannot be taken; `problems` has a sentence for each thing that is wrong."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the problems."""
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Value:
    """One node with the path that leads to it; `line` counts from 1."""

    node: yaml.Node
    path: str

    @property
    def line(self) -> int:
        """Where the value starts."""
        return int(self.node.start_mark.line) + 1

    @property
    def is_null(self) -> bool:
        """Whether nothing was written."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    def says(self, problem: str) -> str:
        """A problem with its place before it."""
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{problem}"


class Reader:
    """Takes values apart and collects what is wrong with them."""

    def __init__(self, ignores_unknown: bool = False) -> None:
        """Unknown fields are problems unless they are to be ignored."""
        self.problems: list[str] = []
        self._ignores_unknown = ignores_unknown

    def complain(self, value: Value, problem: str) -> None:
        """Note a problem."""
        self.problems.append(value.says(problem))

    def finish(self) -> None:
        """Raise FileError when anything was wrong."""
        if self.problems:
            raise FileError(self.problems)

    def text(self, value: Value | None) -> str:
        """The text of a scalar; "" for what is missing or no scalar."""
        if value is None or value.is_null:
            return ""
        if not isinstance(value.node, yaml.ScalarNode):
            self.complain(value, "give a text, not a list or a mapping")
            return ""
        return str(value.node.value)

    def items(self, value: Value | None) -> list[Value]:
        """The members of a list."""
        if value is None or value.is_null:
            return []
        if not isinstance(value.node, yaml.SequenceNode):
            self.complain(value, "give a list")
            return []
        return [Value(node, f"{value.path}[{number}]") for number, node in enumerate(value.node.value)]

    def mapping(self, value: Value | None) -> dict[str, Value]:
        """The members of a mapping by name; a name that is there twice is a problem."""
        if value is None or value.is_null:
            return {}
        if not isinstance(value.node, yaml.MappingNode):
            self.complain(value, "give a mapping of names to values")
            return {}
        found: dict[str, Value] = {}
        for key, node in value.node.value:
            if key.tag == _MERGE:
                found = {**self.mapping(Value(node, value.path)), **found}
                continue
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            path = f"{value.path}.{name}" if value.path else name
            if name in found:
                self.complain(Value(key, value.path), f"the field {name!r} is there twice")
            found[name] = Value(node, path)
        return found

    def fields(self, value: Value | None, known: Iterable[str], what: str) -> dict[str, Value]:
        """The members of a mapping, of which only `known` ones may be there."""
        found, names = self.mapping(value), list(known)
        unknown = [name for name in found if name not in names]
        for name in unknown if not self._ignores_unknown else ():
            text = f"unknown field {name!r} of {what}; known are {', '.join(names)}"
            self.problems.append(f"line {found[name].line}: {value.path + ': ' if value and value.path else ''}{text}")
        return {name: one for name, one in found.items() if name in names}

    def texts(self, value: Value | None) -> dict[str, str]:
        """A mapping of names to texts."""
        return {name: self.text(one) for name, one in self.mapping(value).items()}


def load(text: str) -> Value | None:
    """The only document of a YAML text, None when it is empty; raises FileError with line and column."""
    try:
        documents = [node for node in yaml.compose_all(text, Loader=yaml.CSafeLoader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise FileError([f"{where}{error.problem or error.context}"]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise FileError(
            [f"this is no YAML: {str(error).splitlines()[0] if str(error) else 'too deeply nested'}"]
        ) from error
    if len(documents) > 1:
        raise FileError([f"line {documents[1].start_mark.line + 1}: a second document; write one file for each"])
    return Value(documents[0], "") if documents else None


def is_mapping_with(value: Value, names: Iterable[str]) -> bool:
    """Whether a value is a mapping with one of these fields."""
    if not isinstance(value.node, yaml.MappingNode):
        return False
    there = {key.value for key, _ in value.node.value if isinstance(key, yaml.ScalarNode)}
    return bool(there & set(names))


def is_list(value: Value) -> bool:
    """Whether a value is a list."""
    return isinstance(value.node, yaml.SequenceNode)


def lines_of(fields: Mapping[str, Value]) -> dict[str, int]:
    """The line of each field."""
    return {name: value.line for name, value in fields.items()}
