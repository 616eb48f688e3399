"""Which scraper holds which target: every process takes its fair share, and the shares of the dead.

A scraper beats three times a lease or more often; who has not been heard of for its lease is dead, its targets are
free. The database's clock decides, so the clocks of machines do not matter. Who dies alone is found at the next beat of
the others: each holds a lock of its own, which ends with its connection. The lease is for machines that vanish, whose
connections last; it is short when targets are asked often, so that others have them within two of their intervals. Two
processes that both believe they hold a target do no harm: both write the same planned times, the store keeps the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

#: Long enough for a slow commit.
LEASE_SECONDS = 4.0
#: What a target that is asked every second needs; a busy machine keeps a process waiting for nearly as long.
LEAST_LEASE_SECONDS = 1.4
BEATS_A_LEASE = 3
#: Any number that no other advisory lock of the portal uses.
_BALANCE_LOCK = 7_201_944
#: First half of the session locks by which scrapers show that they live; the second is the hash of their name.
_ALIVE_LOCKS = 7_201_945
#: Rows whose scraper is dead: silent, or without the lock that it said it holds.
_DEAD = (
    "(s.beat_at <= clock_timestamp() - s.lease_seconds * interval '1 second'"
    " or s.is_locked and not exists (select from pg_locks l"
    " where l.locktype = 'advisory' and l.classid = %s and l.objid::bigint = hashtext(s.name)::bigint & 4294967295"
    " and l.objsubid = 2 and l.database = (select oid from pg_database where datname = current_database())))"
)

#: Targets that are to be scraped: their own switch and that of their deployment are on.
_SCRAPED = (
    "monitoring_target t left join monitoring_deployment d on d.id = t.deployment_id"
    " where t.is_enabled and coalesce(d.is_enabled, true)"
)

LabelSet = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shares:
    """How targets are spread now; equal shares mean that there is nothing to do."""

    live: int
    dead: int
    free: int
    mine: int
    total: int
    unclaimed: int
    lease_seconds: float = LEASE_SECONDS  # the shortest of anybody's

    @property
    def fair(self) -> int:
        """How many targets this process should hold."""
        return -(-self.total // max(self.live, 1))

    @property
    def is_settled(self) -> bool:
        """Whether claims are as they should be."""
        return not self.dead and not self.free and not self.unclaimed and self.mine <= self.fair


def lease_for(interval_seconds: float) -> float:
    """Return the lease of a scraper whose most frequent target is asked this often: others have it in two intervals."""
    return min(max(1.4 * interval_seconds, LEAST_LEASE_SECONDS), LEASE_SECONDS)


def hold_lock(name: str) -> bool:
    """Show by a lock of this connection that a scraper lives; False when the lock is taken.

    To be asked again after the connection was lost. The lock is taken only once for each connection.
    """
    return bool(
        _execute(
            "select exists (select from pg_locks where locktype = 'advisory' and classid = %s and objsubid = 2"
            " and objid::bigint = hashtext(%s)::bigint & 4294967295 and pid = pg_backend_pid())"
            " or pg_try_advisory_lock(%s, hashtext(%s))",
            [_ALIVE_LOCKS, name, _ALIVE_LOCKS, name],
        )[0][0]
    )


def join(name: str, is_locked: bool = False) -> int:
    """Return the id of a new scraper row; the name must be of this process alone.

    With `is_locked` (of `hold_lock`) the scraper counts as dead as soon as its connection ends.
    """
    rows = _execute(
        "insert into monitoring_scraper (name, started_at, beat_at, is_locked, lease_seconds)"
        " values (%s, clock_timestamp(), clock_timestamp(), %s, %s)"
        " on conflict (name) do update set started_at = excluded.started_at, beat_at = excluded.beat_at,"
        " is_locked = excluded.is_locked, lease_seconds = excluded.lease_seconds returning id",
        [name, is_locked, LEASE_SECONDS],
    )
    return int(rows[0][0])


def beat(scraper_id: int, lease_seconds: float | None = None) -> Shares | None:
    """Tell that this scraper lives; return the shares, or None when others have taken it for dead.

    With `lease_seconds` it is believed to live for that long from now on.
    """
    if not _execute(
        "update monitoring_scraper set beat_at = clock_timestamp(), lease_seconds = coalesce(%s, lease_seconds)"
        " where id = %s returning id",
        [lease_seconds, scraper_id],
    ):
        return None
    [row] = _execute(
        "select live, known - live, free, mine, total, unclaimed, lease from"  # noqa: S608  (all texts are ours)
        f" (select count(*) filter (where not {_DEAD}) live, count(*) known, min(lease_seconds) lease"
        "   from monitoring_scraper s) s,"
        " (select count(*) filter (where scraper_id is null) free, count(*) filter (where scraper_id = %s) mine,"
        "   count(*) total from monitoring_scrapeclaim) c,"
        f" (select count(*) unclaimed from {_SCRAPED}"
        "   and not exists (select from monitoring_scrapeclaim where target_id = t.id)) u",
        [_ALIVE_LOCKS, scraper_id],
    )
    return Shares(*row)


def balance(scraper_id: int) -> None:
    """Free the targets of dead scrapers, take free ones up to the fair share, give back what is above it.

    One process at a time; the others try again with their next beat.
    """
    with transaction.atomic():
        if not _execute("select pg_try_advisory_xact_lock(%s)", [_BALANCE_LOCK])[0][0]:
            return
        _execute(
            f"with dead as (delete from monitoring_scraper s where {_DEAD} returning id)"  # noqa: S608  (texts of ours)
            " update monitoring_scrapeclaim set scraper_id = null"
            " where scraper_id in (select id from dead) returning 1",
            [_ALIVE_LOCKS],
        )
        # A claim may also point to a scraper that is gone for another reason.
        _execute(
            "update monitoring_scrapeclaim set scraper_id = null where scraper_id is not null"
            " and scraper_id not in (select id from monitoring_scraper) returning 1",
        )
        _execute(
            f"insert into monitoring_scrapeclaim (target_id, sources) select t.id, '[]' from {_SCRAPED}"  # noqa: S608  (the same)
            " on conflict do nothing returning 1",
        )
        shares = beat(scraper_id)
        if shares is None:
            return
        if shares.mine < shares.fair:
            _execute(
                "update monitoring_scrapeclaim set scraper_id = %s where target_id in (select target_id"
                " from monitoring_scrapeclaim where scraper_id is null order by target_id limit %s) returning 1",
                [scraper_id, shares.fair - shares.mine],
            )
        elif shares.mine > shares.fair:
            _execute(
                "update monitoring_scrapeclaim set scraper_id = null where target_id in (select target_id"
                " from monitoring_scrapeclaim where scraper_id = %s order by target_id desc limit %s) returning 1",
                [scraper_id, shares.mine - shares.fair],
            )


def held_by(scraper_id: int) -> dict[int, list[LabelSet]]:
    """Return the targets a scraper holds, each with the label sets under which its samples were last written."""
    rows = _execute("select target_id, sources::text from monitoring_scrapeclaim where scraper_id = %s", [scraper_id])
    return {target_id: json.loads(sources) for target_id, sources in rows}


def note_sources(sources: Mapping[int, Sequence[LabelSet]]) -> None:
    """Keep under which label sets the samples of some targets are written from now on."""
    if sources:
        _execute(
            "update monitoring_scrapeclaim c set sources = u.sources from unnest(%s::bigint[], %s::jsonb[])"
            " u (target_id, sources) where c.target_id = u.target_id returning 1",
            [list(sources), [json.dumps(list(each)) for each in sources.values()]],
        )


def drop(target_ids: Sequence[int], scraper_id: int) -> None:
    """Forget the claims of targets that are scraped no more, if they are still this scraper's."""
    if target_ids:
        _execute(
            "delete from monitoring_scrapeclaim where target_id = any(%s) and scraper_id = %s returning 1",
            [list(target_ids), scraper_id],
        )


def leave(scraper_id: int) -> None:
    """Give everything back at an orderly end."""
    with transaction.atomic():
        _execute("update monitoring_scrapeclaim set scraper_id = null where scraper_id = %s returning 1", [scraper_id])
        _execute("delete from monitoring_scraper where id = %s returning 1", [scraper_id])


def _execute(query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, list(parameters))
        return cursor.fetchall()
