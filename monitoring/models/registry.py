"""What is watched: the machines, and later the models and their targets."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Q

#: A host is given up after this many intervals without a batch, and never before the minute below.
SILENT_INTERVALS = 3
SILENT_AT_LEAST = timedelta(seconds=60)


class Host(models.Model):
    """A machine with a worker or an agent; the row appears with its first batch."""

    name = models.CharField(max_length=253, unique=True)
    facts = models.JSONField(
        default=dict, blank=True, help_text="Cores, memory, system, GPUs: what the host says of itself."
    )
    agent_version = models.CharField(max_length=64, blank=True)
    interval_seconds = models.FloatField(default=15, help_text="How often the host collects.")
    clock_skew_seconds = models.FloatField(
        null=True, blank=True, help_text="How far the host's clock is ahead; negative when behind."
    )
    first_seen = models.DateTimeField()
    # No index: it would make each of the updates, one a batch, write to every index (no heap-only update).
    last_seen = models.DateTimeField(help_text="Time of the newest batch.")
    expected = models.BooleanField(
        default=True, help_text="Whether silence is a problem. Switch off for a host that is gone for good."
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(interval_seconds__gt=0), name="host_interval_is_positive"),
            models.CheckConstraint(condition=Q(last_seen__gte=F("first_seen")), name="host_seen_in_order"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def silent_after(self) -> timedelta:
        """How long after its newest batch the host counts as silent: 3 intervals, a minute at least."""
        return max(SILENT_INTERVALS * timedelta(seconds=self.interval_seconds), SILENT_AT_LEAST)

    def is_silent(self, at: datetime) -> bool:
        """Whether nothing has been heard of the host for too long at `at`."""
        return at - self.last_seen > self.silent_after
