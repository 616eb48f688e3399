"""The messages of Prometheus' remote write and remote read (prompb/remote.proto, types.proto), to bytes and back.

Four small messages with six fields in use: written by hand, they need no generated code. Stale markers keep their bits.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from monitoring.promql import Labels, Matcher
from monitoring.promql.values import Floats, Ints

#: types.proto LabelMatcher.Type
MATCH_TYPES = {"=": 0, "!=": 1, "=~": 2, "!~": 3}
#: What an answer may unpack to: 14 million samples.
MAX_ANSWER_BYTES = 256 << 20
_DOUBLE = struct.Struct("<d")
#: A sample with a value and a time of our days: tag, length 16, tag, eight bytes, tag, six bytes of varint.
_SAMPLE = np.dtype([("head", "u1", (3,)), ("value", "<f8"), ("tag", "u1"), ("time", "u1", (6,))])
_HEAD, _TIME_TAG = (0x12, 16, 0x09), 0x10

Series = tuple[tuple[tuple[str, str], ...], list[int], list[float]]


class BadMessage(Exception):
    """Bytes that are no answer of a remote read."""


def varint(number: int) -> bytes:
    """Return a number as a protobuf varint; negative ones as two's complement of 64 bits."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def label_bytes(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return the labels of a series; they must be sorted by name, as receivers insist."""
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in pairs)


def sample_bytes(at_ms: int, value_bytes: bytes) -> bytes:
    """Return one sample; the value comes as its eight bytes, so that a stale marker stays one."""
    payload = b"\x09" + value_bytes + b"\x10" + varint(at_ms)
    return b"\x12" + varint(len(payload)) + payload


def write_request(series: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a WriteRequest of (labels, samples), compressed as receivers want it."""
    return bytes(_library().snappy.compress_raw(b"".join(_field(1, labels + samples) for labels, samples in series)))


def read_request(matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> bytes:
    """Return a ReadRequest for all samples of the matching series in start_ms ≤ t ≤ end_ms, compressed."""
    told = b"".join(
        _field(3, (b"\x08" + varint(MATCH_TYPES[each.op]) if each.op != "=" else b"")
               + _field(2, each.name.encode()) + _field(3, each.value.encode()))
        for each in matchers
    )  # fmt: skip
    query = b"\x08" + varint(start_ms) + b"\x10" + varint(end_ms) + told
    return bytes(_library().snappy.compress_raw(_field(1, query)))


def read_response(body: bytes) -> list[tuple[Labels, Ints, Floats]]:
    """Return the series of a ReadResponse: labels, times in ms and values; raises BadMessage."""
    try:
        if _library().snappy.decompress_raw_len(body) > MAX_ANSWER_BYTES:
            raise BadMessage(f"more than {MAX_ANSWER_BYTES >> 20} MiB; ask for less")
        data = bytes(_library().snappy.decompress_raw(body))
        return [
            _series(series)
            for field, result in _fields(data)
            if field == 1
            for inner, series in _fields(result)
            if inner == 1
        ]
    except (_library().DecompressionError, struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise BadMessage(f"not a remote read answer: {error}") from error


@cache
def _library() -> Any:
    # 2 MB that a portal with samples of its own should not pay.
    return importlib.import_module("cramjam")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, payload) of the length-delimited fields of a message; others are passed over."""
    position, end = 0, len(data)
    while position < end:
        key, position = _read_varint(data, position)
        kind = key & 7
        if kind == 2:
            size, position = _read_varint(data, position)
            if position + size > end:
                raise ValueError("a field that ends behind its message")
            yield key >> 3, data[position : position + size]
            position += size
        elif kind == 0:
            _, position = _read_varint(data, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown kind of field {kind}")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _series(data: bytes) -> tuple[Labels, Ints, Floats]:
    pairs: list[tuple[str, str]] = []
    start = 0
    for field, payload in _fields(data):
        if field == 2:
            break
        if field == 1:
            parts = {number: text.decode() for number, text in _fields(payload)}
            pairs.append((parts.get(1, ""), parts.get(2, "")))
            start += len(_field(1, payload))
    return Labels.of(pairs), *_samples(data[start:])


def _samples(data: bytes) -> tuple[Ints, Floats]:
    """Return times and values of neighbouring samples; those of usual form are read all at once."""
    if len(data) % _SAMPLE.itemsize == 0:
        rows = np.frombuffer(data, _SAMPLE)
        if (rows["head"] == _HEAD).all() and (rows["tag"] == _TIME_TAG).all() and (rows["time"][:, 5] < 0x80).all():
            parts = (rows["time"].astype(np.int64) & 0x7F) << (7 * np.arange(6))
            return parts.sum(axis=1), rows["value"].copy()
    times, values = [], bytearray()
    for field, payload in _fields(data):
        if field == 2:
            at_ms, value = _sample(payload)
            times.append(at_ms)
            values += value
    return np.array(times, np.int64), np.frombuffer(bytes(values), "<f8").copy()


def _sample(payload: bytes) -> tuple[int, bytes]:
    at_ms, value, position = 0, bytes(8), 0
    while position < len(payload):
        tag = payload[position]
        if tag == 0x09:
            value, position = payload[position + 1 : position + 9], position + 9
        elif tag == _TIME_TAG:
            at_ms, position = _read_varint(payload, position + 1)
            at_ms -= (at_ms >> 63) << 64
        else:
            raise ValueError(f"unknown field {tag} in a sample")
    _DOUBLE.unpack(value)
    return at_ms, value
