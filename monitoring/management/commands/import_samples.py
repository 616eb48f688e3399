"""`manage.py import_samples`: bring samples of another system into the store."""

from __future__ import annotations

import itertools
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring import store

from ._progress import Progress

#: Samples in memory at a time, about 50 bytes each.
BATCH = 2_000_000


class Command(BaseCommand):
    """Samples that are stored already stay; running it twice changes nothing."""

    help = "Import Prometheus text with times, OpenMetrics, or the output of `promtool tsdb dump`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file."""
        parser.add_argument("file", help="path, or - for standard input")
        parser.add_argument("--batch", type=int, default=BATCH, help="samples in memory at a time")

    def handle(self, *args: Any, **options: Any) -> None:
        """Read and store, batch by batch."""
        counts: Counter[str] = Counter()
        try:
            samples = store.read_lines(self._lines(options["file"]))
            while batch := list(itertools.islice(samples, options["batch"])):
                counts["read"] += len(batch)
                self._store(batch, counts)
        except (store.BadLine, store.BadKey, store.StoreError, UnicodeDecodeError) as error:
            stored = f"{counts['stored']:,} samples were stored before it"
            raise CommandError(f"{error}\n{stored}; the import can be run again") from error
        self.stdout.write(f"read {counts.pop('read', 0):,} samples, stored {counts.pop('stored', 0):,}")
        for reason, count in counts.items():
            self.stdout.write(f"dropped {count:,}: {reason}")

    def _lines(self, name: str) -> Iterator[str]:
        if name == "-":
            yield from sys.stdin
            return
        path = Path(name)
        if not path.is_file():
            raise CommandError(f"{name} is no file")
        progress, done = Progress(self.stderr, path.stat().st_size), 0
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                done += len(line)
                if number % 100_000 == 0:
                    progress.show(done, f"{number:,} lines")
                yield line
        progress.end()

    @staticmethod
    def _store(samples: list[tuple[str, float, int]], counts: Counter[str]) -> None:
        for batch in store.gather(samples):
            receipt = store.write(batch, now_ms=round(time.time() * 1000))
            counts["stored"] += receipt.samples
            counts.update(receipt.dropped)
