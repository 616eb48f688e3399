"""`manage.py scrape`: a process that scrapes and probes its share, beside any number of others."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.prober import ProbeLoop
from monitoring.scraper import ScrapeLoop

TOLD, ENDED = b"t", b"e"
STOP_SECONDS = 10


def clock_ms() -> int:
    """Return the time of this machine's clock in epoch milliseconds."""
    return round(time.time() * 1000)


def clock() -> datetime:
    """Return the time of this machine's clock as an aware UTC datetime."""
    return datetime.now(UTC)


class Command(BaseCommand):
    """Needs the database and nothing else."""

    help = "Scrape targets and ask probes until stopped. Several processes share them; when one dies, the others go on."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --name."""
        parser.add_argument("--name", help="how this process is listed; must differ between processes")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until TERM or INT."""
        name = options["name"] or f"{socket.gethostname()}:{os.getpid()}"
        self.stderr.write(f"Scraping as {name}. Ctrl-C stops.")
        # A handler that sets an event may interrupt its own thread inside that event; writing to a pipe is safe.
        told, tell = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(tell, TOLD))
        stop = threading.Event()
        threads = [
            threading.Thread(target=_run, args=(loop, stop, tell), daemon=True)
            for loop in (ScrapeLoop(name, clock_ms), ProbeLoop(name, clock))
        ]
        for thread in threads:
            thread.start()
        has_failed = os.read(told, 1) != TOLD
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
        if has_failed:
            raise CommandError("The scraper has ended by itself; the reason is above.")


def _run(loop: ScrapeLoop | ProbeLoop, stop: threading.Event, tell: int) -> None:
    try:
        loop.run(stop)
    finally:
        os.write(tell, ENDED)
