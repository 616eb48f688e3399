"""`manage.py import_escalation FILE`: escalation policies and rotas from YAML."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from alerts import escalation_file
from alerts.amfile.config import ConfigError


class Command(BaseCommand):
    """All or nothing: one fault keeps everything as it is."""

    help = "Import escalation policies and rotas. The file owns what it brought: importing it again updates that."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file and under which name it owns what it brings."""
        parser.add_argument("file", metavar="FILE", help="a YAML file with policies and rotas; - is standard input")
        parser.add_argument("--owner", help="the name that owns the policies; the file's path when left out")
        parser.add_argument("--dry-run", action="store_true", help="check the file and say what would change")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import; raises CommandError with every fault and its path."""
        name, is_dry = options["file"], options["dry_run"]
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            owner = options["owner"] or ("standard input" if name == "-" else str(Path(name).resolve()))
            if len(owner) > 200:
                raise ConfigError(["the path has more than 200 characters; name the owner with --owner"])
            with transaction.atomic():
                done = escalation_file.take(escalation_file.read(text), owner)
                transaction.set_rollback(is_dry)
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            raise CommandError("\n".join(f"{name}: {problem}" for problem in problems)) from error
        counts = ", ".join(f"{done[kind]} {kind}" for kind in ("made", "changed", "same", "removed"))
        self.stdout.write(f"{counts}{'; nothing was changed (--dry-run)' if is_dry else ''}")
