"""Carries the id of a request into the Celery tasks it causes, and names the task on all its log lines.

Both halves are Celery's signals: the sender's context travels as a header of the message, the worker binds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from celery import signals

from alphaq_portal.request_log import request_id_for

HEADER = "request_id"
# What to put back when a task ends: one that runs inside a request (eagerly) must not take its id away.
_outer: dict[str, Mapping[str, Any]] = {}


@signals.before_task_publish.connect
def _carry(headers: dict[str, Any] | None = None, **_: object) -> None:
    """Put the id of the current request, or of the task that sends, into the message."""
    request_id = structlog.contextvars.get_contextvars().get(HEADER)
    if request_id and headers is not None:
        headers[HEADER] = request_id


@signals.task_prerun.connect
def _bind(task_id: str = "", task: Any = None, **_: object) -> None:
    """Name the task, and the request that caused it, on every line until the task ends."""
    context = {"task": getattr(task, "name", ""), "task_id": task_id}
    given = getattr(getattr(task, "request", None), HEADER, None)
    if given:
        context[HEADER] = request_id_for(str(given))
    _outer[task_id] = structlog.contextvars.bind_contextvars(**context)


@signals.task_postrun.connect
def _unbind(task_id: str = "", **_: object) -> None:
    structlog.contextvars.reset_contextvars(**_outer.pop(task_id, {}))
