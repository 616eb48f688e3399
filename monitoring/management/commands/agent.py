"""`manage.py agent`: collect from this machine and send to the portal, for a host without a Celery worker."""

from __future__ import annotations

import os
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from monitoring.bootstep import STOP_SECONDS, clock_ms, collect_until
from monitoring.collect.host import HostReader

TOLD, ENDED = b"t", b"e"


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
        env = settings.ENV
        self.stderr.write(f"Collecting from {env.host_name} every {env.collect_interval_seconds:g} s. Ctrl-C stops.")
        self._run_until_told()

    def _run_until_told(self) -> None:
        # A handler that sets an event may interrupt its own thread inside that event; writing to a pipe is safe.
        told, tell = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(tell, TOLD))
        stop = threading.Event()
        thread = threading.Thread(target=_collect, args=(stop, tell), name="host-collector", daemon=True)
        thread.start()
        has_failed = os.read(told, 1) != TOLD
        stop.set()
        thread.join(2 * STOP_SECONDS)
        if has_failed:
            raise CommandError("The collector has ended by itself; the reason is above.")

    def _show(self) -> None:
        reader = HostReader(settings.ENV.host_name, settings.ENV.collect_interval_seconds, settings.VERSION)
        batch = reader.read(clock_ms())
        for key, value in zip(batch.keys, batch.values, strict=True):
            self.stdout.write(f"{key} {value:.15g}")
        for name, fact in (batch.facts or {}).items():
            self.stdout.write(f"# {name}: {fact}")
        reader.close()


def _collect(stop: threading.Event, tell: int) -> None:
    try:
        collect_until(stop, current_app)
    finally:
        os.write(tell, ENDED)
