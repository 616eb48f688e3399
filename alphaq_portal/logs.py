"""Structured logs: JSON lines with ISO UTC times; no secrets and never local variables."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

# Whatever is called like this never reaches a log line, wherever it is nested.
_SECRET_NAMES = re.compile(r"(?i)(password|passwd|secret|token|authorization|cookie|api_?key|webhook|dsn|database_url)")
# Slack's tokens and webhook addresses, and passwords inside URLs, are recognised by shape as well.
_SECRET_SHAPES = re.compile(
    r"(xox[abeoprs]-[\w-]+|xapp-[\w-]+|https://hooks\.slack\.com/\S+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@))"
)
HIDDEN = "[hidden]"


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _SECRET_SHAPES.sub(HIDDEN, value)
    if depth > 6:
        return "…"
    if isinstance(value, dict):
        return {
            str(key): HIDDEN if _SECRET_NAMES.search(str(key)) and item else _clean(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set):
        return [_clean(item, depth + 1) for item in value]
    return value


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Structlog processor: replaces secrets by name and by shape, and makes bytes readable."""
    cleaned: EventDict = _clean(dict(event))
    return cleaned


_TRACEBACK = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)
_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _TRACEBACK,
]


def configure(level: str, log_dir: str = "") -> None:
    """Send every logger of this process through structlog to standard error as JSON lines."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_SHARED, structlog.stdlib.ExtraAdder()],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            hide_secrets,
            structlog.processors.JSONRenderer(default=str),
        ],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["console"], "level": level},
            "loggers": {
                "django.server": {"level": "WARNING"},
                "django.request": {"level": "ERROR"},
                "kombu": {"level": "WARNING"},
                "celery.app.trace": {"level": "WARNING"},
                "celery.worker.strategy": {"level": "WARNING"},  # a line a tick says nothing
                "axes": {"level": "WARNING"},
            },
        }
    )
