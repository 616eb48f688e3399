"""`manage.py test_rules FILE`: promtool's unit tests of rules, on the engine that evaluates them here."""

from __future__ import annotations

import glob
import re
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts.rulefile.read import read
from alerts.rulefile.unit_read import UnitTestFile, read_tests
from alerts.rulefile.unit_run import run_test
from alerts.rulefile.wanted import Defaults, WantedGroup, wanted
from alerts.rulefile.yaml_nodes import FileError


class Command(BaseCommand):
    """Output and exit code are those of `promtool test rules`: 0 when all is well, else 1. Needs no database."""

    help = "Run unit tests of rules in promtool's format on the portal's own engine."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the files and promtool's options."""
        parser.add_argument("files", metavar="FILE", nargs="+", help="files of unit tests")
        parser.add_argument("--run", metavar="REGEX", action="append", help="only tests whose name has a match")
        parser.add_argument("--ignore-unknown-fields", action="store_true", help="do not fail for unknown fields")
        parser.add_argument("--as-imported", action="store_true", help="split rules as import_rules would")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the tests; exits with 1 when one failed."""
        try:
            patterns = [re.compile(text) for text in options["run"] or ()]
        except re.error as error:
            raise CommandError(f"--run: {error}") from error
        has_failed = False
        for name in options["files"]:
            self.stdout.write(f"Unit Testing:  {name}")
            failures = _failures(Path(name), patterns, options["ignore_unknown_fields"], options["as_imported"], self)
            has_failed |= bool(failures)
            if failures:
                self.stderr.write("  FAILED:")
                for text in failures:
                    self.stderr.write(text)
            else:
                self.stdout.write("  SUCCESS")
            self.stdout.write("")
        if has_failed:
            sys.exit(1)


def _failures(
    path: Path, patterns: list[re.Pattern[str]], ignores_unknown: bool, splits: bool, command: BaseCommand
) -> list[str]:
    try:
        file = read_tests(path.read_text(encoding="utf-8"), ignores_unknown)
        groups = _groups(path, file, ignores_unknown, splits, command)
    except FileError as error:
        return [f"    {problem}" for problem in error.problems]
    except (OSError, UnicodeDecodeError) as error:
        return [f"    {error}"]
    failures: list[str] = []
    for test in file.tests:
        if patterns and not any(pattern.search(test.name) for pattern in patterns):
            continue
        failures += run_test(test, groups, file.evaluation_seconds, file.group_order, file.is_fuzzy)
    return failures


def _groups(
    path: Path, file: UnitTestFile, ignores_unknown: bool, splits: bool, command: BaseCommand
) -> list[WantedGroup]:
    found: list[WantedGroup] = []
    for pattern in file.rule_files:
        names = sorted(glob.glob(str(path.parent / pattern)))
        if not names:
            command.stdout.write(f"  WARNING: no file match pattern {path.parent / pattern}")
        for name in names:
            try:
                text = Path(name).read_text(encoding="utf-8")
                # Every group is evaluated at the file's own interval, whatever the group says.
                groups = [replace(one, interval_seconds=None) for one in read(text, "rules", ignores_unknown)]
                found += wanted(groups, name, Defaults(splits=splits))
            except FileError as error:
                raise FileError([f"{name}: {problem}" for problem in error.problems]) from error
    return found
