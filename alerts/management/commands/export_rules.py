"""`manage.py export_rules`: the portal's rules as a plain rule file that Prometheus can load."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from alerts.models import Rule, RuleGroup
from alerts.rulefile.write import export


class Command(BaseCommand):
    """Live rules of enabled groups unless told otherwise; thresholds become conditions."""

    help = "Write rules and thresholds as a rule file of Prometheus that fires for the same series."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the groups and where to write."""
        parser.add_argument("groups", metavar="GROUP", nargs="*", help="names of groups; all when left out")
        parser.add_argument("-o", "--output", metavar="FILE", help="standard output when left out")
        parser.add_argument("--all", action="store_true", help="drafts, shadow rules and disabled ones too")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the file; raises CommandError for a group that is not there."""
        rows = RuleGroup.objects.order_by("name", "managed_by")
        if not options["all"]:
            rows = rows.filter(is_enabled=True)
        if options["groups"]:
            rows = rows.filter(name__in=options["groups"])
            missing = set(options["groups"]) - set(rows.values_list("name", flat=True))
            if missing:
                raise CommandError(f"There is no enabled group named {', '.join(sorted(missing))}.")
        text = export(list(rows), timezone.now(), Rule.Life.values if options["all"] else (Rule.Life.LIVE,))
        if options["output"]:
            Path(options["output"]).write_text(text, encoding="utf-8")
        else:
            self.stdout.write(text, ending="")
