"""Keeps label values from growing without end, and metric families from being made twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry

#: Stands for every value beyond a bound.
OTHER = "other"
Family = TypeVar("Family")


class Bounded:
    """The values one label may have: the first `limit` that come; any later one is OTHER."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value itself, or OTHER when there are too many already."""
        if value not in self._seen:
            if len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
        return value


class PerRegistry(Generic[Family]):
    """Makes the metric families of one kind once a registry, as prometheus_client refuses a name it knows."""

    def __init__(self, make: Callable[[CollectorRegistry], Family]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[CollectorRegistry, Family] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self, registry: CollectorRegistry) -> Family:
        """Return the families of a registry; raises ValueError when it has one of the names from elsewhere."""
        with self._lock:
            found = self._made.get(registry)
            if found is None:
                found = self._made[registry] = self._make(registry)
            return found
