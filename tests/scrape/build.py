"""Makers of targets and readers of what was stored of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from django.db import connection

from monitoring import store, targets
from monitoring.collect.exposition import Exposition, Parser
from monitoring.models import Target
from monitoring.promql import Matcher
from monitoring.scraper import ScrapeLoop
from monitoring.targets import Outcome, Writer

NOW = 1_800_000_000_000
STALE_BITS = 0x7FF0000000000002
PATIENCE_SECONDS = 60
_numbers = itertools.count(1)


def make_target(url: str = "", **fields) -> Target:
    """A saved target of job "app"; without a URL one that nobody answers."""
    url = url or f"http://127.0.0.1:9/{next(_numbers)}"
    fields = {"job": "app", "instance_label": f"i{next(_numbers)}"} | fields
    return Target.objects.create(url=url, **fields)


class Scraped:
    """A target whose scrapes are written one by one, each 15 s after the other."""

    def __init__(self, target: Target) -> None:
        self.writer = Writer(targets.spec_of(target))
        self.parser = Parser(self.writer.spec.sample_limit, self.writer.spec.honor_timestamps)
        self.at_ms = NOW

    def says(self, text: str) -> store.Receipt:
        """A scrape that succeeds."""
        return self.record_exposition(self.parser.read(text.encode(), False))

    def record_exposition(self, found: Exposition) -> store.Receipt:
        """A scrape that was read elsewhere."""
        return self._record(Outcome(self.writer.spec, self.at_ms, 0.5, found))

    def fails(self, error: str = "no answer") -> store.Receipt:
        """A scrape that fails."""
        return self._record(Outcome(self.writer.spec, self.at_ms, 0.5, None, error))

    def _record(self, outcome: Outcome) -> store.Receipt:
        receipt = targets.record([(outcome, self.writer)], [], self.at_ms)
        self.at_ms += 15_000
        return receipt


def stored(name: str, **labels: str) -> dict[str, list[float | str]]:
    """{label text: values in order of time, "stale" for a stale marker} of a metric."""
    matchers = [Matcher("=", key, value) for key, value in {"__name__": name, **labels}.items()]
    found: dict[str, list[tuple[int, float | str]]] = {}
    for block in store.select(matchers, 0, 1 << 60):
        for series, line in zip(block.labels, block.values, strict=True):
            marks = np.ascontiguousarray(line).view(np.uint64) == STALE_BITS
            values = ["stale" if is_stale else value for value, is_stale in zip(line.tolist(), marks, strict=True)]
            found.setdefault(str(series), []).extend(zip(block.ts.tolist(), values, strict=True))
    return {
        series: [value for _, value in sorted(values, key=lambda pair: pair[0])] for series, values in found.items()
    }


def clock_ms() -> int:
    return round(time.time() * 1000)


def wait_until(is_true: Callable[[], object]) -> None:
    """Return as soon as it is true; AssertionError when it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@contextmanager
def scraping(name: str = "one", clock: Callable[[], int] = clock_ms) -> Iterator[ScrapeLoop]:
    """A scraper in a thread, until the end of the block."""
    loop, stop = ScrapeLoop(name, clock), threading.Event()

    def run():
        try:
            loop.run(stop)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield loop
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
