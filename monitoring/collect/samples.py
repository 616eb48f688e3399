"""What every collector returns: named, labelled numbers of one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

NO_LABELS: Mapping[str, str] = MappingProxyType({})


class Sample(NamedTuple):
    """One number: a metric name, its labels and its value in base units."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Reading:
    """Everything one collector saw at `at_ms` (epoch milliseconds)."""

    at_ms: int
    samples: list[Sample]


def plain(name: str, value: float) -> Sample:
    """Return a sample without labels."""
    return Sample(name, NO_LABELS, float(value))
