"""A Celery app with the host collector and no other work of the portal."""

from __future__ import annotations

import os

import django
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
django.setup()

from django.conf import settings  # noqa: E402 (after setup)

from monitoring.bootstep import HostCollector  # noqa: E402 (after setup)

app = Celery("collecting", broker=settings.ENV.redis.celery_url)
app.conf.worker_hijack_root_logger = False
app.steps["worker"].add(HostCollector)
