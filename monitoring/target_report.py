"""What a target exposes and how it is named: as it was scraped last, or asked just now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from monitoring import store
from monitoring.collect.openmetrics import key_labels
from monitoring.collect.report import Report, examine
from monitoring.metadata import metadata
from monitoring.models import ServedModel, Target
from monitoring.naming import EXPLANATIONS, Family, Finding, Level, families_of, lint_family
from monitoring.promql import Labels, Matcher
from monitoring.targets import REPORT_KEYS, spec_of

#: What the store cannot judge: it has no HELP and TYPE lines of targets that were never asked for them.
_LIVE_ONLY = frozenset({"no-help", "no-type"})


@dataclass(frozen=True, slots=True)
class Remark:
    """One rule of the lint, why it exists, and what broke it."""

    code: str
    level: Level
    why: str
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Names:
    """The metrics of a target and what is unusual about them, what matters most first."""

    families: list[Family]
    remarks: list[Remark]

    @property
    def series(self) -> int:
        """How many series there are."""
        return sum(family.series for family in self.families)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return sum(len(remark.findings) for remark in self.remarks if remark.level is Level.WARNING)


def ask(target: Target) -> Report:
    """Return what a target answers now, with its own limits; nothing is stored."""
    spec = spec_of(target)
    return examine(spec.url, spec.timeout_seconds, spec.body_limit_bytes, spec.sample_limit, spec.honor_timestamps)


def names_in(report: Report) -> Names:
    """Return the names of an answer; without any when the target is down."""
    series = ((key.partition("{")[0].strip(), key_labels(key)) for key in report.keys)
    told = {name: (entry.type, entry.help) for name, entry in report.metadata.items()}
    return _judge(families_of(series, told, report.is_openmetrics))


def names_stored(target: Target, at_ms: int) -> Names:
    """Return the names that the target's last scrapes brought (within half an hour); the store's, so without times.

    Labels that the scrape added are left out, and exported_… is what the target calls it.
    """
    given = dict(spec_of(target).labels)
    chosen = [Matcher("=", name, given[name]) for name in ("job", "instance")]
    found = [labels for labels in store.series(chosen, at_ms - 1_800_000, at_ms) if _name(labels) not in REPORT_KEYS]
    names = {_name(labels) for labels in found}
    told = {name: _first(entries) for name, entries in metadata(names).items()}
    return _judge(families_of(_own(found, given), told), without=_LIVE_ONLY)


def _first(entries: list[dict[str, str]]) -> tuple[str, str]:
    """Return (type, help) as one target says them; targets may differ."""
    entry = entries[0] if entries else {"type": "", "help": ""}
    return "" if entry["type"] == "unknown" else entry["type"], entry["help"]


def _name(labels: Labels) -> str:
    return labels.get("__name__")


def _own(found: Iterable[Labels], given: dict[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    for labels in found:
        own = {name: value for name, value in labels.pairs if name != "__name__" and given.get(name) != value}
        yield _name(labels), {name.removeprefix("exported_"): value for name, value in own.items()}


def _judge(families: list[Family], without: frozenset[str] = frozenset()) -> Names:
    models = list(ServedModel.objects.values_list("name", flat=True))
    findings = [finding for family in families for finding in lint_family(family, models)]
    order = list(EXPLANATIONS)
    findings.sort(key=lambda finding: (finding.level is Level.INFO, order.index(finding.code)))
    remarks = [
        Remark(code, level, EXPLANATIONS[code], list(members))
        for (code, level), members in groupby(findings, key=lambda finding: (finding.code, finding.level))
        if code not in without
    ]
    return Names(families, remarks)
