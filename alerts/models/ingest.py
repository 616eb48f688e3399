"""What senders of alerts said about their ends, kept apart from the alerts so that a resend writes one small row."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models

from alerts.models.fields import DurationField


class Posting(models.Model):
    """One request that resent alerts unchanged: for each of them, the end that its sender named this time.

    It counts for an alert whose row has no end of its own, from the moment the row was changed last.
    """

    posted_at = models.DateTimeField()
    alert_ids = ArrayField(models.BigIntegerField())
    ends_at = ArrayField(models.DateTimeField())  # in the order of alert_ids

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{len(self.alert_ids)} alerts resent {self.posted_at:%Y-%m-%d %H:%M:%S}"


class Ingest(models.Model):
    """The one row about posted alerts: how long to believe in one without an end, and when postings run out next."""

    resolve_timeout_seconds = DurationField(
        "resolve timeout", default=300, validators=[MinValueValidator(0.001)],
        help_text="A posted alert without an end resolves after this time unless it is posted again.",
    )  # fmt: skip
    next_check_at = models.DateTimeField()
    managed_by = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="ingest_one_row")]

    def __str__(self) -> str:
        return "posted alerts"
