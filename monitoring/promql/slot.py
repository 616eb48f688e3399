"""Many queries at one time: what they share is read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .evaluate import requirements
from .matchers import Matcher
from .plan import Requirement
from .query import Query
from .values import Block, Select


class SlotSelect:
    """A ``Select`` for the queries of one evaluation slot: each distinct selector is read once, when first asked for.

    Ranges of the same selector that meet are read as one. A question outside what was announced goes through.
    """

    def __init__(self, queries: Iterable[Query | str], at_ms: int, select: Select) -> None:
        self._select = select
        self._needs: dict[tuple[Matcher, ...], list[Requirement]] = {}
        self._read: dict[Requirement, Sequence[Block]] = {}
        for query in queries:
            for need in requirements(query, at_ms, at_ms):
                self._needs.setdefault(need.matchers, []).append(need)
        for matchers, needs in self._needs.items():
            self._needs[matchers] = _joined(needs)

    def __call__(self, matchers: Sequence[Matcher], start_ms: int, end_ms: int) -> Sequence[Block]:
        """Return the blocks that satisfy the matchers between two times, both included."""
        for need in self._needs.get(tuple(matchers), ()):
            if need.start_ms < start_ms and end_ms <= need.end_ms:
                if need not in self._read:
                    self._read[need] = self._select(need.matchers, need.start_ms + 1, need.end_ms)
                return self._read[need]
        return self._select(matchers, start_ms, end_ms)


def _joined(needs: list[Requirement]) -> list[Requirement]:
    out: list[Requirement] = []
    for need in sorted(needs, key=lambda need: need.start_ms):
        if out and need.start_ms <= out[-1].end_ms:
            last = out.pop()
            need = Requirement(need.matchers, last.start_ms, max(last.end_ms, need.end_ms))
        out.append(need)
    return out
