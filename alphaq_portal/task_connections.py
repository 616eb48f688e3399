"""Database connections of Celery tasks, kept from one task to the next.

Celery closes them before and after every task. A new one costs a process of Postgres, its sign-in and its caches: more
than most ticks do. Kept ones are looked at before each task as Django does before each request, so a Postgres that was
started again fails no task, and they are renewed after CONN_MAX_AGE.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals
from django.db import close_old_connections

# Celery counts its signals until it closes; a process that lives for ever never comes so far.
_NEVER = 10**12


def keep(app: Celery) -> None:
    """Have the workers of `app` keep their connections; call it before they start."""
    app.conf.update(CELERY_DB_REUSE_MAX=_NEVER)


@signals.task_prerun.connect
@signals.task_postrun.connect
def _close_what_is_old_or_broken(task: Any = None, **_: object) -> None:
    # A task that runs inside a request (eagerly) shares its connection and its transaction.
    if not getattr(getattr(task, "request", None), "is_eager", False):
        close_old_connections()
