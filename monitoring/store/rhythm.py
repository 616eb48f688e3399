"""When sources write: period and phase read off their last rows, and whether a row that is to be expected is there.

Whoever asks about series at fixed times asks just after they were written, and not just before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..promql.matchers import Matcher
from . import wire
from .index import current

#: Rows looked at of each source; two tell a period, more of them that it is kept.
ROWS = 4
#: A source that has been silent for so many periods has no rhythm any more.
SILENT_PERIODS = 3


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A source that writes at `phase_ms` (of 0 … period_ms) past every multiple of `period_ms` of the epoch."""

    source_id: int
    period_ms: int
    phase_ms: int

    def newest_ms(self, at_ms: int) -> int:
        """Return its last planned time that is not after `at_ms`."""
        return at_ms - (at_ms - self.phase_ms) % self.period_ms


def rhythms(selectors: Iterable[Sequence[Matcher]], at_ms: int, leave_out: str) -> list[Rhythm]:
    """Return the rhythms of the sources with series that some selectors ask for, by source.

    Left out are sources whose name begins with `leave_out`, silent ones, and those that keep no rhythm. Only rows that
    are not in blocks yet count, so a long period may be found in one call and not in the next.
    """
    index, _ = current()
    picked = {pick.source_id for asked in set(map(tuple, selectors)) for pick in index.select(asked)}
    wanted = sorted(source for source in picked if not index.names[source].startswith(leave_out))
    rows = wire.execute(
        "select u.source_id, array(select at_ms from store_row r where r.source_id = u.source_id and at_ms <= %s"
        " order by at_ms desc limit %s) from unnest(%s::int[]) u (source_id)",
        [at_ms, ROWS, wanted],
    )
    found = (_rhythm(source_id, times, at_ms) for source_id, times in rows)
    return [one for one in found if one is not None]


def behind(expected: Sequence[tuple[Rhythm, int]]) -> set[int]:
    """Return the places of those who have not written at their last time before the given one, in ms, although they
    did at the time before that: they are about to."""
    if not expected:
        return set()
    newest = [rhythm.newest_ms(at_ms) for rhythm, at_ms in expected]
    before = [at_ms - rhythm.period_ms for at_ms, (rhythm, _) in zip(newest, expected, strict=True)]
    found = wire.execute(
        "select u.place from unnest(%s::int[], %s::bigint[], %s::bigint[]) with ordinality"
        " u (source_id, newest, before, place)"
        " where exists (select from store_row r where r.source_id = u.source_id and r.at_ms = u.before)"
        " and not exists (select from store_row r where r.source_id = u.source_id and r.at_ms = u.newest)",
        [[rhythm.source_id for rhythm, _ in expected], newest, before],
    )
    return {place - 1 for (place,) in found}


def _rhythm(source_id: int, newest_first: list[int], at_ms: int) -> Rhythm | None:
    gaps = [later - earlier for later, earlier in pairwise(newest_first)]
    if not gaps:
        return None
    period_ms = min(gaps)
    if any(gap % period_ms for gap in gaps) or at_ms - newest_first[0] > SILENT_PERIODS * period_ms:
        return None
    return Rhythm(source_id, period_ms, newest_first[0] % period_ms)
