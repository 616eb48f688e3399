"""Messages that wait for the broker: the bridge over an outage, bounded, oldest first."""

from __future__ import annotations

from collections import deque

from monitoring.collect.batch import Message

BUFFER_SECONDS = 15 * 60
# Sent in one piece after an outage: about a megabyte of messages of an ordinary host.
CHUNK = 100


class Buffer:
    """The newest messages of one host in their order; what does not fit any more is dropped from the old end."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a buffer holds at least one message, not {limit}")
        self._messages: deque[Message] = deque(maxlen=limit)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Put a message at the end; drops and counts the oldest when full."""
        self.dropped += len(self._messages) == self._messages.maxlen
        self._messages.append(message)

    def oldest(self, count: int = CHUNK) -> list[Message]:
        """Return up to `count` messages, oldest first, and keep them."""
        return [self._messages[index] for index in range(min(count, len(self._messages)))]

    def forget(self, count: int) -> None:
        """Remove the `count` oldest messages, after they were sent."""
        for _ in range(count):
            self._messages.popleft()


def limit_for(interval_seconds: float, seconds: float = BUFFER_SECONDS) -> int:
    """Return how many messages cover `seconds` at this interval."""
    return max(1, int(seconds / interval_seconds))
