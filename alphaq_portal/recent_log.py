"""The newest warnings and errors of all processes: a capped stream in Redis, written beside the work, read by a page.

Hides: the thread that writes (a slow Redis must not slow a request), how storms are thinned out, and the key.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alphaq_portal.log_handlers import TellsLoss

KEY = "alphaq:recent-log"
#: 1,000 lines of at most 8,000 characters are 8 MB of Redis at the very most, and 1 MB in practice.
KEPT_LINES = 1000
MAX_LINE = 8000
KEPT_SECONDS = 14 * 86_400
#: Of one kind of line, so many a minute and process are written; the others are counted with the last of them.
SAME_A_MINUTE = 10
MAX_WAITING = 500
AGAIN_SECONDS = 5.0
REPEAT_SECONDS = 10.0
Kind = tuple[str, str, str]


@dataclass
class _Repeats:
    """Lines of one kind in the current minute."""

    since: float
    written: int = 0
    held_back: int = 0
    last: str = ""


@dataclass
class _Thinner:
    """Decides which lines of a storm are written; `now` is a monotonic clock in seconds."""

    kinds: dict[Kind, _Repeats] = field(default_factory=dict)

    def take(self, kind: Kind, line: str, now: float) -> bool:
        """Whether to write the line now; a line held back is counted."""
        if len(self.kinds) > MAX_WAITING:
            self.kinds = {key: one for key, one in self.kinds.items() if one.held_back or now - one.since < 60}
        repeats = self.kinds.get(kind)
        if repeats is None or (now - repeats.since >= 60 and not repeats.held_back):
            repeats = self.kinds[kind] = _Repeats(now)
        if repeats.written < SAME_A_MINUTE:
            repeats.written += 1
            return True
        repeats.held_back += 1
        repeats.last = line
        return False

    def held_back(self) -> list[str]:
        """Return the last line of each kind that was held back, with how many others it stands for; begin anew."""
        found = []
        for repeats in list(self.kinds.values()):
            if repeats.held_back:
                found.append(json.dumps({**json.loads(repeats.last), "repeated": repeats.held_back - 1}))
                repeats.held_back = 0
        return found


class _Sender:
    """Writes lines of this process from a thread of its own, patiently; what does not fit is dropped and counted."""

    def __init__(self, url: str) -> None:
        self.pid = os.getpid()
        self._url = url
        self._lines: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self._thinner = _Thinner()
        self._dropped = 0
        self._is_away = False
        threading.Thread(target=self._run, name="recent-log", daemon=True).start()

    def put(self, kind: Kind, line: str) -> None:
        """Take a line; never waits."""
        if not self._thinner.take(kind, line, time.monotonic()):
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def drain(self, patience_seconds: float) -> None:
        """Wait until all is written, at most so long, and not at all when Redis is away."""
        deadline = time.monotonic() + patience_seconds
        with contextlib.suppress(queue.Full):
            for line in self._thinner.held_back():
                self._lines.put_nowait(line)
        while self._lines.unfinished_tasks and not self._is_away and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        client = connect(self._url)
        while True:
            try:
                line = self._lines.get(timeout=REPEAT_SECONDS)
            except queue.Empty:
                for line in self._thinner.held_back():
                    self._write(client, line)
                continue
            self._write(client, line)
            self._lines.task_done()

    def _write(self, client: redis.Redis, line: str) -> None:
        while True:
            try:
                with client.pipeline(transaction=False) as pipe:
                    pipe.xadd(KEY, {"line": line}, maxlen=KEPT_LINES, approximate=False)
                    if dropped := self._dropped:
                        pipe.xadd(KEY, {"line": _loss(dropped)}, maxlen=KEPT_LINES, approximate=False)
                    pipe.expire(KEY, KEPT_SECONDS)
                    pipe.execute()
            except (redis.RedisError, OSError):
                # Not logged: the line would come back here.
                self._is_away = True
                time.sleep(AGAIN_SECONDS)
            else:
                self._is_away = False
                self._dropped -= dropped
                return


class RecentLog(TellsLoss):
    """Hands warnings and errors to a thread that writes them; after a fork the child gets a thread of its own."""

    def __init__(self, url: str, process: str) -> None:
        super().__init__(logging.WARNING)
        self._url, self._process = url, process
        self._sender: _Sender | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take the formatted line; logging holds this handler's lock, so one thread at a time is here."""
        try:
            entry = json.loads(self.format(record))
            entry["process"] = f"{self._process}:{os.getpid()}"
            causes = entry.get("exception") or [{}]
            kind = (record.name, _template(record), str(causes[0].get("exc_type", "")))
            self._current().put(kind, _short(entry))
        except Exception:  # noqa: BLE001  (a handler never breaks who logs; it tells of the loss)
            self.handleError(record)

    def flush(self) -> None:
        """Give the thread a moment to write what waits; called at the end of a process."""
        if self._sender is not None and self._sender.pid == os.getpid():
            self._sender.drain(1.0)

    def _current(self) -> _Sender:
        if self._sender is None or self._sender.pid != os.getpid():
            self._sender = _Sender(self._url)
        return self._sender


def _loss(count: int) -> str:
    return json.dumps({"event": "recent_log_lines_lost", "level": "warning", "logger": __name__, "lines": count})


def _template(record: logging.LogRecord) -> str:
    """Return what lines of the same kind have in common: the text before its values are put in."""
    message: Any = record.msg
    return str(message.get("event", "")) if isinstance(message, dict) else str(message)[:200]


def _short(entry: dict[str, Any]) -> str:
    """Return the entry as JSON of at most MAX_LINE characters: fewer frames, then shorter texts."""
    line = json.dumps(entry)
    if len(line) > MAX_LINE and isinstance(entry.get("exception"), list):
        causes = [{**cause, "frames": cause.get("frames", [])[-3:]} for cause in entry["exception"][:3]]
        entry = {**entry, "exception": causes}
        line = json.dumps(entry)
    for limit in (500, 100, 20):
        if len(line) <= MAX_LINE:
            break
        line = json.dumps({name: _cut(value, limit) for name, value in list(entry.items())[: limit + 20]})
    return line if len(line) <= MAX_LINE else json.dumps({"event": "a log line too long to keep"})


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    return _cut(json.dumps(value), limit)


# --- reading


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `fields` are what else it carries, `causes` its exceptions, the outermost first."""

    at: datetime
    level: str
    logger: str
    event: str
    process: str
    request_id: str
    repeated: int
    fields: dict[str, Any]
    causes: list[dict[str, Any]]

    @property
    def count(self) -> int:
        """How many lines it stands for."""
        return 1 + self.repeated

    @property
    def error(self) -> str:
        """Class and text of the exception; "" without one."""
        return f"{self.causes[0].get('exc_type', '')}: {self.causes[0].get('exc_value', '')}" if self.causes else ""


@dataclass(frozen=True, slots=True)
class Kinds:
    """Lines that say the same: the newest of them, how many, since when, from which processes."""

    newest: Entry
    count: int
    first_at: datetime
    entries: list[Entry]


def connect(url: str) -> redis.Redis:
    """A client that answers or fails within two seconds."""
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


def read(url: str) -> list[Entry]:
    """Return the kept lines, the newest first; raises redis.RedisError."""
    with connect(url) as client:
        rows: Any = client.xrevrange(KEY, count=KEPT_LINES)
    return [_entry(str(number.decode()), fields[b"line"]) for number, fields in rows]


def _entry(number: str, line: bytes) -> Entry:
    found = json.loads(line)
    written = datetime.fromtimestamp(int(number.partition("-")[0]) / 1000, tz=UTC)
    causes = found.pop("exception", None)
    return Entry(
        at=_time(found.pop("timestamp", "")) or written,
        level=str(found.pop("level", "warning")),
        logger=str(found.pop("logger", "")),
        event=str(found.pop("event", "")),
        process=str(found.pop("process", "")),
        request_id=str(found.pop("request_id", "")),
        repeated=int(found.pop("repeated", 0)),
        causes=causes if isinstance(causes, list) else [],
        fields=found,
    )


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def group(entries: Iterable[Entry]) -> list[Kinds]:
    """Return the entries by level, logger, event and class of exception; what happened last comes first."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        kind = str(entry.causes[0].get("exc_type", "")) if entry.causes else ""
        groups.setdefault((entry.level, entry.logger, entry.event, kind), []).append(entry)
    return [
        Kinds(members[0], sum(entry.count for entry in members), min(entry.at for entry in members), members)
        for members in groups.values()
    ]
