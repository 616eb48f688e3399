"""Profiles of single requests, tasks and blocks: recorded, made small, kept in bounded number.

Time is recorded by pyinstrument, which looks at the stack every millisecond: as slow as cProfile, but it sees whole
stacks, so the flame view is true and not guessed from pairs of callers. `.prof` files are written from the same
record; Python's pstats and the tools built on it read them. Memory is recorded by monitoring.instrument.
"""

from __future__ import annotations

import marshal
import sysconfig
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q
from pyinstrument import Profiler
from pyinstrument.frame import Frame
from pyinstrument.session import Session

from monitoring.instrument.memory import MemoryProfile
from monitoring.models import Profile, ProfileRate

log = structlog.get_logger(__name__)
INTERVAL_SECONDS = 0.001
#: Larger trees lose their smallest frames first: 2,000 frames are some 200 kB, more than a screen can show.
MAX_FRAMES = 2000
#: A frame deeper than this counts as its parent's own time.
MAX_DEPTH = 120
MAX_STATS_BYTES = 1_000_000
MAX_LINES = 50
RATES_KEPT = timedelta(seconds=10)
FrameKey = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What was profiled, as the row of the profile says it."""

    kind: str
    name: str
    detail: str = ""
    status: int | None = None
    user_name: str = ""
    request_id: str = ""


@dataclass(slots=True)
class Node:
    """A function at one place of the call tree; `seconds` with those of its children."""

    key: FrameKey
    seconds: float = 0.0
    seen: int = 0
    children: dict[FrameKey, Node] = field(default_factory=dict)

    @property
    def own_seconds(self) -> float:
        """Time spent in the function itself."""
        return max(0.0, self.seconds - sum(child.seconds for child in self.children.values()))


class Recorder:
    """Records where this thread spends its time, from `start` to `stop`; other threads may record side by side."""

    def __init__(self) -> None:
        self._profiler = Profiler(interval=INTERVAL_SECONDS, async_mode="disabled")

    def start(self) -> Recorder:
        """Begin; call `stop` in the same thread."""
        self._profiler.start()
        return self

    def stop(self) -> Session:
        """End, and return what was seen."""
        return self._profiler.stop()


# --- what a record becomes


def tree_of(session: Session) -> Node:
    """Return the call tree with repeated calls of a function under one parent merged."""
    frame = session.root_frame()
    if frame is None:  # over before the first look at the stack
        return Node(("", 0, "nothing was seen"), session.duration)
    root = Node(_key(frame))
    _merge(frame, root, 0)
    return root


def _key(frame: Frame) -> FrameKey:
    return (frame.file_path or "", frame.line_no or 0, frame.function)


def _merge(frame: Frame, node: Node, depth: int) -> None:
    node.seconds += frame.time
    node.seen += 1
    if depth >= MAX_DEPTH:
        return
    for child in frame.children:
        if not child.is_synthetic:
            key = _key(child)
            _merge(child, node.children.setdefault(key, Node(key)), depth + 1)


def flame_of(root: Node) -> dict[str, Any]:
    """Return the tree for the page: n(ame), f(ile), s(econds), k(ind), c(hildren), of at most MAX_FRAMES frames."""
    sizes = sorted((node.seconds for node in _nodes(root)), reverse=True)
    smallest = sizes[MAX_FRAMES - 1] if len(sizes) > MAX_FRAMES else 0.0
    return _shown(root, max(smallest, root.seconds * 0.0005))


def _nodes(node: Node) -> Iterable[Node]:
    yield node
    for child in node.children.values():
        yield from _nodes(child)


def _shown(node: Node, smallest: float) -> dict[str, Any]:
    file, line, function = node.key
    short, kind = place_of(file)
    shown: dict[str, Any] = {
        "n": function[:120],
        "f": f"{short}:{line}"[:200] if line else short[:200],
        "s": round(node.seconds, 6),
        "k": kind,
    }
    children = [_shown(child, smallest) for child in node.children.values() if child.seconds > smallest]
    if children:
        shown["c"] = sorted(children, key=lambda child: -child["s"])
    return shown


_ROOT = Path(__file__).resolve().parents[1]
_STANDARD = sysconfig.get_path("stdlib")
_LIBRARIES = sysconfig.get_path("purelib")


def place_of(file: str) -> tuple[str, str]:
    """Return a file's short path and whose it is: portal, database, django, library, python or built-in."""
    if not file or file.startswith("<"):
        return file, "built-in"
    for kind, base in (("library", _LIBRARIES), ("python", _STANDARD), ("portal", str(_ROOT))):
        if file.startswith(base + "/"):
            short = file[len(base) + 1 :]
            if kind == "library" and short.startswith(("psycopg2/", "django/db/", "redis/", "django_redis/")):
                kind = "database"
            elif kind == "library" and short.startswith("django/"):
                kind = "django"
            return short, kind
    return file, "library"


def stats_of(root: Node) -> dict[FrameKey, Any]:
    """Return the tree as cProfile's statistics: {function: (calls, calls, own, whole, {caller: the same four})}.

    The record has no calls; the number of times the function was seen to be entered stands for them. The time of a
    function that calls itself counts once.
    """
    stats: dict[FrameKey, list[Any]] = {}
    _add_stats(root, (), stats)
    return {
        key: (seen, seen, own, whole, {caller: tuple(four) for caller, four in callers.items()})
        for key, (seen, own, whole, callers) in stats.items()
    }


def _add_stats(node: Node, above: tuple[FrameKey, ...], stats: dict[FrameKey, list[Any]]) -> None:
    entry = stats.setdefault(node.key, [0, 0.0, 0.0, {}])
    whole = 0.0 if node.key in above else node.seconds
    entry[0] += node.seen
    entry[1] += node.own_seconds
    entry[2] += whole
    if above:
        four = entry[3].setdefault(above[-1], [0, 0, 0.0, 0.0])
        four[0] += node.seen
        four[1] += node.seen
        four[2] += node.own_seconds
        four[3] += whole
    for child in node.children.values():
        _add_stats(child, (*above, node.key), stats)


def hottest(flame: dict[str, Any], limit: int = 20) -> list[dict[str, Any]]:
    """Return the functions of a flame with the most time of their own: name, file, kind, own and whole seconds."""
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def visit(node: dict[str, Any], above: frozenset[tuple[str, str]]) -> None:
        key = (node["n"], node["f"])
        children = node.get("c", [])
        row = found.setdefault(key, {"name": key[0], "file": key[1], "kind": node["k"], "own": 0.0, "whole": 0.0})
        row["own"] += max(0.0, node["s"] - sum(child["s"] for child in children))
        row["whole"] += 0.0 if key in above else node["s"]
        for child in children:
            visit(child, above | {key})

    visit(flame, frozenset())
    return sorted(found.values(), key=lambda row: -row["own"])[:limit]


# --- rows


def keep(session: Session, subject: Subject) -> Profile | None:
    """Store a record and let the oldest go; None, with a line in the log, when that failed: the work goes on."""
    try:
        root = tree_of(session)
        stats = zlib.compress(marshal.dumps(stats_of(root)))
        return _store(
            subject,
            seconds=session.duration,
            tree=flame_of(root),
            stats=stats if len(stats) <= MAX_STATS_BYTES else b"",
        )
    except (DatabaseError, ValueError, RecursionError):
        log.exception("profile_not_kept", name=subject.name)
        return None


def keep_memory(profile: MemoryProfile) -> Profile | None:
    """Store a memory profile; made to be `report` of `profile_memory`. None when it could not be stored."""
    return keep_memory_of(Subject(Profile.Kind.MEMORY, profile.name), profile)


def keep_memory_of(subject: Subject, profile: MemoryProfile) -> Profile | None:
    """Store a memory profile under a subject of its own; None when it could not be stored."""
    lines = [
        {"file": place_of(line.file)[0][:200], "line": line.line, "bytes": line.held_bytes, "blocks": line.blocks}
        for line in profile.lines[:MAX_LINES]
    ]
    try:
        return _store(
            subject,
            seconds=profile.seconds,
            peak_bytes=profile.peak_bytes,
            held_bytes=profile.held_bytes,
            lines=lines,
        )
    except DatabaseError:
        log.exception("profile_not_kept", name=subject.name)
        return None


def _store(subject: Subject, **measured: Any) -> Profile:
    profile = Profile.objects.create(
        kind=subject.kind,
        name=subject.name[:300],
        detail=subject.detail[:500],
        status=subject.status,
        user_name=subject.user_name[:150],
        request_id=subject.request_id[:128],
        **measured,
    )
    kept = Profile.objects.order_by("-id").values_list("pk", flat=True)[: settings.ENV.profiles_kept]
    oldest = min(kept, default=profile.pk)
    Profile.objects.filter(pk__lt=oldest).delete()
    return profile


def prof_file(profile: Profile) -> bytes:
    """Return the content of a `.prof` file, as cProfile's dump_stats writes it; b"" when there is none."""
    return zlib.decompress(bytes(profile.stats)) if profile.stats else b""


# --- how often


class _Rates:
    """The rates that are on, read at most every RATES_KEPT by a process."""

    def __init__(self) -> None:
        self._read_at: datetime | None = None
        self._rates: list[tuple[str, str, float]] = []

    def at(self, at: datetime) -> list[tuple[str, str, float]]:
        if self._read_at is None or abs(at - self._read_at) >= RATES_KEPT:
            self._read_at = at  # first: while one thread asks, the others go on with what is known
            try:
                rows = ProfileRate.objects.filter(is_enabled=True, ratio__gt=0).exclude(Q(until__lte=at))
                self._rates = list(rows.values_list("kind", "name", "ratio"))
            except DatabaseError as error:
                self._rates = []
                log.warning("profile_rates_not_read", error=type(error).__name__)
        return self._rates

    def forget(self) -> None:
        self._read_at = None


_rates = _Rates()


def forget_rates() -> None:
    """Make this process read the rates anew; the others do so within RATES_KEPT."""
    _rates.forget()


def is_wanted(kind: str, name: Callable[[], str], at: datetime, roll: float) -> bool:
    """Whether to profile this one; `roll` is a random number from 0 to 1, `name` is asked only when a rate is on."""
    if not settings.ENV.profiles_kept:
        return False
    rates = {rate: ratio for of, rate, ratio in _rates.at(at) if of == kind}
    if not rates:
        return False
    ratio = rates.get(name(), rates.get(ProfileRate.EVERYTHING, 0.0))
    return roll < ratio
