"""One line on a terminal that says how far a command is; nothing where nobody watches."""

from __future__ import annotations

from typing import Any

WIDTH = 30


class Progress:
    """A bar on stderr; `total` in the unit of `show` (bytes, windows), 0 when it is not known."""

    def __init__(self, stream: Any, total: int) -> None:
        self.stream = stream
        self.total = total
        self.is_watched = bool(getattr(stream, "isatty", lambda: False)())

    def show(self, done: int, text: str) -> None:
        """Draw the bar anew."""
        if not self.is_watched:
            return
        ratio = min(1.0, done / self.total) if self.total else 0.0
        bar = "#" * int(WIDTH * ratio)
        self.stream.write(f"\r[{bar:{WIDTH}}] {ratio:4.0%} {text}\x1b[K", ending="")
        self.stream.flush()

    def end(self) -> None:
        """Leave the line."""
        if self.is_watched:
            self.stream.write("")
