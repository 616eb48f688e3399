"""The stages between a value and a message in somebody's hand, as a walk that stops at the first one that says no."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a stage said."""

    OK = "ok"  # goes on
    STOP = "stop"  # nothing comes after it
    WAIT = "wait"  # not yet; it goes on by itself
    NOTE = "note"  # worth knowing, changes nothing


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, what it said, in words why, facts beside it, and the address where one can change it."""

    name: str
    verdict: Verdict
    words: str
    facts: tuple[tuple[str, str], ...] = ()
    url: str = ""


def ok(name: str, words: str, *facts: tuple[str, str], url: str = "") -> Stage:
    """A stage that lets pass."""
    return Stage(name, Verdict.OK, words, facts, url)


def stop(name: str, words: str, *facts: tuple[str, str], url: str = "") -> Stage:
    """A stage at which it ends."""
    return Stage(name, Verdict.STOP, words, facts, url)


def wait(name: str, words: str, *facts: tuple[str, str], url: str = "") -> Stage:
    """A stage at which it waits, and goes on by itself."""
    return Stage(name, Verdict.WAIT, words, facts, url)


def note(name: str, words: str, *facts: tuple[str, str], url: str = "") -> Stage:
    """A stage that only tells."""
    return Stage(name, Verdict.NOTE, words, facts, url)


def until_stop(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages up to the first that stops or waits; what would come after it is not even asked."""
    walked = []
    for stage in stages:
        walked.append(stage)
        if stage.verdict in (Verdict.STOP, Verdict.WAIT):
            break
    return tuple(walked)
