"""Samples for the store's benchmarks: a node_exporter captured now, continued for as many hosts and hours as wanted.

Counters go on by bootstrapped 15 s increments (the same rows for all series of a host, so that they stay consistent),
gauges as bounded walks; everything is rounded to the decimals that were captured.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EXPORTER = "/usr/bin/prometheus-node-exporter"
STRIDE = 15  # captured once a second, continued in steps of 15 s
BLOCK = 4  # consecutive increments taken together


@dataclass(frozen=True)
class Capture:
    """What an exporter said, second by second: values (scrapes, series) of the series that were always there."""

    names: list[str]
    values: np.ndarray
    is_counter: np.ndarray
    decimals: np.ndarray
    text: str


def capture(seconds: int, port: int = 19_190) -> Capture:
    """Run node_exporter and scrape it once a second."""
    command = [EXPORTER, f"--web.listen-address=127.0.0.1:{port}", "--collector.interrupts", "--collector.processes"]
    exporter = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        texts = []
        start = time.monotonic()
        while len(texts) < seconds:
            time.sleep(max(0.0, start + len(texts) + 1 - time.monotonic()))
            texts.append(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode())
    finally:
        exporter.terminate()
        exporter.wait()
    return parse(texts)


def parse(texts: list[str]) -> Capture:
    """Return the captured scrapes as numbers."""
    types: dict[str, str] = {}
    rows = []
    decimals: dict[str, int] = {}
    for text in texts:
        row = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                types[name] = kind
            elif line and line[0] != "#":
                key, _, value = line.rpartition(" ")
                row[key] = float(value)
                mantissa, _, exponent = value.partition("e")
                places = len(mantissa.partition(".")[2]) - int(exponent or 0)
                decimals[key] = max(decimals.get(key, 0), places)
        rows.append(row)
    names = [key for key in rows[-1] if all(key in row for row in rows)]
    values = np.array([[row[name] for name in names] for row in rows])
    kinds = [types.get(name.partition("{")[0], "") for name in names]
    is_counter = np.array([kind == "counter" for kind in kinds])
    return Capture(names, values, is_counter, np.array([decimals[name] for name in names]), texts[-1])


def continued(source: Capture, seed: int, steps: int) -> np.ndarray:
    """Return values (steps, series) of one host at 15 s."""
    random = np.random.default_rng(seed)
    increments = source.values[STRIDE:] - source.values[:-STRIDE]
    starts = random.integers(0, len(increments), -(-steps // BLOCK))
    rows = ((starts[:, None] + STRIDE * np.arange(BLOCK)[None, :]) % len(increments)).ravel()[:steps]
    taken = increments[rows]
    base = source.values[random.integers(0, len(source.values))]
    low, high = source.values.min(axis=0), source.values.max(axis=0)
    out = np.empty((steps, len(source.names)))
    counter = source.is_counter
    out[:, counter] = base[counter] + np.cumsum(np.maximum(taken[:, counter], 0), axis=0)
    out[:, ~counter] = base[~counter] + np.cumsum(taken[:, ~counter], axis=0)
    out[:, ~counter] = _reflected(out[:, ~counter], low[~counter], high[~counter])
    for places in np.unique(source.decimals):
        if places <= 12:
            columns = source.decimals == places
            out[:, columns] = np.round(out[:, columns], places)
    return out


def _reflected(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    span = np.maximum(high - low, 1e-12)
    turned = np.mod(values - low, 2 * span)
    return np.where(turned > span, 2 * span - turned, turned) + low


def save(source: Capture, path: Path) -> None:
    """Keep a capture for the next run."""
    np.savez_compressed(
        path, names=source.names, values=source.values, is_counter=source.is_counter, decimals=source.decimals,
        text=source.text,
    )  # fmt: skip


def load(path: Path) -> Capture:
    """Return a kept capture."""
    found = np.load(path)
    names = [str(name) for name in found["names"]]
    return Capture(names, found["values"], found["is_counter"], found["decimals"], str(found["text"]))
