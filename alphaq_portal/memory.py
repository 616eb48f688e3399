"""Memory that a burst of work left free goes back to the machine: the C library keeps it otherwise, for ever."""

from __future__ import annotations

import ctypes
import time

EVERY_SECONDS = 30.0
# Only glibc has it; other C libraries give back by themselves.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
_last = 0.0


def give_back(**_: object) -> None:
    """Return what is free, unless this process did so a moment ago; takes some milliseconds. Connected to signals."""
    global _last
    now = time.monotonic()
    if _trim is not None and now - _last >= EVERY_SECONDS:
        _last = now
        _trim(0)
