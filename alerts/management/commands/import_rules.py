"""`manage.py import_rules FILE`: rules of Prometheus become rules and thresholds that staff can change."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from alerts.engine.durations import parse_duration
from alerts.models import RuleGroup
from alerts.rulefile.owner import detach, owner_of, owners
from alerts.rulefile.plan import Kind, Plan, defaults, import_rules, plan
from alerts.rulefile.read import FileGroup, read
from alerts.rulefile.remarks import Linter
from alerts.rulefile.table import lines
from alerts.rulefile.yaml_nodes import FileError


class Command(BaseCommand):
    """All or nothing: one bad rule in one of the files keeps everything as it is."""

    help = "Import rule files of Prometheus. The file owns what it brought: importing it again updates that."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the files and how to take them."""
        parser.add_argument("files", metavar="FILE", nargs="*", help="rule files; - is standard input")
        parser.add_argument("--dry-run", action="store_true", help="show what would change, with lint; change nothing")
        parser.add_argument("--plain", action="store_true", help="keep conditions whole: no threshold rows")
        parser.add_argument("--owner", help="the name that owns the groups; the file's path when left out")
        parser.add_argument("--interval", metavar="D", help="of groups that name none; the global setting if left out")
        parser.add_argument("--lint", action="store_true", help="show remarks on the rules after importing too")
        parser.add_argument("--detach", metavar="OWNER", help="give the groups of this file or owner to staff")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, or show the plan; raises CommandError with every problem and its line."""
        if options["detach"]:
            self._detach(options["detach"])
            return
        if not options["files"]:
            raise CommandError("Name a rule file, or - for standard input.")
        if options["owner"] and len(options["files"]) > 1:
            raise CommandError("--owner takes one file: another file of the same owner would replace it.")
        at = timezone.now()
        with transaction.atomic():
            plans = [self._one(name, options, at) for name in options["files"]]
        for made in plans:
            self._tell(made, options["dry_run"], at, has_lint=options["dry_run"] or options["lint"])

    def _one(self, name: str, options: dict[str, Any], at: datetime) -> Plan:
        try:
            groups, owner = _read(name, options["owner"])
            given = defaults(not options["plain"], _seconds(options["interval"]))
            if options["dry_run"]:
                return plan(groups, owner, given)
            return import_rules(groups, owner, given, at)
        except (FileError, OSError, UnicodeDecodeError) as error:
            problems = error.problems if isinstance(error, FileError) else [str(error)]
            raise CommandError("\n".join(f"{name}: {problem}" for problem in problems)) from error

    def _tell(self, made: Plan, is_dry: bool, at: datetime, has_lint: bool) -> None:
        for line in lines(made, Linter(at).of_plan(made) if has_lint else None):
            self.stdout.write(line)
        counts = ", ".join(f"{made.count(kind)} {kind}" for kind in Kind)
        self.stdout.write(f"{made.owner}: {counts}{'; nothing was changed (--dry-run)' if is_dry else ''}")

    def _detach(self, name: str) -> None:
        wanted = {name, str(Path(name).resolve())}
        groups = list(RuleGroup.objects.filter(managed_by__in=wanted).order_by("id"))
        if not groups:
            known = "; ".join(owners()) or "none"
            raise CommandError(f"{name} owns no rule group. Owners are: {known}")
        for group in detach(groups):
            self.stdout.write(f"{group.name} belongs to staff now")


def _read(name: str, owner: str | None) -> tuple[tuple[FileGroup, ...], str]:
    if name == "-":
        if not owner:
            raise FileError(["name the owner with --owner when reading from standard input"])
        return read(sys.stdin.read()), owner
    path = Path(name)
    return read(path.read_text(encoding="utf-8"), path.stem), owner or owner_of(path)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"--interval: {error}") from error
