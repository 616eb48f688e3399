"""A YAML file as nested nodes that know their path, read one expected thing at a time; every fault is collected.

All scalars are texts: YAML 1.1 would make 17:00 a number and `on` a truth value, which Alertmanager's reader does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

from alerts.amfile.config import ConfigError
from alerts.engine.durations import parse_duration

T = TypeVar("T")
_NOTHING = ("", "~", "null", "Null", "NULL")
_TRUTH = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
# Aliases make a small file as large as its author likes; a configuration needs few.
_MAX_CHARS, _MAX_ALIASES = 4_000_000, 100


class _Loader(yaml.BaseLoader):
    """Texts only, no key twice, no bomb of aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count aliases."""
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > _MAX_ALIASES:
                raise ConfigError([f"more than {_MAX_ALIASES} aliases"])
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is given twice, as Alertmanager does."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = getattr(key, "value", "")
            if not isinstance(name, str):
                raise ConfigError([f"line {node.start_mark.line + 1}: a key must be a text"])
            if name in seen:
                raise ConfigError([f"line {key.start_mark.line + 1}: {name} is given twice"])
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def parse(text: str) -> Any:
    """The file as dicts, lists and texts; raises ConfigError with the line where it is no YAML."""
    if len(text) > _MAX_CHARS:
        raise ConfigError([f"the file has more than {_MAX_CHARS:,} characters"])
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (BaseLoader makes texts and nothing else)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError([f"{line}{error.problem or 'this is no YAML'}"]) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([f"this is no YAML: {error}"]) from error


@dataclass
class Problems:
    """Faults and remarks of one file. skips: leave out what the portal cannot do, with a remark, not a fault."""

    skips: bool = False
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def unsupported(self, path: str, words: str) -> None:
        """Say that the portal cannot do something of the file."""
        if self.skips:
            self.notes.append(f"{path}: left out: {words}")
        else:
            self.faults.append(f"{path}: not supported: {words}")


@dataclass(frozen=True)
class Node:
    """One mapping of the file, with its path."""

    path: str
    values: dict[str, Any]
    problems: Problems

    @classmethod
    def of(cls, value: Any, path: str, problems: Problems) -> Node:
        """A mapping; anything else is a fault, and reads as an empty one."""
        if _is_nothing(value):
            value = {}
        if not isinstance(value, dict):
            problems.faults.append(f"{path or 'the file'}: must be a mapping of names to values")
            value = {}
        return cls(path, value, problems)

    def at(self, name: str) -> str:
        """The path of one of its values."""
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, words: str) -> None:
        """Note what is wrong with one value."""
        self.problems.faults.append(f"{self.at(name)}: {words}")

    def check_names(self, known: Collection[str], unsupported: dict[str, str] | None = None) -> None:
        """Fault every name that Alertmanager does not know, and every one that the portal cannot do."""
        for name in self.values:
            if unsupported and name in unsupported:
                self.problems.unsupported(self.at(name), unsupported[name])
            elif name not in known:
                self.fault(name, "unknown field")

    def has(self, name: str) -> bool:
        """Whether a value is given and not empty."""
        return not _is_nothing(self.values.get(name))

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self.values.get(name)
        if _is_nothing(value):
            return default
        if isinstance(value, str):
            return value
        self.fault(name, "must be a text")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        text = self.text(name).lower()
        if text and text not in _TRUTH:
            self.fault(name, f"must be true or false, not {text!r}")
        return _TRUTH.get(text, default)

    def number(self, name: str, default: int = 0) -> int:
        """A whole number of 0 or more."""
        text = self.text(name)
        if text and not text.isdecimal():
            self.fault(name, f"must be a whole number, not {text!r}")
            return default
        return int(text) if text else default

    def seconds(self, name: str) -> float | None:
        """A duration in seconds, None when it is not given."""
        text = self.text(name)
        return self.checked(name, lambda: parse_duration(text), ValueError) if text else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self.values.get(name)
        if _is_nothing(value):
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.fault(name, "must be a list of texts")
        return ()

    def pairs(self, name: str) -> dict[str, str]:
        """A mapping of texts to texts."""
        inner = Node.of(self.values.get(name), self.at(name), self.problems)
        return {key: inner.text(key) for key in inner.values}

    def nodes(self, name: str) -> Iterable[Node]:
        """A list of mappings, each with its place in its path."""
        value = self.values.get(name)
        if _is_nothing(value):
            return []
        if not isinstance(value, list):
            self.fault(name, "must be a list")
            return []
        return [Node.of(item, f"{self.at(name)}[{place}]", self.problems) for place, item in enumerate(value)]

    def checked(self, name: str, read: Callable[[], T], *errors: type[Exception]) -> T | None:
        """What `read` returns; one of `errors` becomes a fault of this value."""
        try:
            return read()
        except errors as error:
            self.fault(name, str(error))
            return None


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in _NOTHING)
