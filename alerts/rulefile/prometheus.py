"""A prometheus.yml taken over: its targets, and what it adds to every alert; all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from alerts.models import GlobalConfig
from alerts.rulefile.prometheus_read import FileTarget, PrometheusFile
from alerts.rulefile.yaml_nodes import FileError
from monitoring.models import Target

_GLOBAL_FIELDS = (
    "external_labels", "alert_relabel_configs", "evaluation_interval_seconds", "query_offset_seconds",
)  # fmt: skip


@dataclass
class Taken:
    """What became of the parts of a file, a line each."""

    lines: list[str] = field(default_factory=list)

    def note(self, word: str, what: str) -> None:
        """Note one thing."""
        self.lines.append(f"{word:9} {what}")


@transaction.atomic
def import_prometheus(file: PrometheusFile, owner: str) -> Taken:
    """Make the file's targets and global settings those of the portal; raises FileError, and changes nothing then.

    Targets of an earlier import of `owner` that the file has no more are removed.
    """
    taken, problems = Taken(), list[str]()
    _write_global(file, owner, taken, problems)
    left = {(one.job, one.instance_label): one for one in Target.objects.select_for_update().filter(managed_by=owner)}
    seen: dict[tuple[str, str], int] = {}
    for target in file.targets:
        key = (target.job, target.instance)
        if key in seen:
            where = f"line {target.line}: {target.job} {target.instance}"
            problems.append(f"{where} is there twice (line {seen[key]}); give each an instance of its own")
            continue
        seen[key] = target.line
        _write_target(target, left.pop(key, None), owner, taken, problems)
    if problems:
        raise FileError(problems)
    for gone in left.values():
        taken.note("removed", f"target {gone}")
        gone.delete()
    return taken


def _write_global(file: PrometheusFile, owner: str, taken: Taken, problems: list[str]) -> None:
    row = GlobalConfig.objects.select_for_update().first() or GlobalConfig(id=1)
    wanted: dict[str, Any] = {name: getattr(file, name) for name in _GLOBAL_FIELDS}
    wanted["external_labels"] = dict(file.external_labels)
    wanted["alert_relabel_configs"] = list(file.alert_relabel_configs)
    changed = [name for name, value in wanted.items() if getattr(row, name) != value]
    if not changed and row.managed_by == owner:
        return
    for name, value in wanted.items():
        setattr(row, name, value)
    row.managed_by = owner
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        problems.extend(_sentences(error))
        return
    row.save()
    taken.note("changed", f"global: {', '.join(changed)}" if changed else "global: owned by this file now")


def _write_target(wanted: FileTarget, row: Target | None, owner: str, taken: Taken, problems: list[str]) -> None:
    if row is None and Target.objects.filter(job=wanted.job, instance_label=wanted.instance).exists():
        text = "is there already and is not this file's; remove it, or change the instance"
        problems.append(f"line {wanted.line}: target {wanted.job} {wanted.instance} {text}")
        return
    target = row or Target(managed_by=owner)
    fields = dict(_fields(wanted))
    changed = [name for name, value in fields.items() if getattr(target, name) != value]
    for name, value in fields.items():
        setattr(target, name, value)
    try:
        target.full_clean(exclude=["deployment"])
    except ValidationError as error:
        problems.extend(f"line {wanted.line}: {text}" for text in _sentences(error))
        return
    if row is None or changed:
        target.save()
    taken.note("added" if row is None else "changed" if changed else "unchanged", f"target {target}: {target.url}")


def _fields(wanted: FileTarget) -> Iterator[tuple[str, Any]]:
    yield from (("job", wanted.job), ("instance_label", wanted.instance), ("url", wanted.url))
    yield from (("interval_seconds", wanted.interval_seconds), ("timeout_seconds", wanted.timeout_seconds))
    yield from (("labels", dict(wanted.labels)), ("is_enabled", True))
    yield from (("honor_labels", wanted.honor_labels), ("honor_timestamps", wanted.honor_timestamps))
    if wanted.sample_limit is not None:
        yield ("sample_limit", wanted.sample_limit)
    if wanted.body_limit_bytes is not None:
        yield ("body_limit_bytes", wanted.body_limit_bytes)


def _sentences(error: ValidationError) -> list[str]:
    return [f"{name}: {text}" for name, texts in error.message_dict.items() for text in texts]
