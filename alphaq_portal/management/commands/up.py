"""`manage.py up`: the whole portal from one command, on its own Postgres and Valkey unless it is given others.

manage.py runs it without loading Django, so that the supervisor stays small; this makes `help` and `call_command` work.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alphaq_portal import run


class Command(BaseCommand):
    """Start and supervise everything until Ctrl-C."""

    help = run.HELP
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Options of the command."""
        run.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped."""
        if status := run.main_with(options["show_logs"]):
            raise CommandError("The portal stopped with an error.", returncode=status)
