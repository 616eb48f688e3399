"""Titles and texts that an imported receiver brings along, expanded over a message as Alertmanager would.

Source: Alertmanager 0.25, template/template.go (Data, KV, Pairs, Alerts and its functions). The definitions of its
default templates are not here: a text that calls one fails, and the message keeps our own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import overload

from alerts.engine.go_time import Time
from alerts.engine.go_values import Struct
from alerts.engine.message import AlertLine, Message
from alerts.engine.template_builtins import Function, FunctionError
from alerts.engine.template_functions import NAMES
from alerts.engine.template_lex import TemplateError
from alerts.engine.template_parse import parse
from alerts.engine.template_run import Program, Run

__all__ = ["TemplateError", "check", "expand"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Go's zero time, which an alert that still fires has as its end.
_ZERO = Time(int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds() * 1000))


def check(text: str) -> None:
    """Raise TemplateError, with line and column, where `text` is no template Alertmanager would take."""
    _program(text)


def expand(text: str, message: Message) -> str:
    """Return `text` expanded over `message`; raises TemplateError where Alertmanager would fail to notify."""
    run = Run(_program(text), _FUNCTIONS)
    return run.execute(_data(message), {})


@lru_cache(maxsize=512)
def _program(text: str) -> Program:
    body, defined = parse(text, NAMES | _FUNCTIONS.keys(), ("$",))
    return Program(text, body, defined)


def _join(separator: str, items: Sequence[object]) -> str:
    if isinstance(items, str) or not all(isinstance(item, str) for item in items):
        raise FunctionError("join takes a list of strings")
    return separator.join(str(item) for item in items)


_FUNCTIONS: Mapping[str, Function] = {
    "join": Function(_join, ("string", "any")),
    "stringSlice": Function(lambda *items: items, ("string",), is_variadic=True),
    "trimSpace": Function(lambda text: text.strip(), ("string",)),
}


@dataclass(frozen=True, slots=True)
class _Items(Struct, Sequence[object]):
    """A Go slice with methods: `items` to range over, `fields` for what its methods return."""

    items: tuple[object, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        return self.items[index]


class _Kv(Mapping[str, object]):
    """Labels or annotations with the methods of Alertmanager's KV; a label of a method's name comes first."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = dict(pairs)

    def __getitem__(self, name: str) -> object:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, name: str, default: object = None) -> object:
        """The value of a key, else what the method of that name returns."""
        if name in self._pairs:
            return self._pairs[name]
        if name == "SortedPairs":
            return _sorted_pairs(self._pairs)
        if name in ("Names", "Values"):
            return _sorted_pairs(self._pairs).fields[name]
        return default


def _sorted_pairs(pairs: Mapping[str, str]) -> _Items:
    """Pairs by name, alertname first (template.go SortedPairs)."""
    names = sorted(pairs, key=lambda name: (name != "alertname", name))
    items = tuple(Struct("template.Pair", {"Name": name, "Value": pairs[name]}) for name in names)
    methods = {"Names": tuple(names), "Values": tuple(pairs[name] for name in names)}
    return _Items("template.Pairs", methods, items)


def _data(message: Message) -> Struct:
    firing = tuple(_alert(alert) for alert in message.firing)
    resolved = tuple(_alert(alert) for alert in message.resolved)
    alerts = tuple(_alert(alert) for alert in message.alerts)
    return Struct(
        "*template.Data",
        {
            "Receiver": message.receiver,
            "Status": message.status,
            "Alerts": _Items("template.Alerts", {"Firing": firing, "Resolved": resolved}, alerts),
            "GroupLabels": _Kv(message.group_labels.as_dict()),
            "CommonLabels": _Kv(message.common_labels.as_dict()),
            "CommonAnnotations": _Kv(message.common_annotations),
            "ExternalURL": message.external_url,
        },
    )


def _alert(alert: AlertLine) -> Struct:
    return Struct(
        "template.Alert",
        {
            "Status": "resolved" if alert.is_resolved else "firing",
            "Labels": _Kv(alert.labels.as_dict()),
            "Annotations": _Kv(alert.annotations),
            "StartsAt": _time(alert.starts_at),
            "EndsAt": _time(alert.ends_at) if alert.ends_at else _ZERO,
            "GeneratorURL": alert.generator_url,
            "Fingerprint": alert.fingerprint,
        },
    )


def _time(at: datetime) -> Time:
    return Time(int((at - _EPOCH).total_seconds() * 1000))
