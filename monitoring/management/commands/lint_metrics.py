"""`manage.py lint_metrics`: what is unusual about the metrics of a target, with the reason of each rule."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from monitoring.collect.openmetrics import Malformed
from monitoring.collect.scrape import Requester, ScrapeFailed
from monitoring.models import ServedModel
from monitoring.models.targets import DEFAULT_BODY_LIMIT_BYTES, DEFAULT_TIMEOUT_SECONDS
from monitoring.naming import EXPLANATIONS, Finding, Level, lint_text

#: Findings of one rule that are shown: a hundred names in camel case say no more than ten.
SHOWN = 10


class Command(BaseCommand):
    """Needs no database; with one it knows the names of the registered models."""

    help = "Check the metrics of a target: names, units, suffixes and labels. Fails when there is a warning."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the source, models, --all and --explain."""
        parser.add_argument(
            "source", nargs="?", help="the URL of a target, a file with its answer, or - for standard input"
        )
        parser.add_argument("--model", action="append", default=[], help="a model's name to look for in metric names")
        parser.add_argument("--all", action="store_true", help=f"show more than {SHOWN} findings of a rule")
        parser.add_argument("--explain", action="store_true", help="list the rules with their reasons, check nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings; raises CommandError when the source cannot be read or a warning was found."""
        if options["explain"]:
            for code, why in EXPLANATIONS.items():
                self.stdout.write(f"{code}: {why}")
            return
        if not options["source"]:
            raise CommandError("Name the URL of a target, a file, or - for standard input.")
        try:
            body, is_openmetrics = _read(options["source"])
            findings = lint_text(body, is_openmetrics, [*options["model"], *_registered_models()])
        except (ScrapeFailed, Malformed, OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['source']}: {error}") from error
        self._tell(findings, sys.maxsize if options["all"] else SHOWN)

    def _tell(self, findings: list[Finding], shown: int) -> None:
        by_code: dict[str, list[Finding]] = {}
        for finding in sorted(findings, key=lambda finding: finding.level is Level.INFO):
            by_code.setdefault(finding.code, []).append(finding)
        for code, found in by_code.items():
            self.stdout.write(f"{found[0].level} {code}: {EXPLANATIONS[code]}")
            for finding in found[:shown]:
                better = f"; better: {finding.suggestion}" if finding.suggestion else ""
                self.stdout.write(f"    {finding.message}{better}")
            if len(found) > shown:
                self.stdout.write(f"    … and {len(found) - shown} more (--all)")
        warnings = sum(finding.level is Level.WARNING for finding in findings)
        if warnings:
            raise CommandError(f"{warnings} {'warning' if warnings == 1 else 'warnings'}.")
        self.stdout.write("No warnings." if findings else "Nothing to remark.")


def _read(source: str) -> tuple[str, bool]:
    if source.startswith(("http://", "https://")):
        requester = Requester(source, DEFAULT_TIMEOUT_SECONDS, DEFAULT_BODY_LIMIT_BYTES)
        try:
            answer = requester.get()
        finally:
            requester.close()
        return answer.body.decode(), answer.is_openmetrics
    body = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    return body, body.rstrip().endswith("# EOF")


def _registered_models() -> list[str]:
    try:
        return list(ServedModel.objects.values_list("name", flat=True))
    except DatabaseError:  # none is running: the names of --model must do
        return []
