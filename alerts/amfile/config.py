"""An Alertmanager configuration as a value: what of it the portal acts on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A file that is not taken; `problems` holds one sentence for each fault, beginning with its path in the file."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep `problems` and show them all."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Way:
    """One way out of a receiver; `kind` is a kind of Integration. Its address is a secret."""

    kind: str
    url: str = field(default="", repr=False)
    target: str = ""
    send_resolved: bool = True
    title: str = ""
    text: str = ""
    max_alerts: int = 0
    token: str = field(default="", repr=False)  # of the bot that posts


@dataclass(frozen=True)
class ReceiverSpec:
    """A receiver with its ways out in order."""

    name: str
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class RouteSpec:
    """A route as written; None is "as the parent"."""

    matchers: tuple[str, ...] = ()
    receiver: str | None = None
    group_by: tuple[str, ...] | None = None
    continues: bool = False
    group_wait_seconds: float | None = None
    group_interval_seconds: float | None = None
    repeat_interval_seconds: float | None = None
    mute_intervals: tuple[str, ...] = ()
    active_intervals: tuple[str, ...] = ()
    routes: tuple[RouteSpec, ...] = ()

    def walk(self) -> Iterator[RouteSpec]:
        """This route and all below it."""
        yield self
        for child in self.routes:
            yield from child.walk()


@dataclass(frozen=True)
class InhibitSpec:
    """An inhibit rule as written."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """A whole file. notes: what of it the portal does its own way, a sentence each."""

    root: RouteSpec
    receivers: tuple[ReceiverSpec, ...] = ()
    inhibit_rules: tuple[InhibitSpec, ...] = ()
    intervals: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    resolve_timeout_seconds: float = 300.0
    notes: tuple[str, ...] = ()
