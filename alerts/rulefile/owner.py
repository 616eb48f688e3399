"""Which file owns which rule groups, and how they are given back to staff."""

from __future__ import annotations

from pathlib import Path

from django.db import transaction

from alerts.models import RuleGroup
from alerts.rulefile.yaml_nodes import FileError

MOST_CHARACTERS = 200


def owner_of(path: Path) -> str:
    """The name under which a file owns its groups: its whole path, since Prometheus too tells groups apart by it.

    Raises FileError when the path is too long to be kept.
    """
    name = str(path.resolve())
    if len(name) > MOST_CHARACTERS:
        raise FileError([f"the path has more than {MOST_CHARACTERS} characters; name the owner with --owner"])
    return name


def owners() -> list[str]:
    """The files that own groups now."""
    return sorted(set(RuleGroup.objects.exclude(managed_by="").values_list("managed_by", flat=True)))


@transaction.atomic
def detach(groups: list[RuleGroup]) -> list[RuleGroup]:
    """Give groups to staff: no import touches them any more. A name that staff use already gets the file's as well."""
    taken = set(RuleGroup.objects.filter(managed_by="").values_list("name", flat=True))
    for group in groups:
        stem = Path(group.managed_by).name
        names = (group.name, f"{group.name} ({stem})", *(f"{group.name} ({stem} {n})" for n in range(2, 1000)))
        group.name = next(name for name in names if name not in taken)[:200]
        taken.add(group.name)
        group._change_reason = f"Detached from {group.managed_by}"[:100]  # type: ignore[attr-defined]
        group.managed_by = ""
        group.save()
    return groups
