"""How the samples of one host travel: one JSON-safe message a reading, and what is refused at the door.

A message stands alone: any worker can take any one, in any order. The series texts are sent each time but packed
(they shrink to a tenth and cost a fraction of a millisecond); values are the bytes of little-endian float64, so NaN,
infinities and the stale marker arrive as they left.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
Message = dict[str, Any]
# A machine with 256 cores and 16 GPUs has about 4,000 series.
MAX_SERIES = 20_000
MAX_KEYS_BYTES = 8 << 20
MAX_HOST_CHARS = 253  # the longest DNS name
MAX_FACTS_BYTES = 65_536
MAX_AGENT_CHARS = 64
# 2001-09-09 and 2286-11-20: outside, it is no time in milliseconds.
MIN_MS, MAX_MS = 10**12, 10**13
MAX_INTERVAL_SECONDS = 86_400


class BatchError(ValueError):
    """A message that is no batch; `reason` is one of a few words for counting, the text says what is wrong."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


@dataclass(frozen=True)
class Batch:
    """All samples of one host at `at_ms`, as the host's clock had it; `values` is float64 (len(keys),)."""

    host: str
    at_ms: int
    interval_seconds: float
    agent_version: str
    keys: Sequence[str]
    values: NDArray[np.float64]
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Received:
    """A batch with the clocks of its sending: the host's, and the broker's where it has one."""

    batch: Batch
    sent_ms: int
    broker_ms: int | None

    def skew_ms(self, now_ms: int) -> int | None:
        """Return how far the host's clock is ahead, in milliseconds; None when nothing tells.

        Without the broker's clock only "ahead" can be known: a message from the past may have waited in a queue.
        """
        if self.broker_ms is not None:
            return self.sent_ms - self.broker_ms
        return self.sent_ms - now_ms if self.sent_ms > now_ms else None


def pack(batch: Batch) -> Message:
    """Return the message of a batch, still without the clocks of its sending."""
    message: Message = {
        "v": VERSION,
        "host": batch.host,
        "at_ms": batch.at_ms,
        "interval_seconds": batch.interval_seconds,
        "agent": batch.agent_version,
        "count": len(batch.keys),
        "keys": _text(zlib.compress("\n".join(batch.keys).encode(), 6)),
        "values": _text(np.asarray(batch.values, dtype="<f8").tobytes()),
    }
    if batch.facts is not None:
        message["facts"] = dict(batch.facts)
    return message


def stamp(message: Message, sent_ms: int, broker_ms: int | None) -> Message:
    """Return the message with the clocks of its sending."""
    return {**message, "sent_ms": sent_ms, "broker_ms": broker_ms}


def unpack(message: object) -> Received:
    """Return the batch in a message; raises BatchError for anything that this version does not understand."""
    if not isinstance(message, dict):
        raise BatchError("shape", f"a batch is a mapping, not {type(message).__name__}")
    if message.get("v") != VERSION:
        raise BatchError(
            "version", f"batch version {message.get('v')!r:.40} is not {VERSION}; update the portal or the agent"
        )
    count = _whole(message, "count", 0, MAX_SERIES, "size")
    keys = _keys(_field(message, "keys", str), count)
    broker_ms = None if message.get("broker_ms") is None else _whole(message, "broker_ms", MIN_MS, MAX_MS, "time")
    batch = Batch(
        host=_name(message, "host", MAX_HOST_CHARS),
        at_ms=_whole(message, "at_ms", MIN_MS, MAX_MS, "time"),
        interval_seconds=_interval(message),
        agent_version=_name(message, "agent", MAX_AGENT_CHARS),
        keys=keys,
        values=_values(_field(message, "values", str), count),
        facts=_facts(message),
    )
    return Received(batch, _whole(message, "sent_ms", MIN_MS, MAX_MS, "time"), broker_ms)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BatchError(what, f"{what} are not base64: {error}") from error


def _field(message: Message, name: str, kind: type) -> Any:
    value = message.get(name)
    if not isinstance(value, kind):
        raise BatchError("shape", f"{name} should be {kind.__name__}, not {type(value).__name__}")
    return value


def _whole(message: Message, name: str, low: int, high: int, reason: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BatchError(reason, f"{name} should be a whole number from {low:,} to {high:,}, not {value!r:.60}")
    return value


def _name(message: Message, name: str, longest: int) -> str:
    value: str = _field(message, name, str)
    if not value.isprintable() or not value.strip() or len(value) > longest:
        raise BatchError("host", f"{name} should be 1 to {longest} printable characters, not {value!r:.80}")
    return value


def _interval(message: Message) -> float:
    value = message.get("interval_seconds")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_INTERVAL_SECONDS:
        raise BatchError("time", f"interval_seconds should be from 0 to {MAX_INTERVAL_SECONDS:,}, not {value!r:.60}")
    return float(value)


def _keys(text: str, count: int) -> list[str]:
    if len(text) > MAX_KEYS_BYTES:
        raise BatchError("size", f"packed series texts of {len(text):,} characters; {MAX_KEYS_BYTES:,} are allowed")
    # A few kilobytes can unpack to gigabytes: never more than the limit is unpacked.
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(_bytes(text, "keys"), MAX_KEYS_BYTES)
        if unpacker.unconsumed_tail:
            raise BatchError("size", f"series texts above {MAX_KEYS_BYTES:,} bytes")
        if not unpacker.eof:
            raise BatchError("keys", "packed series texts end too early")
        keys = data.decode().split("\n") if data else []
    except (zlib.error, UnicodeDecodeError) as error:
        raise BatchError("keys", f"series texts cannot be unpacked: {error}") from error
    if len(keys) != count:
        raise BatchError("keys", f"{len(keys):,} series texts for {count:,} values")
    if not all(keys):
        raise BatchError("keys", "an empty series text")
    return keys


def _values(text: str, count: int) -> NDArray[np.float64]:
    data = _bytes(text, "values")
    if len(data) != 8 * count:
        raise BatchError("values", f"{len(data):,} bytes of values for {count:,} series of 8 bytes each")
    return np.frombuffer(data, dtype="<f8").astype(np.float64, copy=False)


def _facts(message: Message) -> dict[str, Any] | None:
    facts = message.get("facts")
    if facts is None:
        return None
    if not isinstance(facts, dict) or not _is_plain(facts):
        raise BatchError("facts", "facts should be a mapping of JSON values with finite numbers")
    size = len(json.dumps(facts))
    if size > MAX_FACTS_BYTES:
        raise BatchError("facts", f"facts of {size:,} bytes; {MAX_FACTS_BYTES:,} are allowed")
    return facts


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether Postgres takes it as jsonb: no NaN, no NUL, not nested without end."""
    if depth > 8:
        return False
    if isinstance(value, dict):
        return all(_is_plain(key, depth + 1) and _is_plain(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
