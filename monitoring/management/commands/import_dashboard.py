"""`manage.py import_dashboard FILE`: a Grafana dashboard into the portal, with a report of every panel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.dashboards import grafana_in, rows
from monitoring.dashboards.grafana_json import MAX_BYTES, GrafanaError
from monitoring.models import Dashboard


class Command(BaseCommand):
    """Imports dashboards that Grafana exported as JSON."""

    help = "Import Grafana dashboards and say for each panel whether it was converted, approximated or skipped."

    def add_arguments(self, parser: CommandParser) -> None:
        """The files and what to do with them."""
        parser.add_argument("files", nargs="+", metavar="FILE", help="exported JSON; - reads standard input")
        parser.add_argument("--check", action="store_true", help="only report; save nothing")
        parser.add_argument("--replace", metavar="SLUG", help="replace the panels of this dashboard")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import each file; the first that cannot be read ends the command, those before it stay imported."""
        files = options["files"]
        replacing = self._replaced(options["replace"], files)
        for name in files:
            try:
                done = grafana_in.read(_content(name))
            except GrafanaError as error:
                raise CommandError(f"{name}: {error}") from error
            self._report(name, done)
            if not options["check"]:
                saved = rows.save(done.spec, Dashboard.Source.IMPORTED, replacing=replacing)
                self.stdout.write(f"saved as {saved.slug}: /dashboards/{saved.slug}/")

    def _replaced(self, slug: str | None, files: list[str]) -> Dashboard | None:
        if not slug:
            return None
        if len(files) > 1:
            raise CommandError("--replace takes one file.")
        found = Dashboard.objects.filter(slug=slug).first()
        if found is None:
            raise CommandError(f"There is no dashboard {slug!r} to replace.")
        return found

    def _report(self, name: str, done: grafana_in.Imported) -> None:
        counts = ", ".join(f"{done.count(outcome)} {outcome}" for outcome in grafana_in.Outcome)
        self.stdout.write(f"{name}: {done.spec.title}: panels {counts}")
        for one in done.findings:
            if one.reasons:
                what = f"panel {one.number} {one.title!r}" if one.number else one.title
                self.stdout.write(f"  {what}: {one.outcome}: {'; '.join(one.reasons)}")


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from error
