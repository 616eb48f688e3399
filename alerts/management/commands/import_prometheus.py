"""`manage.py import_prometheus FILE`: targets, external labels and alert relabelling of a prometheus.yml."""

from __future__ import annotations

import glob
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from alerts.rulefile.owner import owner_of
from alerts.rulefile.plan import Kind, defaults, import_rules
from alerts.rulefile.prometheus import import_prometheus
from alerts.rulefile.prometheus_read import PrometheusFile, read_prometheus
from alerts.rulefile.read import read
from alerts.rulefile.yaml_nodes import FileError


class Command(BaseCommand):
    """All or nothing; a part that the portal cannot take stops the import unless --partial is given."""

    help = "Take over a prometheus.yml: static targets, global times and labels, alert_relabel_configs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file and how much of it."""
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--partial", action="store_true", help="import the rest when some parts are unsupported")
        parser.add_argument("--with-rules", action="store_true", help="import the files of rule_files as well")
        parser.add_argument("--owner", help="the name that owns what is imported; the file's path when left out")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say what happened; raises CommandError with every problem."""
        path = Path(options["file"])
        try:
            file = read_prometheus(path.read_text(encoding="utf-8"))
            if file.unsupported and not options["partial"]:
                raise FileError([*file.unsupported, "nothing was imported; --partial imports the rest"])
            with transaction.atomic():
                lines = import_prometheus(file, options["owner"] or owner_of(path)).lines
                lines += _rules(path, file) if options["with_rules"] else []
        except FileError as error:
            raise CommandError("\n".join(f"{path}: {problem}" for problem in error.problems)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path}: {error}") from error
        for line in [*lines, *(f"left out  {part}" for part in file.unsupported)]:
            self.stdout.write(line)
        needless = [part for part in file.needless if not (options["with_rules"] and part.startswith("rule_files"))]
        for part in needless:
            self.stdout.write(f"not used  {part}")


def _rules(path: Path, file: PrometheusFile) -> list[str]:
    """Import every file that rule_files names, relative to the configuration as Prometheus reads them."""
    told = []
    for pattern in file.rule_files:
        for name in sorted(glob.glob(str(path.parent / pattern))):
            one = Path(name)
            try:
                made = import_rules(read(one.read_text(encoding="utf-8")), owner_of(one), defaults(), timezone.now())
            except FileError as error:
                raise FileError([f"{name}: {problem}" for problem in error.problems]) from error
            told.append(f"imported  {name}: {', '.join(f'{made.count(kind)} {kind}' for kind in Kind)}")
    return told
