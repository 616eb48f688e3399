"""Series keys: the text of a series as exporters write it, read strictly, written with escapes, and its hash.

A key is a metric name with labels, without the labels of its source. Equal keys have equal hashes whatever the order
of their labels in the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import chain

from ..promql.labels import is_label_name, is_metric_name

#: A label set above this is no series but a mistake (a stack trace, a document); Postgres would take it, people not.
MAX_KEY_CHARS = 16_384
MAX_LABELS = 128

Key = tuple[str, tuple[tuple[str, str], ...]]

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(rf"\s*(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_STRING})\s*=\s*{_STRING}\s*(,?)", re.DOTALL)
_QUOTED_NAME = re.compile(rf"\s*{_STRING}\s*(,?)\s*(?!=)", re.DOTALL)
# What nearly every text is made of; whatever else there is goes the long way.
_PLAIN_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*)"(,|}\Z)')
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class BadKey(ValueError):
    """A series text that is not `name{label="value",…}`, or one that is too large."""


def _unescape(text: str) -> str:
    # Prometheus, model/textparse: only \\, \" and \n are escapes; any other backslash stays as it is.
    return _ESCAPE.sub(lambda found: _UNESCAPED.get(found[1], found[0]), text) if "\\" in text else text


def parse_key(text: str) -> Key:
    """Return the name and the sorted labels of a series text; raises BadKey."""
    if len(text) > MAX_KEY_CHARS:
        raise BadKey(f"series text of {len(text):,} characters; {MAX_KEY_CHARS:,} are allowed: {text[:80]}…")
    if "\0" in text or (not text.isascii() and _SURROGATE.search(text)):
        raise BadKey(f"series text is not valid UTF-8 without NUL: {text[:80]!r}")
    head, brace, rest = text.partition("{")
    name = head.strip()
    labels = (_plain_labels(rest) or _parse_labels(rest, text)) if brace else {}
    name = name or labels.pop("__name__", "")
    if not name:
        raise BadKey(f"series without a metric name: {text[:120]}")
    if brace == "" and not is_metric_name(name):
        raise BadKey(f"not a metric name: {name[:120]}")
    pairs = labels.items() if all(labels.values()) else [pair for pair in labels.items() if pair[1]]
    return name, tuple(sorted(pairs))


def _plain_labels(body: str) -> dict[str, str]:
    """Return the labels of a body of plain pairs; nothing for any other, good or bad."""
    pairs = _PLAIN_PAIR.findall(body)
    # Nothing was passed over, and the end is the only one: `=` and two quotes a pair are in no group.
    if not pairs or sum(map(len, chain.from_iterable(pairs))) + 3 * len(pairs) != len(body) or pairs[-1][2] != "}":
        return {}
    labels = {name: value for name, value, _ in pairs}
    return labels if len(labels) == len(pairs) <= MAX_LABELS else {}


def _parse_labels(body: str, text: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    quoted = _QUOTED_NAME.match(body)
    position = 0
    if quoted and body[quoted.end() :].lstrip()[:1] != "=":
        labels["__name__"] = _unescape(quoted[1])  # {"a.name", label="value"}: names of Prometheus 3
        position = quoted.end()
    while found := _PAIR.match(body, position):
        label = found[1] or _unescape(found[2] or "")
        if label in labels:
            raise BadKey(f"label {label} twice in {text[:120]}")
        labels[label] = _unescape(found[3])
        position = found.end()
        if not found[4]:
            break
    if body[position:].strip() != "}":
        raise BadKey(f"cannot read the labels of {text[:120]}")
    if len(labels) > MAX_LABELS:
        raise BadKey(f"{len(labels)} labels; {MAX_LABELS} are allowed: {text[:80]}…")
    return labels


def sample_key(name: str, labels: Mapping[str, str]) -> str:
    """Return the text of a series, labels sorted and escaped, as `Scrape.keys` wants it."""
    pairs = [f'{_label(key)}="{labels[key].translate(_ESCAPES)}"' for key in sorted(labels) if labels[key]]
    if is_metric_name(name):
        return f"{name}{{{','.join(pairs)}}}" if pairs else name
    return "{" + ",".join([f'"{name.translate(_ESCAPES)}"', *pairs]) + "}"


def _label(name: str) -> str:
    return name if is_label_name(name) else f'"{name.translate(_ESCAPES)}"'


def digest(*parts: str) -> bytes:
    """Return the 16-byte hash that identifies a sequence of texts (BLAKE2b; a collision will not happen)."""
    joined = b"".join(len(part := text.encode()).to_bytes(4, "big") + part for text in parts)
    return hashlib.blake2b(joined, digest_size=16).digest()


def key_hash(key: Key) -> bytes:
    """Return the hash of a parsed key."""
    name, labels = key
    return digest(name, *[text for pair in labels for text in pair])
