"""Reads for the evaluation of many rules at one time: every distinct selector is read once."""

from __future__ import annotations

from collections.abc import Sequence

from ..promql.matchers import Matcher
from ..promql.values import Block
from . import read


class SlotReader:
    """A Select for one rule slot: asks the store once per distinct selector and the widest time it was asked for."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self._read: dict[tuple[Matcher, ...], tuple[int, int, list[Block]]] = {}

    def __call__(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> list[Block]:
        """Return the blocks of a selector; may hold more time than asked (promql.Select)."""
        asked = tuple(matchers)
        known = self._read.get(asked)
        if known and known[0] <= start_ms and end_ms <= known[1]:
            return known[2]
        if known:
            start_ms, end_ms = min(start_ms, known[0]), max(end_ms, known[1])
        blocks = read.select(asked, start_ms, end_ms)
        self._read[asked] = start_ms, end_ms, blocks
        return blocks


def shared_select(at_ms: int) -> SlotReader:
    """Return the Select that all rules of one slot share."""
    return SlotReader(at_ms)
