"""limit_ratio: a steady sample of series, chosen by the hash of their labels (promql/engine.go RatioSampler).

The hash is xxHash64 over Prometheus' own encoding of labels (model/labels/labels_stringlabels.go), so that both
pick the same series.
"""

from __future__ import annotations

import numpy as np

from .labels import Labels
from .values import Floats
from .vectors import Vector

_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _round(state: int, lane: int) -> int:
    return (_rotate((state + lane * _P2) & _MASK, 31) * _P1) & _MASK


def xxhash64(data: bytes) -> int:
    """Return xxHash64 of ``data`` with seed 0."""
    length, place = len(data), 0
    if length >= 32:
        states = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while place + 32 <= length:
            for lane in range(4):
                word = int.from_bytes(data[place + 8 * lane : place + 8 * lane + 8], "little")
                states[lane] = _round(states[lane], word)
            place += 32
        value = sum(_rotate(state, bits) for state, bits in zip(states, (1, 7, 12, 18), strict=True)) & _MASK
        for state in states:
            value = ((value ^ _round(0, state)) * _P1 + _P4) & _MASK
    else:
        value = _P5
    value = (value + length) & _MASK
    while place + 8 <= length:
        value ^= _round(0, int.from_bytes(data[place : place + 8], "little"))
        value = (_rotate(value, 27) * _P1 + _P4) & _MASK
        place += 8
    if place + 4 <= length:
        value ^= (int.from_bytes(data[place : place + 4], "little") * _P1) & _MASK
        value = (_rotate(value, 23) * _P2 + _P3) & _MASK
        place += 4
    for byte in data[place:]:
        value = (_rotate(value ^ (byte * _P5 & _MASK), 11) * _P1) & _MASK
    value = ((value ^ (value >> 33)) * _P2) & _MASK
    value = ((value ^ (value >> 29)) * _P3) & _MASK
    return value ^ (value >> 32)


def label_hash(labels: Labels) -> int:
    """Return the hash Prometheus gives a label set."""
    out = bytearray()
    for pair in labels.pairs:
        for text in pair:
            raw = text.encode("utf-8", "surrogateescape")
            out += bytes([len(raw)]) if len(raw) < 255 else b"\xff" + len(raw).to_bytes(3, "little")
            out += raw
    return xxhash64(bytes(out))


def sampled(vector: Vector, ratio: Floats) -> Vector:
    """Return the share ``ratio`` (steps,) of the series; a negative ratio returns what 1 + ratio leaves out."""
    if not len(vector):
        return vector
    places = vector.table.root.keep(
        "hashes", lambda: np.array([label_hash(row) for row in vector.table.root.rows], np.uint64).astype(np.float64)
    )
    if vector.table.index is not None:
        places = places[vector.table.index]
    offsets = (places / float(_MASK))[:, None]
    return vector.filtered(np.where(ratio >= 0, offsets < ratio, offsets >= 1.0 + ratio))
