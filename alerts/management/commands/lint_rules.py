"""`manage.py lint_rules`: what is wrong or surprising about the portal's rules, by the list of form and import."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Prefetch
from django.utils import timezone

from alerts import scope
from alerts.engine.findings import Finding, Level
from alerts.models import Rule, RuleGroup, Threshold
from alerts.rulefile.remarks import Linter

_FAILS = {"error": (Level.ERROR,), "warning": (Level.ERROR, Level.WARNING), "info": tuple(Level)}


class Command(BaseCommand):
    """Looks at what is stored now; limits that staff added are looked at as well."""

    help = "Check the portal's rules and their limits. Fails when something is found that is as bad as --fail-on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the groups, how bad a finding must be to fail, and whether to leave out what is only good to know."""
        parser.add_argument("groups", metavar="GROUP", nargs="*", help="names of groups; all when left out")
        parser.add_argument("--fail-on", choices=list(_FAILS), default="error", help="error when left out")
        parser.add_argument("--quiet", action="store_true", help="leave out what is only good to know")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings; raises CommandError for a group that is not there."""
        linter = Linter(timezone.now())
        fails = False
        count = 0
        for rule in _rules(options["groups"]):
            found = linter.remarks(rule, list(rule.thresholds.all()), rule.group.interval_seconds)
            found = [one for one in found if not options["quiet"] or one.level is not Level.INFO]
            fails |= any(one.level in _FAILS[options["fail_on"]] for one in found)
            count += bool(found)
            for line in _lines(rule, found):
                self.stdout.write(line)
        self.stdout.write(f"{count} rules with remarks" if count else "Nothing to remark.")
        if fails:
            sys.exit(1)


def _rules(groups: list[str]) -> Iterator[Rule]:
    missing = set(groups) - set(RuleGroup.objects.filter(name__in=groups).values_list("name", flat=True))
    if missing:
        raise CommandError(f"There is no group named {', '.join(sorted(missing))}.")
    rows = Rule.objects.exclude(life=Rule.Life.DISABLED).select_related("group")
    rows = rows.filter(group__name__in=groups) if groups else rows
    limits = Prefetch("thresholds", Threshold.objects.select_related(*scope.RELATED))
    yield from rows.prefetch_related(limits).order_by("group__name", "position", "id")


def _lines(rule: Rule, found: list[Finding]) -> Iterator[str]:
    if found:
        yield f"{rule.group.name} / {rule.name}"
    for one in found:
        place = f" line {one.line}" if one.line > 1 else ""
        yield f"    {one.level} in {one.field}{place}: {one.message}"
        if one.suggestion:
            yield f"        better: {one.suggestion}"
