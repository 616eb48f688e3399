"""The long-lived scraper of a process: asks each target it holds at its planned times, writes what has come in.

One thread plans and writes; a request runs in a thread of its own, so a target that hangs holds up nobody. Nothing
is queued: a time that cannot be kept is missed and counted.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Lock

import structlog
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from monitoring import claims, metadata, store, targets
from monitoring.collect.exposition import Parser
from monitoring.collect.openmetrics import Malformed
from monitoring.collect.report import Metadata, read_metadata
from monitoring.collect.scrape import Requester, ScrapeFailed
from monitoring.targets import Outcome, Spec, Writer
from monitoring.threads import DaemonThreads

log = structlog.get_logger(__name__)
#: What others may have changed is looked at this often.
TICK_SECONDS = 1.0
#: Writing takes a fiftieth of the time, and what has come in waits for a quarter of a second at most, for rules see
#: only what is written.
WRITE_SHARE, WRITE_APART_SECONDS = 0.02, 0.25
#: A database that is away is asked again after this.
RETRY_SECONDS = 1.0
#: Whoever sets `stop` is heeded within this.
STOP_SECONDS = 0.25
#: The registry is looked at this often; a new target is scraped within this and its interval.
REGISTRY_SECONDS = 2.0
#: Most requests at a time in one process: more than this hang only where whole networks are away.
MAX_THREADS = 256
#: Kept while the database is away, about 16 MB; the oldest go first.
MAX_PENDING_SAMPLES = 2_000_000
#: TYPE and HELP lines are read this often, and when series have changed, but not more often than the rest leaves.
METADATA_SECONDS, METADATA_REST_SECONDS = 3600.0, 3540.0
#: A step of the clock by more than this makes all planned times anew.
CLOCK_STEP_MS = 2_000
#: Held while the database is used: whoever forks this process waits for it, else the child inherits locks in use.
TICK_LOCK = Lock()


@dataclass(slots=True, eq=False)
class _Held:
    """A target of this process with its connection, its parser and its place in time."""

    spec: Spec
    requester: Requester
    parser: Parser
    writer: Writer
    is_running: bool = False
    missed: int = 0
    keys: tuple[str, ...] = ()  # the series of the scrape whose metadata was read last
    metadata_due: float = float("-inf")  # of time.monotonic

    def told(self, body: bytes, keys: tuple[str, ...]) -> dict[str, Metadata] | None:
        """Return what the target says of its metrics when its series have changed, and now and then."""
        now = time.monotonic()
        if now < self.metadata_due and (keys is self.keys or now < self.metadata_due - METADATA_REST_SECONDS):
            return None
        self.keys, self.metadata_due = keys, now + METADATA_SECONDS
        return read_metadata(body)


@dataclass
class Tally:
    """What a scraper has done since its start, for logs and tests."""

    scrapes: int = 0
    samples: int = 0
    failed: int = 0
    missed: int = 0
    lost_samples: int = 0


class ScrapeLoop:
    """Scrapes its share of all targets from `run` to the end of it."""

    def __init__(self, name: str, clock_ms: Callable[[], int]) -> None:
        self.name, self.tally = name, Tally()
        self._clock_ms = clock_ms
        self._scraper_id: int | None = None
        self._held: dict[int, _Held] = {}
        # Planned time, a number that no other entry has (so that nothing further is compared), the target.
        self._due: list[tuple[int, int, _Held]] = []
        self._numbers = count()
        self._threads = DaemonThreads("scrape", MAX_THREADS)
        self._done: SimpleQueue[tuple[Outcome, _Held]] = SimpleQueue()
        self._finished, self._next_write = Event(), 0.0  # something is in the queue; of time.monotonic
        self._pending: list[tuple[Outcome, Writer]] = []
        self._ended: list[store.Scrape] = []
        self._registry = ""
        self._looked = float("-inf")
        self._drift_ms: float | None = None
        self._locked_on: object = None
        self._tick_seconds = TICK_SECONDS

    def run(self, stop: Event) -> None:
        """Scrape until `stop` is set, then give the targets back."""
        log.info("scraper_started", scraper=self.name)
        next_tick = 0.0
        try:
            while not stop.is_set():
                now_ms = self._clock_ms()
                self._heed_clock(now_ms)
                self._start_due(now_ms)
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + self._tick_seconds
                    self._use_database(now_ms, looks=True)
                elif self._finished.is_set() and time.monotonic() >= self._next_write:
                    self._use_database(now_ms, looks=False)
                self._wait(next_tick)
        finally:
            self._leave()
            log.info("scraper_stopped", scraper=self.name, scrapes=self.tally.scrapes, samples=self.tally.samples)

    def _wait(self, next_tick: float) -> None:
        """Wait for the next scrape that is due, the next tick, or samples that may be written."""
        until_due = (self._due[0][0] - self._clock_ms()) / 1000 if self._due else TICK_SECONDS
        seconds = max(0.0, min(until_due, next_tick - time.monotonic(), STOP_SECONDS))
        until_write = self._next_write - time.monotonic()
        if until_write > 0:
            time.sleep(min(seconds, until_write))
        else:
            self._finished.wait(seconds)

    def _use_database(self, now_ms: int, *, looks: bool) -> None:
        """Write what has come in; with `looks` also tell that we live and see what is ours.

        A database that is away is asked again at the next tick.
        """
        started = time.monotonic()
        try:
            with TICK_LOCK:
                self.flush(now_ms)
                written = time.monotonic()
                if looks:
                    self.look(now_ms)
            self._next_write = written + min((written - started) / WRITE_SHARE, WRITE_APART_SECONDS)
        except DatabaseError as error:
            log.warning("scraper_database_error", scraper=self.name, error=str(error), waiting=len(self._pending))
            connection.close()
            self._drop_beyond_limit()
            self._next_write = time.monotonic() + RETRY_SECONDS

    # --- what is ours

    def look(self, now_ms: int) -> None:
        """Renew the claims and take over what has changed since the last look."""
        connection.ensure_connection()
        is_new = connection.connection is not self._locked_on
        is_locked = claims.hold_lock(self.name) if is_new else True
        self._locked_on = connection.connection
        lease = claims.lease_for(min((held.spec.interval_ms / 1000 for held in self._held.values()), default=math.inf))
        shares = None if self._scraper_id is None else claims.beat(self._scraper_id, lease)
        if shares is not None:
            self._tick_seconds = min(shares.lease_seconds / claims.BEATS_A_LEASE, TICK_SECONDS)
        if shares is None or self._scraper_id is None:
            # The first look, or others took us for dead: what was ours may be somebody else's now. Who is taken for
            # dead on a connection it never lost is behind a pooler, where locks of connections mean nothing.
            self._scraper_id = claims.join(self.name, is_locked and is_new)
            claims.balance(self._scraper_id)
        elif not shares.is_settled:
            claims.balance(self._scraper_id)
        elif shares.mine == len(self._held) and time.monotonic() - self._looked < REGISTRY_SECONDS:
            return
        self._looked = time.monotonic()
        registry = targets.registry_state()
        mine = claims.held_by(self._scraper_id)
        if registry != self._registry or mine.keys() != self._held.keys():
            self._take(mine, targets.specs(mine), now_ms)
            self._registry = registry

    def _take(self, mine: dict[int, list[claims.LabelSet]], specs: dict[int, Spec], now_ms: int) -> None:
        """Hold exactly what is ours: start what is new or changed, end what is scraped no more, let go of the rest."""
        for target_id in self._held.keys() - specs.keys():
            self._let_go(self._held.pop(target_id))
        for target_id, spec in specs.items():
            held = self._held.get(target_id)
            if held is None or held.spec != spec:
                open_sources = mine[target_id]
                if held is not None:
                    self._let_go(held)
                    open_sources = held.writer.open or open_sources
                self._hold(spec, open_sources, now_ms)
        gone = mine.keys() - specs.keys()
        for target_id in gone:
            ended = [
                store.Scrape(f"target:{target_id}", labels, now_ms, (), targets.NOTHING) for labels in mine[target_id]
            ]
            self._ended += ended
        if gone and self._scraper_id is not None:
            self.flush(now_ms)
            claims.drop(sorted(gone), self._scraper_id)

    def _hold(self, spec: Spec, open_sources: list[claims.LabelSet], now_ms: int) -> None:
        held = _Held(
            spec,
            Requester(spec.url, spec.timeout_seconds, spec.body_limit_bytes),
            Parser(spec.sample_limit, spec.honor_timestamps),
            Writer(spec, open_sources),
        )
        self._held[spec.target_id] = held
        self._plan(held, spec.next_slot(now_ms))

    def _let_go(self, held: _Held) -> None:
        if held.is_running:
            held.requester.abort()
        else:
            held.requester.close()

    # --- time

    def _plan(self, held: _Held, at_ms: int) -> None:
        heapq.heappush(self._due, (at_ms, next(self._numbers), held))

    def _heed_clock(self, now_ms: int) -> None:
        """Plan anew when the clock was stepped, else an hour back would mean an hour of silence."""
        drift_ms = now_ms - time.monotonic() * 1000
        if self._drift_ms is not None and abs(drift_ms - self._drift_ms) > CLOCK_STEP_MS:
            log.warning("clock_stepped", scraper=self.name, seconds=round((drift_ms - self._drift_ms) / 1000, 3))
            self._due = []
            for held in self._held.values():
                self._plan(held, held.spec.next_slot(now_ms))
        self._drift_ms = drift_ms

    def _start_due(self, now_ms: int) -> None:
        while self._due and self._due[0][0] <= now_ms:
            at_ms, _, held = heapq.heappop(self._due)
            if self._held.get(held.spec.target_id) is not held:
                continue
            following = held.spec.next_slot(at_ms)
            is_late = now_ms - at_ms > held.spec.interval_ms / 2
            if held.is_running or is_late:
                following = max(following, held.spec.next_slot(now_ms)) if is_late else following
                missed = max(1, round((following - at_ms) / held.spec.interval_ms))
                held.missed += missed
                self.tally.missed += missed
            else:
                held.is_running = True
                self._threads.run(lambda held=held, at_ms=at_ms: self._scrape(held, at_ms))  # type: ignore[misc]
            self._plan(held, following)

    # --- one scrape, in a thread of its own

    def _scrape(self, held: _Held, at_ms: int) -> None:
        started = time.perf_counter()
        missed, held.missed = held.missed, 0
        exposition, error, told = None, "", None
        try:
            answer = held.requester.get()
            exposition = held.parser.read(answer.body, answer.is_openmetrics)
            told = held.told(answer.body, exposition.keys)
        except (ScrapeFailed, Malformed) as problem:
            error = str(problem)
        except Exception:
            log.exception("scrape_broke", target=held.spec.url)
            error = "the portal could not read the answer; its log says why"
        seconds = time.perf_counter() - started
        self._done.put((Outcome(held.spec, at_ms, seconds, exposition, error, missed, told), held))
        held.is_running = False
        self._finished.set()

    # --- writing

    def flush(self, now_ms: int) -> None:
        """Write all scrapes that have ended; raises what the database raises and keeps them for the next time."""
        self._finished.clear()
        while True:
            try:
                outcome, held = self._done.get_nowait()
            except Empty:
                break
            if self._held.get(outcome.spec.target_id) is held:
                self._pending.append((outcome, held.writer))
        if not self._pending and not self._ended:
            return
        try:
            self._write(self._pending, self._ended, now_ms)
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError as error:
            # Something in one of them cannot be stored: the others must not wait for it.
            log.error("scrapes_refused", scraper=self.name, error=str(error), scrapes=len(self._pending))
            self._write_singly(now_ms)
        self._pending, self._ended = [], []

    def _write(self, pending: list[tuple[Outcome, Writer]], ended: list[store.Scrape], now_ms: int) -> None:
        receipt = targets.record(pending, ended, now_ms)
        metadata.learn(told for outcome, _ in pending if (told := outcome.told))
        self.tally.scrapes += len(pending)
        self.tally.samples += receipt.samples
        self.tally.failed += sum(outcome.exposition is None for outcome, _ in pending)

    def _write_singly(self, now_ms: int) -> None:
        for ended in self._ended:
            self._write([], [ended], now_ms)
        for outcome, writer in self._pending:
            try:
                self._write([(outcome, writer)], [], now_ms)
            except (OperationalError, InterfaceError):
                raise
            except DatabaseError as error:
                refused = replace(outcome, exposition=None, error=f"the store refuses the samples: {error}"[:500])
                self._write([(refused, writer)], [], now_ms)

    def _drop_beyond_limit(self) -> None:
        waiting = sum(_size(outcome) for outcome, _ in self._pending)
        while waiting > MAX_PENDING_SAMPLES:
            outcome, _ = self._pending.pop(0)
            waiting -= _size(outcome)
            self.tally.lost_samples += _size(outcome)

    def _leave(self) -> None:
        """Write what has ended and give the targets back; requests that still run are broken off and not told of."""
        try:
            self.flush(self._clock_ms())
            if self._scraper_id is not None:
                claims.leave(self._scraper_id)
        except DatabaseError as error:
            log.warning("scraper_left_without_word", scraper=self.name, error=str(error))
        finally:
            for held in self._held.values():
                self._let_go(held)
            self._held = {}
            connection.close()


def _size(outcome: Outcome) -> int:
    return len(outcome.exposition.keys) if outcome.exposition else 1
