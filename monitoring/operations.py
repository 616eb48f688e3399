"""Who works for the portal and what waits for them: processes by their signs of life, queues, scrapers, free space.

Nothing here judges: a page, a command or a health check does.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import redis

from monitoring import heartbeats
from monitoring.models import ScrapeClaim, Scraper

#: Silent for longer than this, a process is taken for dead (workers and ticks beat every few seconds).
SILENT_SECONDS = {"worker": 30.0, "tick": 60.0, "house": 300.0, "scraper": 10.0}
#: A worker that has been silent for this long was probably replaced by another one.
FORGOTTEN_SECONDS = 900.0
QUEUES = ("portal", "deliver", "ingest")


@dataclass(frozen=True)
class Process:
    """Somebody who gives signs of life, the last of them, and what it does in words."""

    kind: str
    name: str
    seen: datetime
    is_alive: bool
    note: str = ""


@dataclass(frozen=True)
class Broker:
    """What Redis says: processes and how many messages wait in each queue; `problem` when it does not answer."""

    processes: list[Process] = field(default_factory=list)
    queues: list[tuple[str, int]] = field(default_factory=list)
    problem: str = ""

    def alive(self, kind: str) -> int:
        """Return how many processes of a kind live."""
        return sum(process.is_alive for process in self.processes if process.kind == kind)


@dataclass(frozen=True)
class Space:
    """The file system on which the portal's data lies, in bytes."""

    total: int
    free: int

    @property
    def free_ratio(self) -> float:
        """Share of the file system that is free."""
        return self.free / self.total if self.total else 0.0


def broker(at: datetime) -> Broker:
    """Return the workers, ticks and queues that Redis knows of."""
    try:
        with heartbeats.connect() as client:
            waiting = [(name, int(client.llen(name))) for name in QUEUES]
        beats = {kind: heartbeats.last_beats(kind) for kind in ("worker", "tick", "house")}
    except redis.RedisError as error:
        return Broker(problem=f"Redis does not answer ({type(error).__name__}): nobody knows who lives.")
    processes = [_process(kind, name, seconds, at) for kind in beats for name, seconds in sorted(beats[kind].items())]
    return Broker([one for one in processes if one.kind != "worker" or _silence(one, at) < FORGOTTEN_SECONDS], waiting)


def _process(kind: str, name: str, seconds: float, at: datetime) -> Process:
    seen = datetime.fromtimestamp(seconds, tz=UTC)
    return Process(kind, name, seen, (at - seen).total_seconds() <= SILENT_SECONDS[kind])


def _silence(process: Process, at: datetime) -> float:
    return (at - process.seen).total_seconds()


def scrapers(at: datetime) -> list[Process]:
    """Return the running scrapers, each with how many targets it holds."""
    held = Counter(ScrapeClaim.objects.exclude(scraper_id=None).values_list("scraper_id", flat=True))
    return [
        Process(
            "scraper",
            row.name,
            row.beat_at,
            (at - row.beat_at).total_seconds() <= SILENT_SECONDS["scraper"],
            f"{held[row.pk]} target{'' if held[row.pk] == 1 else 's'}",
        )
        for row in Scraper.objects.all()
    ]


def space(folder: Path) -> Space | None:
    """Return the room on the file system of a folder, None when it cannot be read."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    return Space(found.total, found.free)


def days_until_full(free_bytes: int, needed_bytes: int, day_bytes: int) -> float | None:
    """Return after how many days a growing store fills the free space; None when it stops growing before.

    needed_bytes: what it has still to grow until its retention is full. day_bytes: what a day adds.
    """
    if day_bytes <= 0 or needed_bytes <= free_bytes:
        return None
    return free_bytes / day_bytes


def longest_queue(queues: Sequence[tuple[str, int]]) -> int:
    """Return how many messages wait in the longest queue."""
    return max([waiting for _, waiting in queues], default=0)
