"""Rules tried on the past: what was asked, how far it is, what came of it."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from alerts.models.rules import Rule


class Backtest(models.Model):
    """One run over history in a worker: a backtest of a rule, saved or not, or a search for a fitting limit.

    `content` holds the rules as they were when it was asked for, one entry a side (alerts.backtest_content); `result`
    is what the page draws.
    """

    class Kind(models.TextChoices):
        """What is asked of history."""

        BACKTEST = "backtest", "backtest"
        SUGGEST = "suggest", "suggested limits"

    class State(models.TextChoices):
        """How far it is."""

        QUEUED = "queued", "waiting"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        STOPPED = "stopped", "stopped"

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.BACKTEST)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    name = models.CharField(max_length=200)
    rule = models.ForeignKey(Rule, on_delete=models.SET_NULL, null=True, blank=True, related_name="backtests")
    batch = models.CharField(max_length=32, blank=True)  # runs that were asked for together
    content = models.JSONField()
    span = models.CharField(max_length=10)  # 1h to 90d, or all
    step_seconds = models.FloatField(default=0)  # 0: the group's interval
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    beat_at = models.DateTimeField(null=True, blank=True)  # the last sign of life of the worker that runs it
    finished_at = models.DateTimeField(null=True, blank=True)
    progress = models.FloatField(default=0)  # 0 to 1
    samples = models.PositiveBigIntegerField(default=0)
    problem = models.TextField(blank=True)
    result = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            # serves: which is next, and which one lost its worker
            models.Index(fields=["id"], condition=models.Q(state__in=["queued", "running"]), name="backtest_open"),
            models.Index(fields=["batch"], condition=~models.Q(batch=""), name="backtest_batch"),  # serves: its page
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.name} over {self.span}"

    @property
    def is_open(self) -> bool:
        """Whether it still waits or runs."""
        return self.state in (self.State.QUEUED, self.State.RUNNING)
