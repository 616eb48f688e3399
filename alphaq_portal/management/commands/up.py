"""`manage.py up`: the whole portal from one command, on its own Postgres and Valkey unless it is given others."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alphaq_portal.run import PortalRun, RunError


class Command(BaseCommand):
    """Start and supervise everything until Ctrl-C."""

    help = "Run the whole portal: database, broker, web, worker and beat. Ctrl-C stops all of it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Options of the command."""
        parser.add_argument("--show-logs", action="store_true", help="print every log line, not only problems")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        run = PortalRun(write=self.stdout.write, show_logs=options["show_logs"])
        try:
            run.until_stopped()
        except RunError as error:
            raise CommandError(str(error)) from None
