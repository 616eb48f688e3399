"""`manage.py prepare`: bring the database to a usable state; `up` and deployments run it before anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.utils import OperationalError

from alphaq_portal import bootstrap


class Command(BaseCommand):
    """Migrate, make groups, the starter rules and, in an empty portal, the first admin."""

    help = "Migrate the database and fill in what a new portal starts with. Running it again is harmless."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare, and tell the first admin's password once."""
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except OperationalError as error:
            raise CommandError(f"The database does not answer; check DATABASE_URL.\n  {str(error).strip()}") from None
        first_admin = bootstrap.prepare(settings.ENV.data_dir, datetime.now(UTC), settings.ENV.starter_rules)
        if first_admin:
            self.stdout.write("")
            self.stdout.write(f"  Sign in as {first_admin.name} with the password {first_admin.password}")
            self.stdout.write(f"  (shown once; kept in {first_admin.password_file})")
            self.stdout.write("")
