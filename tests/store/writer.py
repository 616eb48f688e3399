"""A process for the tests of sudden death: appends or keeps house until it is killed, and says what was acknowledged.

python -m tests.store.writer write SOURCE START_MS STEP_MS
python -m tests.store.writer house START_MS STEP_MS
python -m tests.store.writer turn
python -m tests.store.writer read METRIC
"""

from __future__ import annotations

import os
import sys
import time

import django
import numpy as np
from django.db import Error as DatabaseError
from django.db import connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
KEYS = ["counter", "other", 'third{x="1"}']


def write(source: str, at_ms: int, step_ms: int) -> None:
    """Append a scrape at each step; print its time when it has been acknowledged."""
    from monitoring import store

    while True:
        values = np.array([float(at_ms), 2.0, -0.0])
        receipt = store.append([store.Scrape(source, {"source": source}, at_ms, KEYS, values)], now_ms=at_ms)
        if receipt.samples:
            sys.stdout.write(f"{at_ms}\n")
            sys.stdout.flush()
        at_ms += step_ms


def house(at_ms: int, step_ms: int) -> None:
    """Keep house at each step; print the time of each round that ended."""
    from monitoring import store

    while True:
        store.keep_house(at_ms)
        sys.stdout.write(f"{at_ms}\n")
        sys.stdout.flush()
        at_ms += step_ms


def turn() -> None:
    """Turn every row that is two seconds old into a block, again and again, whatever the database does."""
    from monitoring import store

    while True:
        try:
            store.ensure_partitions(round(time.time() * 1000))
            store.pivot_before(round(time.time() * 1000) - 2_000)
        except DatabaseError:
            connection.close()
        time.sleep(0.1)


def read(metric: str) -> None:
    """Print every sample of a metric, labels, time and bits, and then a line "end"."""
    from monitoring import store
    from monitoring.promql import Matcher

    for block in store.select([Matcher("=", "__name__", metric)], 0, 1 << 60):
        bits = np.ascontiguousarray(block.values).view(np.uint64)
        for labels, line in zip(block.labels, bits, strict=True):
            for at_ms, value in zip(block.ts.tolist(), line.tolist(), strict=True):
                sys.stdout.write(f"{labels} {at_ms} {value}\n")
    sys.stdout.write("end\n")


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "house":
        house(int(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "turn":
        turn()
    else:
        read(sys.argv[2])
