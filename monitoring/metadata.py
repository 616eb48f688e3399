"""Type, help and unit of metrics: what targets say, else what the portal's own code declares, else what a name says.

Targets may differ about a metric; all that they say is kept, up to a bound, and told as Prometheus tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import connection
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from .collect.report import Metadata
from .instrument import AsgiMetrics, ModelMetrics
from .instrument.web import Receive, Scope, Send
from .models import MetricMetadata

Entry = dict[str, str]
Row = tuple[str, str, str, str]  # name, type, help, unit
MAX_NAME_CHARS = 300
MAX_HELP_CHARS = 500
MAX_UNIT_CHARS = 100
MAX_TYPE_CHARS = 20
#: What targets may say of one metric; a HELP line with the time in it must not fill the table.
MAX_ENTRIES = 10
#: Rows this process knows to be in the table, some 300 bytes each.
MAX_KNOWN = 100_000
_known: set[Row] = set()


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


def learn(told: Iterable[Mapping[str, Metadata]]) -> int:
    """Keep what some scrapes say of their metrics and return how many things were new to this process."""
    new: dict[Row, None] = {}
    for one in told:
        for name, entry in one.items():
            row = (name, _cut(entry.type, MAX_TYPE_CHARS), _cut(entry.help), _cut(entry.unit, MAX_UNIT_CHARS))
            if row not in _known and len(name) <= MAX_NAME_CHARS and "\0" not in "".join(row):
                new[row] = None
    if not new:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into monitoring_metricmetadata (name, type, help, unit)"
            " select u.* from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) u (name, type, help, unit)"
            " where (select count(*) from monitoring_metricmetadata m where m.name = u.name) < %s"
            " on conflict do nothing",
            [*(list(column) for column in zip(*new, strict=True)), MAX_ENTRIES],
        )
    if len(_known) + len(new) > MAX_KNOWN:
        _known.clear()
    _known.update(new)
    return len(new)


def forget() -> None:
    """Make the next `learn` write what this process has written before; for tests."""
    _known.clear()


def _cut(text: str, most: int = MAX_HELP_CHARS) -> str:
    """Return a text short enough for an index, in characters and in bytes."""
    return text[:most].encode("utf-8", "replace")[: 2 * most].decode("utf-8", "ignore")


def metadata(names: Iterable[str]) -> dict[str, list[Entry]]:
    """Return {family: [{"type", "help", "unit"}]} of stored metrics, in order of name.

    The series of one histogram or summary are one family. A type that nothing tells is "unknown".
    """
    there, declared, told = set(names), _declared(), _told()
    found: dict[str, list[Entry]] = {}
    unknown: set[str] = set()
    for name in there:
        family, kind = _family(name, there)
        if family in found and family not in unknown:
            continue
        entries = told.get(family) or [declared[family]] if family in told or family in declared else []
        if not entries and _is_told_with_another(name, told):
            continue
        found[family] = entries or [_entry(kind)]
        if not entries and kind == "unknown":
            unknown.add(family)
    return dict(sorted(found.items()))


def _told() -> dict[str, list[Entry]]:
    """What targets say, under the names that the series of a family have: OpenMetrics names counters without _total."""
    found: dict[str, list[Entry]] = {}
    for name, kind, text, unit in MetricMetadata.objects.values_list("name", "type", "help", "unit"):
        entry = {"type": kind or "unknown", "help": text, "unit": unit}
        suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
        for one in {name, f"{name.removesuffix(suffix)}{suffix}"}:
            found.setdefault(one, []).append(entry)
    return found


def _is_told_with_another(name: str, told: Mapping[str, list[Entry]]) -> bool:
    """Whether a series only says when another of a known family began."""
    base = name.removesuffix("_created")
    return base != name and (base in told or f"{base}_total" in told)


def _family(name: str, there: set[str]) -> tuple[str, str]:
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and f"{base}_bucket" in there:
            return base, "histogram"
        if base != name and {f"{base}_sum", f"{base}_count"} <= there:
            return base, "summary"
    return name, "counter" if name.endswith("_total") else "unknown"
