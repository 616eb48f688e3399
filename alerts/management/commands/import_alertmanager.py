"""`manage.py import_alertmanager FILE`: routes, receivers, inhibition and times as an Alertmanager file has them."""

from __future__ import annotations

import glob
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from alerts import amfile
from alerts.amfile import Kept


class Command(BaseCommand):
    """All of the file or nothing; the same file again changes only what it changed."""

    help = "Import an Alertmanager configuration file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take FILE and how to deal with what does not fit."""
        parser.add_argument("file", metavar="FILE")
        parser.add_argument("--owner", help="the name that owns what is imported; the file's path when left out")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        parser.add_argument(
            "--skip-unsupported", action="store_true", help="leave out what the portal cannot do instead of refusing"
        )
        parser.add_argument(
            "--take-over", action="store_true", help="also change what staff or another file made under these names"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Read, keep, and say what became of each part."""
        path = Path(options["file"]).absolute()
        owner = options["owner"] or str(path)
        if len(owner) > 200:
            raise CommandError("The path has more than 200 characters; name the owner with --owner.")
        keep = amfile.keep_checked if options["dry_run"] else amfile.keep
        try:
            text = path.read_text(encoding="utf-8-sig")
            config = amfile.read(text, files_beside(path), skips_unsupported=options["skip_unsupported"])
            kept = keep(config, owner, datetime.now(UTC), takes_over=options["take_over"])
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CommandError(f"{path} is no UTF-8 text (byte {error.start}).") from error
        except amfile.ConfigError as error:
            lines = "\n".join(f"  - {problem}" for problem in error.problems)
            raise CommandError(f"{path} is not imported; nothing was changed:\n{lines}") from error
        for line in _report(kept):
            self.stdout.write(line)
        if options["dry_run"]:
            self.stdout.write("Nothing was changed (--dry-run).")


def files_beside(path: Path) -> amfile.Files:
    """What a configuration points to, beside its own file unless the path is absolute."""
    folder = path.parent

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    def matching(pattern: str) -> Iterable[str]:
        return [Path(name).read_text(encoding="utf-8") for name in sorted(glob.glob(str(folder / pattern)))]

    return amfile.Files(text, matching)


def _report(kept: Kept) -> Iterable[str]:
    for word in ("new", "changed", "removed"):
        yield from (f"{word}: {what}" for what in getattr(kept, word))
    if kept.same:
        yield f"unchanged: {len(kept.same)}"
    yield from (f"note: {note}" for note in kept.notes)
    yield from (f"look at: {finding}" for finding in kept.findings)
