"""Label sets: immutable, interned, cheap to hash and to reduce.

Ten thousand series share a few hundred names and values; a query that builds dictionaries for each of them spends
its time there. A Labels object exists once per process and label set, so equality is mostly identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from weakref import WeakValueDictionary

NAME = "__name__"
#: Labels that say what a metric is, dropped when a function changes its meaning (Prometheus 3, schema/labels.go).
METADATA = frozenset((NAME, "__type__", "__unit__"))

Pair = tuple[str, str]

_first = itemgetter(0)


class Labels:
    """One label set: (name, value) pairs sorted by name, without empty values (an empty label is an absent one)."""

    __slots__ = ("__weakref__", "_hash", "_pairs")
    _pairs: tuple[Pair, ...]
    _hash: int

    @staticmethod
    def of(source: Mapping[str, str] | Iterable[Pair] = ()) -> Labels:
        """Return the label set of a mapping or of (name, value) pairs; a later pair replaces an earlier one."""
        items = source if isinstance(source, Mapping) else dict(source)
        return intern_pairs(tuple(sorted([pair for pair in items.items() if pair[1]], key=_first)))

    def get(self, name: str, default: str = "") -> str:
        """Return the value of a label, or ``default`` when the set has none."""
        for key, value in self._pairs:
            if key == name:
                return value
        return default

    def as_dict(self) -> dict[str, str]:
        """Return a fresh dictionary of the labels, in name order."""
        return dict(self._pairs)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The (name, value) pairs, sorted by name."""
        return self._pairs

    def without(self, names: frozenset[str]) -> Labels:
        """Return the set without the labels in ``names``."""
        kept = tuple([pair for pair in self._pairs if pair[0] not in names])
        return self if len(kept) == len(self._pairs) else intern_pairs(kept)

    def only(self, names: frozenset[str]) -> Labels:
        """Return the set reduced to the labels in ``names``."""
        kept = tuple([pair for pair in self._pairs if pair[0] in names])
        return self if len(kept) == len(self._pairs) else intern_pairs(kept)

    def with_label(self, name: str, value: str) -> Labels:
        """Return the set with one label set, or removed when ``value`` is empty."""
        changed = dict(self._pairs)
        changed[name] = value
        return Labels.of(changed)

    def __iter__(self) -> Iterator[Pair]:
        """Iterate over the (name, value) pairs in name order."""
        return iter(self._pairs)

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self._pairs)

    def __hash__(self) -> int:
        """Return the hash, computed once."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is the same label set."""
        if self is other:
            return True
        return isinstance(other, Labels) and self._pairs == other._pairs

    def __lt__(self, other: Labels) -> bool:
        """Order as Prometheus does (labels.Compare): by pairs, then by length."""
        return self._pairs < other._pairs

    def __reduce__(self) -> tuple[object, tuple[tuple[Pair, ...]]]:
        """Pickle as pairs, so that the other process interns them again."""
        return intern_pairs, (self._pairs,)

    def __repr__(self) -> str:
        """Return ``{a="b", c="d"}`` with every label, the metric name among them."""
        return "{" + ", ".join(f"{quote_name(name)}={quote(value)}" for name, value in self._pairs) + "}"

    def __str__(self) -> str:
        """Return the PromQL form ``name{a="b", c="d"}``."""
        name = self.get(NAME)
        if not name or not is_metric_name(name):
            return repr(self)
        rest = ", ".join(f"{quote_name(key)}={quote(value)}" for key, value in self._pairs if key != NAME)
        return f"{name}{{{rest}}}" if rest else name


_interned: WeakValueDictionary[tuple[Pair, ...], Labels] = WeakValueDictionary()


def intern_pairs(pairs: tuple[Pair, ...]) -> Labels:
    """Return the one Labels object of these pairs; they must be sorted by name and free of empty values."""
    found = _interned.get(pairs)
    if found is None:
        found = object.__new__(Labels)
        found._pairs = pairs
        found._hash = hash(pairs)
        # setdefault: two threads may have come here together, and one object must win.
        found = _interned.setdefault(pairs, found)
    return found


EMPTY = Labels.of()


def is_metric_name(text: str) -> bool:
    """Tell whether ``text`` can stand as a metric name without quotes."""
    return is_label_name(text.replace(":", "_"))


def is_label_name(text: str) -> bool:
    """Tell whether ``text`` can stand as a label name without quotes."""
    return text.isascii() and text.isidentifier()


def quote_name(name: str) -> str:
    """Return a label name as it stands inside braces: bare when it can, quoted when it must."""
    return name if is_label_name(name) else quote(name)


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\x00"})


def quote(value: str) -> str:
    """Return a value in double quotes as PromQL reads it back; stray bytes come out as ``\\xNN``."""
    text = value.translate(_ESCAPES)
    if any("\udc80" <= char <= "\udcff" for char in text):
        text = "".join(f"\\x{ord(char) - 0xDC00:02x}" if "\udc80" <= char <= "\udcff" else char for char in text)
    return f'"{text}"'
