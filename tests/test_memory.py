"""What a burst of work leaves free is given back to the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alphaq_portal import memory

# Blocks of the C library's heap, of which the last stays: what is free below it is kept unless it is asked for.
BURST = """
import psutil
from alphaq_portal import memory
resident = lambda: psutil.Process().memory_info().rss // 2**20
before = resident()
blocks = [bytearray(8000) for _ in range(10_000)]
full = resident()
del blocks[:-1]
kept = resident()
memory.give_back()
print(before, full, kept, resident())
"""


@pytest.mark.skipif(memory._trim is None, reason="this C library gives back by itself")
def test_what_is_free_is_given_back():
    run = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    before, full, kept, after = map(int, run.stdout.split())
    assert full - before > 60 and full - kept < 10, "the test needs a heap that is kept"
    assert after - before < 10


def test_it_is_asked_for_now_and_then_only(monkeypatch):
    asked = []
    now = 1000.0
    monkeypatch.setattr(memory, "_trim", asked.append)
    monkeypatch.setattr(memory, "_last", 0.0)
    monkeypatch.setattr(memory.time, "monotonic", lambda: now)
    for second in (0, 1, 29.9, 30, 31):
        now = 1000.0 + second
        memory.give_back(sender="a request")
    assert asked == [0, 0]


def test_a_c_library_without_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_trim", None)
    memory.give_back()
