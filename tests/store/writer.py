"""A process for the tests of sudden death: appends or keeps house until it is killed, and says what was acknowledged.

python -m tests.store.writer write SOURCE START_MS STEP_MS
python -m tests.store.writer house START_MS STEP_MS
"""

from __future__ import annotations

import os
import sys

import django
import numpy as np

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


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    house(int(sys.argv[2]), int(sys.argv[3]))
