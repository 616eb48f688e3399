"""What keeps an alert quiet: silences made by people, inhibition by other alerts."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.models.routing import clean_matchers


class Silence(models.Model):
    """Alerts that match are not told between start and end (Alertmanager's silence)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    matchers = models.JSONField(validators=[clean_matchers])
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    comment = models.TextField()
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["-ends_at"]
        indexes = [models.Index(fields=["ends_at"], name="silence_ends")]  # serves: the silences in force

    def __str__(self) -> str:
        return ", ".join(self.matchers)


class InhibitRule(models.Model):
    """A firing source mutes its targets where the `equal` labels agree (Alertmanager's inhibit rule)."""

    name = models.CharField(max_length=200, blank=True)
    source_matchers = models.JSONField(default=list, validators=[clean_matchers])
    target_matchers = models.JSONField(default=list, validators=[clean_matchers])
    equal = models.JSONField(default=list, blank=True)
    is_enabled = models.BooleanField("on", default=True)
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name or f"{', '.join(self.source_matchers)} → {', '.join(self.target_matchers)}"
