"""`manage.py export_alertmanager`: routes, receivers, inhibition and times as a file for Alertmanager."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from alerts import amfile


class Command(BaseCommand):
    """Addresses and tokens are written as <secret> unless they are asked for."""

    help = "Print the routing tree with all it needs as an Alertmanager configuration file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take whether secrets shall be written."""
        parser.add_argument("--with-secrets", action="store_true", help="write addresses and tokens as they are")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the file."""
        self.stdout.write(amfile.write(with_secrets=options["with_secrets"]), ending="")
