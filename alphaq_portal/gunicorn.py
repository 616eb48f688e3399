"""How gunicorn serves the portal; read as its configuration file."""

from __future__ import annotations

import gc
import os
from typing import Any

from django.conf import settings
from prometheus_client import multiprocess

_host = f"[{settings.ENV.bind}]" if ":" in settings.ENV.bind else settings.ENV.bind
# `up` hands over the socket that it holds, so that nobody is refused while we start.
bind = f"fd://{fd}" if (fd := os.environ.get("ALPHAQ_LISTEN_FD")) else f"{_host}:{settings.ENV.port}"
workers = settings.ENV.web_workers
worker_class = "gthread"
threads = 8
timeout = 60
graceful_timeout = 10
keepalive = 30
accesslog = None  # RequestLogMiddleware writes the one line a request
errorlog = "-"
loglevel = "warning"
control_socket_disable = True
# Loaded once and shared by the forked processes: 40 MB less for each after the first.
preload_app = True


def when_ready(server: Any) -> None:
    """Keep the garbage collector from writing into the pages that the processes share."""
    gc.collect()
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges of a web process that ended."""
    multiprocess.mark_process_dead(worker.pid)
