"""`manage.py agent`: collect from this machine and send to the portal, for a host without a Celery worker."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand

from monitoring.bootstep import clock_ms, collect_until
from monitoring.collect.host import HostReader


class Command(BaseCommand):
    """Needs the broker (REDIS_URL) and nothing else: no database, no worker."""

    help = "Collect CPU, memory, disk, network and GPU of this machine and send them to the portal until stopped."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --show."""
        parser.add_argument(
            "--show", action="store_true", help="print one reading and the facts of this host, and send nothing"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until TERM or INT."""
        if options["show"]:
            self._show()
            return
        stop = threading.Event()

        def end(_: int, __: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        env = settings.ENV
        self.stderr.write(f"Collecting from {env.host_name} every {env.collect_interval_seconds:g} s. Ctrl-C stops.")
        collect_until(stop, current_app)

    def _show(self) -> None:
        reader = HostReader(settings.ENV.host_name, settings.ENV.collect_interval_seconds, settings.VERSION)
        batch = reader.read(clock_ms())
        for key, value in zip(batch.keys, batch.values, strict=True):
            self.stdout.write(f"{key} {value:.15g}")
        for name, fact in (batch.facts or {}).items():
            self.stdout.write(f"# {name}: {fact}")
        reader.close()
