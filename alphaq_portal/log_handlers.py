"""How the portal's log handlers fail: one JSON line on standard error, never the record, which may hold secrets."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import PurePath


class TellsLoss(logging.Handler):
    """A handler that says that a line was lost, and why; logging's own way prints the raw record."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Tell of the loss; a broken standard error as well is beyond telling."""
        error = sys.exc_info()[1]
        told = {
            "event": "log_line_lost", "level": "error", "handler": self.name or type(self).__name__,
            "logger": record.name, "error": type(error).__name__,
        }  # fmt: skip
        if isinstance(error, OSError):
            told["error"] = f"{type(error).__name__}: {error.strerror}"
        try:
            sys.stderr.write(json.dumps(told) + "\n")
        except (OSError, ValueError, AttributeError):
            return


class Console(TellsLoss, logging.StreamHandler):
    """Standard error."""


def role_of(argv: list[str]) -> str:
    """Return what a process is by its command line: web, worker, beat, or manage for everything else."""
    program = {part.removesuffix(".py") for part in PurePath(argv[0]).parts} if argv else set()
    if "gunicorn" in program:
        return "web"
    if "celery" in program:
        return next((role for role in ("worker", "beat") if role in argv), "manage")
    return "manage"
