"""Messages that wait for the broker: the bridge over an outage, bounded, oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from monitoring.collect.batch import Message

BUFFER_SECONDS = 15 * 60
# Sent in one piece after an outage: about a megabyte of messages of a host with many GPUs.
CHUNK = 100


class Buffer:
    """The newest messages of one host in their order, for one thread that reads and one that sends.

    What does not fit any more is dropped from the old end and counted in `dropped`.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a buffer holds at least one message, not {limit}")
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._lock = Lock()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Put a message at the new end."""
        with self._lock:
            self._messages.append(message)
            self._shrink()

    def take(self, count: int = CHUNK) -> list[Message]:
        """Take out up to `count` messages, oldest first."""
        with self._lock:
            return [self._messages.popleft() for _ in range(min(count, len(self._messages)))]

    def put_back(self, messages: Sequence[Message]) -> None:
        """Put messages that were taken and could not be sent back to the old end, in their order."""
        with self._lock:
            self._messages.extendleft(reversed(messages))
            self._shrink()

    def _shrink(self) -> None:
        while len(self._messages) > self._limit:
            self._messages.popleft()
            self.dropped += 1


def limit_for(interval_seconds: float, seconds: float = BUFFER_SECONDS) -> int:
    """Return how many messages cover `seconds` at this interval."""
    return max(1, int(seconds / interval_seconds))
