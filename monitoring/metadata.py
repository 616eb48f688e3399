"""Type and help of metrics: what the portal's own code declares, else what a name says by Prometheus' practice.

The store keeps samples and not the TYPE and HELP lines of a scrape.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from .instrument import AsgiMetrics, ModelMetrics
from .instrument.web import Receive, Scope, Send

Entry = dict[str, str]


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return None


def _declared() -> dict[str, Entry]:
    """What model servers declare with monitoring.instrument, and this process with prometheus_client."""
    registry = CollectorRegistry()
    ModelMetrics("any", registry=registry)
    AsgiMetrics(_nothing, registry=registry)
    sources: tuple[Collector | CollectorRegistry, ...] = (REGISTRY, registry)
    found = {}
    for source in sources:
        for family in source.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = _entry(family.type, family.documentation)
    return found


def _entry(kind: str, description: str = "") -> Entry:
    return {"type": kind, "help": description, "unit": ""}


def metadata(names: Iterable[str]) -> dict[str, Entry]:
    """Return {family: {"type", "help", "unit"}} of stored metrics, in order of name.

    The series of one histogram or summary are one family. A type that nothing tells is "unknown".
    """
    there, declared = set(names), _declared()
    found: dict[str, Entry] = {}
    for name in there:
        family, kind = _family(name, there)
        if family not in found or kind != "unknown":
            found[family] = declared.get(family) or _entry(kind)
    return dict(sorted(found.items()))


def _family(name: str, there: set[str]) -> tuple[str, str]:
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and f"{base}_bucket" in there:
            return base, "histogram"
        if base != name and {f"{base}_sum", f"{base}_count"} <= there:
            return base, "summary"
    return name, "counter" if name.endswith("_total") else "unknown"
