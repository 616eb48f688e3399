"""Log files that several processes share: 10,240,000 bytes each, ten old ones kept, none of their lines lost."""

from __future__ import annotations

from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

from alphaq_portal.log_handlers import TellsLoss

MAX_BYTES = 10_240_000
KEPT_FILES = 10


class SharedFile(TellsLoss, ConcurrentRotatingFileHandler):
    """One file of a role; a lock file beside it keeps its processes apart, also after a fork."""

    def __init__(self, folder: str, role: str) -> None:
        path = Path(folder) / f"alpha_q-{role}.log"
        super().__init__(str(path), maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8")
