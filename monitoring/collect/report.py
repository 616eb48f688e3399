"""One scrape for a person who waits: what the target answered, how long it took, what is wrong, and where.

Nothing is stored; a target can be looked at before anybody scrapes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .exposition import Exposition, Parser
from .openmetrics import Malformed
from .scrape import Answer, Requester, ScrapeFailed

EXCERPT_LINES = 5
EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a target says of one of its metrics; empty where it says nothing."""

    type: str = ""
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What one scrape gave. `error` is empty when it succeeded.

    `excerpt`: the lines around the mistake, else the first ones. `keys`: the series as the target wrote them, for
    whoever judges their names; `metadata`: by metric name.
    """

    error: str
    warning: str
    duration_seconds: float
    body_bytes: int
    samples: int
    is_openmetrics: bool
    excerpt: tuple[str, ...]
    keys: tuple[str, ...]
    metadata: dict[str, Metadata]

    @property
    def is_up(self) -> bool:
        """Whether a scraper would write up 1."""
        return not self.error


def examine(
    url: str, timeout_seconds: float, body_limit_bytes: int, sample_limit: int, honor_timestamps: bool = True
) -> Report:
    """Scrape a URL once and return what came of it; raises nothing that a target can cause."""
    requester = Requester(url, timeout_seconds, body_limit_bytes)
    started = time.perf_counter()
    answer, found, error, line = Answer(b"", False), None, "", 0
    try:
        answer = requester.get()
        found = Parser(sample_limit, honor_timestamps).read(answer.body, answer.is_openmetrics)
    except ScrapeFailed as problem:
        error = str(problem)
    except Malformed as problem:
        error, line = str(problem), problem.line
    finally:
        requester.close()
    return _report(answer, found, error, line, time.perf_counter() - started)


def _report(answer: Answer, found: Exposition | None, error: str, line: int, seconds: float) -> Report:
    own = tuple(sample.key for sample in found.own) if found else ()
    return Report(
        error=error,
        warning=found.warning if found else "",
        duration_seconds=seconds,
        body_bytes=len(answer.body),
        samples=found.samples if found else 0,
        is_openmetrics=answer.is_openmetrics,
        excerpt=_excerpt(answer.body, line),
        keys=found.keys + own if found else (),
        metadata=read_metadata(answer.body) if found else {},
    )


def _excerpt(body: bytes, line: int) -> tuple[str, ...]:
    """Return a few lines with their numbers, the wrong one in the middle."""
    first = max(1, line - EXCERPT_LINES // 2)
    lines = body.split(b"\n", first + EXCERPT_LINES)[first - 1 : first - 1 + EXCERPT_LINES]
    texts = [text.decode("utf-8", "replace")[:EXCERPT_CHARS] for text in lines]
    return tuple(f"{number}: {text}" for number, text in enumerate(texts, first) if text)


def read_metadata(body: bytes) -> dict[str, Metadata]:
    """Return type, help and unit of each metric of a sound exposition."""
    told: dict[str, dict[str, str]] = {}
    for line in body.split(b"\n"):
        if not line.startswith(b"# "):
            continue
        words = line.decode("utf-8", "replace").split(" ", 3)
        if len(words) >= 3 and words[1] in ("TYPE", "HELP", "UNIT"):
            text = words[3] if len(words) > 3 else ""
            told.setdefault(words[2], {})[words[1].lower()] = text.replace("\\n", "\n").replace("\\\\", "\\")
    return {name: Metadata(**fields) for name, fields in told.items()}
