"""Structured logs: JSON lines with ISO UTC times; no secrets and never local variables.

Every process writes to standard error; to a rotating file of its role as well when a folder is given; and its
warnings and errors to the page of recent ones.
"""

from __future__ import annotations

import json
import logging
import logging.config
import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from alphaq_portal.log_clean import HIDDEN, Cleaner, as_text
from alphaq_portal.log_handlers import role_of

__all__ = ["HIDDEN", "LogFolderError", "configure", "hide_secrets"]
LEVELS = {
    "django.server": {"level": "WARNING"},
    "django.request": {"level": "ERROR"},
    "kombu": {"level": "WARNING"},
    "celery.app.trace": {"level": "WARNING"},
    "celery.beat": {"level": "WARNING"},
    "celery.worker.strategy": {"level": "WARNING"},  # a line a tick says nothing
    "axes": {"level": "WARNING"},
}
_cleaner = Cleaner()


class LogFolderError(Exception):
    """The folder for log files cannot be written; the text says what to change."""


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Structlog processor: replaces secrets by name, by shape and by value, and makes bytes readable."""
    cleaned: EventDict = _cleaner.value(dict(event))
    return cleaned


def _put_in_arguments(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Structlog processor: does what % would, and never raises: logging.info("%d", "x") must not end a request."""
    arguments = event.pop("positional_args", ())
    if arguments:
        event["event"] = _filled(event.get("event"), arguments)
    return event


def _filled(template: Any, arguments: Any) -> str:
    if isinstance(arguments, tuple) and len(arguments) == 1 and isinstance(arguments[0], dict) and arguments[0]:
        arguments = arguments[0]
    try:
        return str(template) % arguments
    except Exception:  # noqa: BLE001  (any argument's own code may run in there)
        shown = arguments if isinstance(arguments, tuple) else (arguments,)
        return " ".join([as_text(template), *(as_text(one) for one in shown)])


class _JsonLines(structlog.stdlib.ProcessorFormatter):
    """Formats records as JSON; what cannot be formatted comes out as a line that says so."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line of ASCII."""
        if record.args and not isinstance(record.msg, dict):
            record = logging.makeLogRecord(record.__dict__)
            record.msg, record.args = _filled(record.msg, record.args), ()
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  (a line that cannot be formatted must not be lost)
            plain = {
                "event": as_text(record.msg), "level": record.levelname.lower(), "logger": record.name,
                "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "log_problem": f"{type(error).__name__}: {as_text(error)}",
            }  # fmt: skip
            return json.dumps(_cleaner.value(plain))


_TRACEBACK = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    _put_in_arguments,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _TRACEBACK,
]


def configure(level: str, log_dir: str = "", recent_url: str = "", secrets: Iterable[str] = ()) -> None:
    """Send every logger of this process through structlog to standard error as JSON lines.

    log_dir: also into `alpha_q-<role>.log` there, rotated; raises LogFolderError when it cannot be written.
    recent_url: a Redis that keeps the newest warnings and errors for the page; secrets: values to hide.
    """
    global _cleaner
    _cleaner = Cleaner(secrets)
    role = role_of(sys.argv)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": _JsonLines,
        "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            hide_secrets,
            structlog.processors.JSONRenderer(),
        ],
    }
    handlers: dict[str, dict[str, Any]] = {
        "console": {"class": "alphaq_portal.log_handlers.Console", "formatter": "json"}
    }
    if log_dir:
        folder = _writable(log_dir)
        handlers["file"] = {"()": "alphaq_portal.log_files.SharedFile", "folder": folder, "role": role}
        handlers["file"]["formatter"] = "json"
    if recent_url:
        process = f"{role}@{socket.gethostname()}"
        handlers["recent"] = {"()": "alphaq_portal.recent_log.RecentLog", "url": recent_url, "process": process}
        handlers["recent"]["formatter"] = "json"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": handlers,
            "root": {"handlers": list(handlers), "level": level},
            "loggers": LEVELS,
        }
    )


def _writable(log_dir: str) -> str:
    folder = Path(log_dir).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise LogFolderError(
            f"ALPHAQ_LOG_DIR={log_dir}: cannot be written ({error.strerror}); make it yours, or choose another folder"
        ) from error
    return str(folder)
