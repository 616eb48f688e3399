"""`manage.py export_samples`: write samples as OpenMetrics, for `promtool tsdb create-blocks-from` and others."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError

from monitoring import query, store
from monitoring.promql import Labels, Matcher, QueryError, is_stale, parse_matchers

from ._progress import Progress
from ._times import parse_time


class Command(BaseCommand):
    """Series by series in order of time; stale markers have no form in OpenMetrics and are left out."""

    help = "Export samples as OpenMetrics text with times."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take what to export and where to."""
        parser.add_argument("file", nargs="?", default="-", help="path, or - for standard output")
        parser.add_argument("--match", default="", help='matchers, for example \'job="node",__name__=~"node_.*"\'')
        parser.add_argument("--start", default="6h", help="ISO time, Unix seconds, or an age such as 6h")
        parser.add_argument("--end", default="now")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write metric by metric."""
        now = datetime.now(UTC)
        start, end = parse_time(options["start"], now), parse_time(options["end"], now)
        try:
            matchers = parse_matchers(options["match"]) if options["match"].strip("{} ") else ()
        except QueryError as error:
            raise CommandError(str(error)) from error
        names = query.label_values("__name__", matchers, start, end)
        progress = Progress(self.stderr, len(names))
        count = 0
        with _opened(options["file"], self.stdout) as out:
            for done, name in enumerate(names):
                out.write(f"# TYPE {name} unknown\n")
                asked = (*matchers, Matcher("=", "__name__", name))
                for line in _lines(asked, query.to_ms(start), query.to_ms(end)):
                    out.write(line + "\n")
                    count += 1
                progress.show(done + 1, f"{count:,} samples")
            out.write("# EOF\n")
        progress.end()
        self.stderr.write(f"exported {count:,} samples of {len(names):,} metrics")


def _lines(matchers: tuple[Matcher, ...], start_ms: int, end_ms: int) -> Iterator[str]:
    series: dict[Labels, dict[int, float]] = {}
    for block in store.select(matchers, start_ms, end_ms):
        for labels, values in zip(block.labels, block.values, strict=True):
            there = ~is_stale(values)
            pairs = zip(block.ts[there].tolist(), values[there].tolist(), strict=True)
            series.setdefault(labels, {}).update(pairs)
    for labels in sorted(series):
        for at_ms, value in sorted(series[labels].items()):
            yield store.sample_line(labels, at_ms, value)


@contextmanager
def _opened(name: str, stdout: Any) -> Iterator[TextIO]:
    if name == "-":
        yield getattr(stdout, "_out", sys.stdout)
        return
    try:
        with Path(name).open("w", encoding="utf-8") as out:
            yield out
    except OSError as error:
        raise CommandError(f"cannot write {name}: {error.strerror}") from error
