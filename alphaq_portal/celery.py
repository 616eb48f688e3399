"""The Celery app of workers and of all that enqueues: beat's app with Django, our tasks and the host collector."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import django
from celery import signals
from django.apps import apps
from django.conf import settings
from django.urls import reverse
from prometheus_client import multiprocess

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
if not apps.models_ready:  # started by the celery command; inside Django the app registry is filled already
    django.setup()

from alerts.bootstep import SlackListener
from alphaq_portal import profile_hooks, task_connections, task_context
from alphaq_portal.memory import give_back
from alphaq_portal.schedule import app
from monitoring import heartbeats
from monitoring.bootstep import HostCollector, TargetScraper

__all__ = ["app", "profile_hooks", "task_context"]  # loading the last two connects their signals

task_connections.keep(app)
signals.task_postrun.connect(give_back)
# Objects made before the collector looks through the youngest; looks at them before one at the older, and at all.
COLLECT_AFTER = (50_000, 20, 50)

app.steps["worker"].update((HostCollector, TargetScraper, SlackListener))
app.autodiscover_tasks(["monitoring", "alerts"])


@signals.worker_ready.connect
@signals.heartbeat_sent.connect
def _say_alive(sender: Any = None, **_: object) -> None:
    """A worker tells that it lives when it is ready and with each of Celery's own heartbeats (every 2 s)."""
    # A heartbeat is sent by Celery's Heart, which knows the worker's name only by its dispatcher of events.
    named = sender if hasattr(sender, "hostname") else getattr(sender, "eventer", None)
    heartbeats.beat("worker", getattr(named, "hostname", None) or settings.ENV.host_name, time.time())


@signals.worker_before_create_process.connect
def _share_memory(**_: object) -> None:
    """Load what messages link to once for all processes, and let them share it: the collector would write into it."""
    reverse("admin:index")  # the addresses of all pages: a quarter of a second that the first message would wait for
    gc.collect()
    gc.freeze()


@signals.worker_process_shutdown.connect
def _forget_gauges(pid: int | None = None, **_: object) -> None:
    """Take the gauges of a process that ended out of /metrics."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        multiprocess.mark_process_dead(pid or os.getpid())
