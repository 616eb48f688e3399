"""A Celery worker in a thread of the tests' own process, which is left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from celery import Celery, current_app
from celery.contrib.testing.worker import start_worker

from alphaq_portal import logs


@contextlib.contextmanager
def working(app: Celery) -> Iterator[None]:
    """A worker of this app at work.

    It makes its app that of the whole process and sets up the logs: unless both are put back, what a later test
    enqueues goes to this app's broker.
    """
    ours = current_app._get_current_object()
    try:
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
            yield
    finally:
        ours.set_current()
        ours.set_default()
        logs.configure("INFO")
